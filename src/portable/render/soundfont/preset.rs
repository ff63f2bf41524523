//! Builds a font of one preset and its playable parts from a font that may be damaged.
//!
//! A preset has zones that name instruments, an instrument has zones that name samples, and each zone has generators,
//! numbers that define its sound. A first zone that names nothing holds the defaults of the others. (SoundFont 2.04
//! specification, chapters 4 to 8.)
//!
//! Here every zone is written with all its generators, and only for samples whose range exists in the wave. A loop that
//! the player could step over is repeated until it cannot.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

use super::chunks::{FontChunks, SoundFontError};
use crate::print::count;

const START: u16 = 0;
const END: u16 = 1;
const LOOP_START: u16 = 2;
const LOOP_END: u16 = 3;
const START_COARSE: u16 = 4;
const MODULATION_LFO_TO_PITCH: u16 = 5;
const VIBRATO_LFO_TO_PITCH: u16 = 6;
const MODULATION_ENVELOPE_TO_PITCH: u16 = 7;
const END_COARSE: u16 = 12;
const INSTRUMENT: u16 = 41;
const KEY_RANGE: u16 = 43;
const LOOP_START_COARSE: u16 = 45;
const LOOP_END_COARSE: u16 = 50;
const COARSE_TUNE: u16 = 51;
const FINE_TUNE: u16 = 52;
const SAMPLE: u16 = 53;
const SAMPLE_MODES: u16 = 54;
const SCALE_TUNING: u16 = 56;
const ROOT_KEY: u16 = 58;

/// Bits of a sample's type: in a sound card's ROM, and compressed (SF3).
const IN_ROM: u16 = 0x8000;
const COMPRESSED: u16 = 0x10;

/// More samples per step than any audible tuning needs; a larger step could overflow the player's position.
const MAX_STEP: f64 = 65_536.0;
/// The lowest output rate that the player supports, which needs the largest steps.
const MIN_RATE: f64 = 16_000.0;
/// Samples of silence that the specification requires after the wave.
const SILENCE_AFTER: usize = 46;

/// A zone's generators; of repeated ones the last counts.
type Generators = BTreeMap<u16, i16>;

/// A font file with the one preset that the player is to use for `program`, and what the user should know about it.
pub(super) fn only_playable<'a>(
    chunks: &FontChunks<'a>,
    program: u8,
) -> Result<(impl Read + use<'a>, Vec<String>), SoundFontError> {
    let tables = Tables::of(chunks)?;
    let presets = tables.candidates(program);
    let mut first_problem = None;
    for &number in &presets {
        let preset = &tables.presets[number];
        let (font, problem) = FontBuilder::of_preset(tables, chunks, number)?;
        if font.parts.is_empty() {
            let reason = problem.map_or_else(|| "it has no samples".into(), |(_, reason)| reason);
            let program = u16_at(preset, 20);
            first_problem.get_or_insert(SoundFontError::Preset { name: name(preset), program, reason });
            continue;
        }
        let (preset_name, mut notes) = (name(preset), Vec::new());
        if (u16_at(preset, 20), u16_at(preset, 22)) != (u16::from(program), 0) {
            notes.push(format!(
                "the SoundFont has no program {program}; its preset {preset_name} plays instead"
            ));
        }
        if let Some((skipped, reason)) = problem {
            let parts = count(skipped as u64, "part");
            notes.push(format!("skipped {parts} of the SoundFont's preset {preset_name}: {reason}"));
        }
        return Ok((font.write(program)?, notes));
    }
    Err(first_problem.unwrap_or_else(|| SoundFontError::Unusable("it has no preset".into())))
}

#[derive(Clone, Copy)]
struct Tables<'a> {
    presets: &'a [[u8; 38]],
    preset_bags: &'a [[u8; 4]],
    preset_generators: &'a [[u8; 4]],
    instruments: &'a [[u8; 22]],
    instrument_bags: &'a [[u8; 4]],
    instrument_generators: &'a [[u8; 4]],
    samples: &'a [[u8; 46]],
}

impl<'a> Tables<'a> {
    fn of(chunks: &FontChunks<'a>) -> Result<Self, SoundFontError> {
        Ok(Tables {
            presets: chunks.table(b"phdr")?,
            preset_bags: chunks.table(b"pbag")?,
            preset_generators: chunks.table(b"pgen")?,
            instruments: chunks.table(b"inst")?,
            instrument_bags: chunks.table(b"ibag")?,
            instrument_generators: chunks.table(b"igen")?,
            samples: chunks.table(b"shdr")?,
        })
    }

    /// The program's preset in the first bank, or if there is none, all presets in order of bank and program.
    fn candidates(&self, program: u8) -> Vec<usize> {
        let bank_and_program =
            |&number: &usize| (u16_at(&self.presets[number], 22), u16_at(&self.presets[number], 20));
        let mut presets: Vec<usize> = (0..self.presets.len() - 1).collect();
        // Of several, the last one counts.
        let wanted = presets.iter().rfind(|number| bank_and_program(number) == (0, u16::from(program)));
        if let Some(&wanted) = wanted {
            return vec![wanted];
        }
        presets.sort_by_key(bank_and_program);
        presets
    }

    /// A preset's zones that name an instrument.
    fn preset_zones(&self, preset: usize) -> Vec<Result<Generators, String>> {
        let bags = u16_at(&self.presets[preset], 24)..u16_at(&self.presets[preset + 1], 24);
        zones(bags, self.preset_bags, self.preset_generators, INSTRUMENT)
    }

    /// An instrument's zones that name a sample.
    fn instrument_zones(&self, number: i16) -> Vec<Result<Generators, String>> {
        let number = usize::from(number as u16);
        let Some([instrument, next]) = self.instruments.get(number..number + 2) else {
            return vec![Err(format!("it has no instrument {number}"))];
        };
        let bags = u16_at(instrument, 20)..u16_at(next, 20);
        zones(bags, self.instrument_bags, self.instrument_generators, SAMPLE)
    }
}

/// The zones that have the generator `names`, with their defaults filled in; others are ignored, as the specification
/// demands.
fn zones(
    bags: std::ops::Range<u16>,
    table: &[[u8; 4]],
    generators: &[[u8; 4]],
    names: u16,
) -> Vec<Result<Generators, String>> {
    if bags.start > bags.end || usize::from(bags.end) >= table.len() {
        return vec![Err("its zones are outside of their table".into())];
    }
    let mut base = Generators::new();
    let mut zones = Vec::new();
    for bag in bags.clone() {
        let index = usize::from(bag);
        let range = usize::from(u16_at(&table[index], 0))..usize::from(u16_at(&table[index + 1], 0));
        // The last generator only marks the end of the table.
        let Some(own) = generators[..generators.len() - 1].get(range) else {
            zones.push(Err("the generators of a zone are outside of their table".into()));
            continue;
        };
        let own: Generators = own.iter().map(|own| (u16_at(own, 0), u16_at(own, 2) as i16)).collect();
        if own.contains_key(&names) {
            let mut zone = base.clone();
            zone.extend(own);
            zones.push(Ok(zone));
        } else if bag == bags.start {
            base = own;
        }
    }
    zones
}

/// How far a zone's generators can raise a pitch, in semitones, and the tuning per key.
#[derive(Debug, Clone, Copy, Default)]
struct Bend {
    /// By tuning.
    tune: f64,
    /// By oscillators and envelope.
    wave: f64,
    /// Cents from one key to the next.
    scale: f64,
}

impl Bend {
    fn of(zone: &Generators) -> Self {
        let value = |generator: u16| f64::from(zone.get(&generator).copied().unwrap_or(0));
        let waves = [MODULATION_LFO_TO_PITCH, VIBRATO_LFO_TO_PITCH, MODULATION_ENVELOPE_TO_PITCH];
        Bend {
            tune: value(COARSE_TUNE) + value(FINE_TUNE) / 100.0,
            wave: waves.iter().map(|&generator| value(generator).abs()).sum::<f64>() / 100.0,
            scale: value(SCALE_TUNING),
        }
    }

    /// The maximum over a preset's zones, in either direction.
    fn of_preset<'a>(zones: impl Iterator<Item = &'a Generators>) -> Self {
        zones.map(Bend::of).fold(Bend::default(), |most, bend| Bend {
            tune: most.tune.max(bend.tune.abs()),
            wave: most.wave.max(bend.wave),
            scale: most.scale.max(bend.scale.abs()),
        })
    }

    /// The largest step through the wave, in samples, that the player may take.
    fn step(self, preset: Bend, zone: &Generators, root: f64, rate: f64) -> f64 {
        let [low, high] = zone.get(&KEY_RANGE).map_or([0, 127], |range| range.to_le_bytes());
        let mut most = f64::MIN;
        for scale in [self.scale - preset.scale, self.scale + preset.scale] {
            for key in [low.min(127), high.min(127)] {
                let wave = (self.wave + preset.wave) * scale.abs();
                most = most.max((scale * (f64::from(key) - root) + wave) / 100.0);
            }
        }
        rate / MIN_RATE * ((most + self.tune + preset.tune) / 12.0).exp2()
    }
}

/// A font being built.
struct FontBuilder<'a> {
    tables: Tables<'a>,
    wave: &'a [[u8; 2]],
    /// Additional samples, which follow the wave and its silence.
    more: Vec<[u8; 2]>,
    /// Samples whose loops were repeated: where they are now, by where they are in the file and how often.
    repeated: HashMap<(SampleRange, usize), SampleRange>,
    regions: Vec<Region>,
    /// The preset's zones, each with the index of its instrument's first region and their number.
    parts: Vec<(Generators, usize, usize)>,
}

/// An instrument's zone with its sample.
struct Region {
    generators: Generators,
    range: SampleRange,
    rate: u32,
    root: u8,
    correction: u8,
}

/// The range of a sample and its loop, as indices into the wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SampleRange {
    start: usize,
    end: usize,
    loop_start: usize,
    loop_end: usize,
}

impl<'a> FontBuilder<'a> {
    /// A preset's playable parts; of the others, their number and what is wrong with the first one.
    fn of_preset(
        tables: Tables<'a>,
        chunks: &FontChunks<'a>,
        preset: usize,
    ) -> Result<(Self, Option<(usize, String)>), SoundFontError> {
        let (wave, _) = chunks.samples.as_chunks();
        // The player counts them in signed 32-bit integers.
        if wave.len() > i32::MAX as usize / 2 {
            return Err(SoundFontError::Unusable("its samples are longer than the player can count".into()));
        }
        let (more, repeated) = (Vec::new(), HashMap::new());
        let mut font = FontBuilder { tables, wave, more, repeated, regions: Vec::new(), parts: Vec::new() };
        let mut problems = Vec::new();
        let mut instruments: HashMap<i16, (usize, usize)> = HashMap::new();
        let zones = tables.preset_zones(preset);
        // An upper bound for the preset's effect on the pitch of any instrument.
        let bend = Bend::of_preset(zones.iter().flatten());
        for zone in zones {
            let zone = match zone {
                Ok(zone) => zone,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let instrument = zone[&INSTRUMENT];
            let (first, count) = match instruments.get(&instrument) {
                Some(&known) => known,
                None => {
                    let first = font.regions.len();
                    for region in tables.instrument_zones(instrument) {
                        if let Err(problem) = region.and_then(|region| font.add(region, bend)) {
                            problems.push(problem);
                        }
                    }
                    (first, font.regions.len() - first)
                }
            };
            instruments.insert(instrument, (first, count));
            if count > 0 {
                font.parts.push((zone, first, count));
            }
        }
        let skipped = problems.len();
        Ok((font, problems.into_iter().next().map(|problem| (skipped, problem))))
    }

    /// Adds an instrument's zone, or says why it cannot be played.
    fn add(&mut self, mut generators: Generators, preset: Bend) -> Result<(), String> {
        let number = generators[&SAMPLE] as u16;
        let samples = &self.tables.samples[..self.tables.samples.len() - 1];
        let sample = samples.get(usize::from(number)).ok_or(format!("there is no sample {number}"))?;
        let sample_name = name(sample);
        let kind = u16_at(sample, 44);
        if kind & IN_ROM != 0 {
            return Err(format!("the sample {sample_name} is in the ROM of a sound card"));
        }
        if kind & COMPRESSED != 0 {
            return Err(format!("the sample {sample_name} is compressed (SF3)"));
        }
        let mut place = |at: usize, fine: u16, coarse: u16| {
            let mut offset = |generator| i64::from(generators.remove(&generator).unwrap_or(0));
            i64::from(u32_at(sample, at)) + offset(fine) + 32_768 * offset(coarse)
        };
        let start = place(20, START, START_COARSE);
        let end = place(24, END, END_COARSE);
        let loop_start = place(28, LOOP_START, LOOP_START_COARSE);
        let loop_end = place(32, LOOP_END, LOOP_END_COARSE);
        let length = self.wave.len() as i64;
        if start < 0 || end <= start || end > length {
            return Err(format!("the sample {sample_name} is outside of the font's samples"));
        }
        // A sample with an invalid loop plays once.
        let has_loop = loop_start >= 0 && loop_start < loop_end && loop_end <= length;
        let (loop_start, loop_end) = if has_loop { (loop_start, loop_end) } else { (0, 0) };
        let [start, end, loop_start, loop_end] =
            [start, end, loop_start, loop_end].map(|place| place as usize);
        let range = SampleRange { start, end, loop_start, loop_end };

        generators.entry(SCALE_TUNING).or_insert(100);
        let (rate, root, correction) = (u32_at(sample, 36), sample[40], sample[41]);
        let overriding = generators.get(&ROOT_KEY).copied().filter(|&key| key != -1);
        let heard_root = f64::from(overriding.unwrap_or(i16::from(root)));
        let mut own = Bend::of(&generators);
        own.tune += f64::from(correction as i8) / 100.0;
        let step = own.step(preset, &generators, heard_root, f64::from(rate));
        if step > MAX_STEP {
            return Err(format!("the sample {sample_name} is tuned far above the audible range"));
        }
        let loops = matches!(generators.get(&SAMPLE_MODES), Some(1 | 3)) && has_loop;
        let range = if loops { self.with_loop_of(step.ceil() as usize, range) } else { range };
        self.regions.push(Region { generators, range, rate, root, correction });
        Ok(())
    }

    /// The same sample with a loop of at least `min_samples`.
    fn with_loop_of(&mut self, min_samples: usize, range: SampleRange) -> SampleRange {
        let SampleRange { start, end, loop_start, loop_end } = range;
        let length = loop_end - loop_start;
        if length >= min_samples {
            return range;
        }
        if loop_start < start || end < loop_end {
            return SampleRange { loop_start: 0, loop_end: 0, ..range };
        }
        let times = min_samples.div_ceil(length);
        *self.repeated.entry((range, times)).or_insert_with(|| {
            let from = self.wave.len() + SILENCE_AFTER + self.more.len();
            self.more.extend(&self.wave[start..loop_start]);
            let looped = from + loop_start - start;
            for _ in 0..times {
                self.more.extend(&self.wave[loop_start..loop_end]);
            }
            self.more.extend(&self.wave[loop_end..end]);
            let end = self.wave.len() + SILENCE_AFTER + self.more.len();
            // The player interpolates with one sample more.
            self.more.push([0; 2]);
            SampleRange { start: from, end, loop_start: looped, loop_end: looped + times * length }
        })
    }

    /// A font file with this preset alone, as the first bank's `program`.
    fn write(self, program: u8) -> Result<impl Read + use<'a>, SoundFontError> {
        let (mut pbag, mut pgen, mut inst, mut ibag, mut igen) = (vec![], vec![], vec![], vec![], vec![]);
        let mut shdr = Vec::new();
        let mut numbers = HashMap::new();
        for (_, first, count) in &self.parts {
            if numbers.contains_key(first) {
                continue;
            }
            numbers.insert(*first, inst.len() as i16);
            inst.push(ibag.len());
            for region in &self.regions[*first..first + count] {
                ibag.push(igen.len());
                let others = region.generators.iter().filter(|(generator, _)| **generator != SAMPLE);
                igen.extend(others.map(|(generator, value)| (*generator, *value)));
                igen.push((SAMPLE, shdr.len() as i16));
                shdr.push(region);
            }
        }
        for (zone, first, _) in &self.parts {
            pbag.push(pgen.len());
            let others = zone.iter().filter(|(generator, _)| ![INSTRUMENT, SAMPLE].contains(*generator));
            pgen.extend(others.map(|(generator, value)| (*generator, *value)));
            pgen.push((INSTRUMENT, numbers[first]));
        }
        let preset = |program: u8, bag: usize| -> Result<Vec<u8>, SoundFontError> {
            Ok([vec![0; 20], shorts(&[usize::from(program), 0, bag])?, vec![0; 12]].concat())
        };
        let mut instruments = Vec::new();
        for &bag in inst.iter().chain([&ibag.len()]) {
            instruments.extend([vec![0; 20], shorts(&[bag])?].concat());
        }
        let mut samples = Vec::new();
        for region in shdr {
            let SampleRange { start, end, loop_start, loop_end } = region.range;
            samples.extend([0; 20]);
            for long in [start as u32, end as u32, loop_start as u32, loop_end as u32, region.rate] {
                samples.extend(long.to_le_bytes());
            }
            samples.extend([region.root, region.correction, 0, 0, 1, 0]);
        }
        samples.extend([0; 46]);
        let tables = [
            chunk(b"phdr", &[preset(program, 0)?, preset(0, pbag.len())?].concat()),
            chunk(b"pbag", &bags(&pbag, pgen.len())?),
            chunk(b"pmod", &[0; 10]),
            chunk(b"pgen", &generators_of(&pgen)),
            chunk(b"inst", &instruments),
            chunk(b"ibag", &bags(&ibag, igen.len())?),
            chunk(b"imod", &[0; 10]),
            chunk(b"igen", &generators_of(&igen)),
            chunk(b"shdr", &samples),
        ];
        let info = list(b"INFO", &chunk(b"ifil", &[2, 0, 4, 0]));
        let silence = [[0; 2]; SILENCE_AFTER];
        let more = [&silence, &self.more[..], &[[0; 2]; 2]].concat();
        let size = 2 * (self.wave.len() + more.len());
        let head = [
            &b"RIFF\0\0\0\0sfbk"[..],
            &info,
            b"LIST",
            &((4 + 8 + size) as u32).to_le_bytes(),
            b"sdtasmpl",
            &(size as u32).to_le_bytes(),
        ];
        // The wave is not copied: it may be most of the memory.
        let file = Cursor::new(head.concat()).chain(self.wave.as_flattened());
        Ok(file.chain(Cursor::new(more.into_flattened())).chain(Cursor::new(list(b"pdta", &tables.concat()))))
    }
}

fn bags(first_generators: &[usize], all: usize) -> Result<Vec<u8>, SoundFontError> {
    let bags = first_generators.iter().chain([&all]).map(|&first| shorts(&[first, 0]));
    Ok(bags.collect::<Result<Vec<_>, _>>()?.concat())
}

fn generators_of(generators: &[(u16, i16)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (generator, value) in generators.iter().chain([&(0, 0)]) {
        bytes.extend([generator.to_le_bytes(), value.to_le_bytes()].concat());
    }
    bytes
}

fn shorts(values: &[usize]) -> Result<Vec<u8>, SoundFontError> {
    let mut bytes = Vec::new();
    for &value in values {
        let value = u16::try_from(value).map_err(|_| {
            SoundFontError::Unusable("its preset has more parts than the player can count".into())
        })?;
        bytes.extend(value.to_le_bytes());
    }
    Ok(bytes)
}

fn list(kind: &[u8; 4], chunks: &[u8]) -> Vec<u8> {
    chunk(b"LIST", &[kind, chunks].concat())
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [name, &(data.len() as u32).to_le_bytes()[..], data].concat()
}

/// The name at the start of a record, in quotes.
fn name(record: &[u8]) -> String {
    let name = record[..20].split(|&byte| byte == 0).next().unwrap_or_default();
    format!("{:?}", String::from_utf8_lossy(name).trim_end())
}

fn u16_at(record: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([record[at], record[at + 1]])
}

fn u32_at(record: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

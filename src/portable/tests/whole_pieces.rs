//! `sample` with networks that read whole pieces: primers, lengths, and what the files hold.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bachdist_portable::checkpoint::{Checkpoint, CheckpointName, TrainingCorpus};
use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::corpus::Piece;
use bachdist_portable::harmony::PieceHarmony;
use bachdist_portable::midi::{self, Instrument, Note, Song};
use bachdist_portable::network::{Architecture, initial_parameters};
use bachdist_portable::representation::RepresentationConfig;
use bachdist_test_support::snapshot::Transcript;
use serde_json::Value;
use tempfile::TempDir;

/// Four parts in quarter notes.
fn chorale() -> Song {
    let part = |from: u8| {
        let note = |beat: u32| Note::in_ticks(from + (beat * beat % 7) as u8, 80, beat * 4, beat * 4 + 4);
        Instrument { program: 0, is_drum: false, name: String::new(), notes: (0..16).map(note).collect() }
    };
    Song::at_tempo([72, 65, 58, 48].map(part).into(), 4, 500_000)
}

/// A folder with the chorale and a checkpoint of a network with its initial weights.
fn place(kind: &str) -> TempDir {
    let representation = toml::from_str::<RepresentationConfig>(kind).unwrap();
    let mut config = Config { representation, ..Config::default() };
    (config.model.layers, config.model.units, config.model.dense) = (1, 16, 16);
    (config.train.carry_state, config.train.loss_positions) = (true, LossPositions::All);
    let representation = config.representation.build();
    let architecture = Architecture::new(&config.model, representation.shape());
    let tokens = representation.encode(&chorale(), usize::MAX).tokens;
    let checkpoint = Checkpoint {
        step: 0,
        identity: config.identity(),
        representation: config.representation.clone(),
        run_of_format_1: None,
        architecture,
        parameters: initial_parameters(architecture, 1),
        mean_square: vec![0.0; architecture.len()],
        carried: Vec::new(),
        epoch: Default::default(),
        audit: Default::default(),
        corpus: TrainingCorpus::new([Piece { name: "chorale.mid".into(), tokens }].into()),
    };
    let bytes = checkpoint.encode();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run").join(CheckpointName::of(0, &bytes).to_string()), bytes).unwrap();
    let mut slower = Song::at_tempo(chorale().instruments, 4, 750_000);
    slower.meters[0].beats_per_bar = 3;
    fs::write(folder.path().join("chorale.mid"), midi::write(&slower, &[])).unwrap();
    folder
}

fn sample(folder: &Path, options: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample"));
    command.current_dir(folder).args(options.split_whitespace()).output().unwrap()
}

/// The first piece, and the song that its MIDI file holds.
fn piece(folder: &Path, options: &str) -> (Value, Song) {
    let output = sample(folder, &format!("run --json --seed 1 {options}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let piece = json["pieces"][0].clone();
    let song = midi::read(&fs::read(folder.join(piece["midi"].as_str().unwrap())).unwrap()).unwrap();
    (piece, song)
}

/// Onset and end in quarter notes, and pitch.
fn notes(instrument: &Instrument, resolution: u16) -> Vec<(f64, f64, u8)> {
    let beats = |tick: u32| f64::from(tick) / f64::from(resolution);
    instrument.notes.iter().map(|note| (beats(note.start_tick), beats(note.end_tick), note.pitch)).collect()
}

#[test]
fn voices_begin_with_the_primer_and_go_on_from_it() {
    let folder = place("kind = \"voices\"");
    let (piece, song) = piece(folder.path(), "--primer chorale.mid --primer-beats 6 --beats 8");
    let names: Vec<_> = song.instruments.iter().map(|instrument| instrument.name.as_str()).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["Alto", "Bass", "Soprano", "Tenor"]);
    // Those of the file.
    assert_eq!((song.meters[0].beats_per_bar, song.tempo_changes[0].quarters_per_minute.round()), (3, 80.0));
    let mut composed = 0;
    for (number, name) in ["Soprano", "Alto", "Tenor", "Bass"].into_iter().enumerate() {
        let instrument = song.instruments.iter().find(|instrument| instrument.name == name).unwrap();
        let (found, given) = (notes(instrument, song.resolution), notes(&chorale().instruments[number], 4));
        assert_eq!(found[..6], given[..6], "{name}");
        assert!(found[6..].iter().all(|&(start, ..)| start >= 6.0), "{name}");
        composed += found.len() - 6;
    }
    assert_eq!(piece["pitches"].as_array().unwrap().len(), composed);
    assert!(composed > 0);
}

/// The chorales that the network of the program was trained on have next to no parallels; drawn nearly without regard to the
/// network, notes have many. Octaves are the same whichever voice the table takes for the higher one.
#[test]
fn four_voices_have_no_parallels_unless_they_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let octaves = |options: &str| {
        let options =
            format!("--voices --json --seed 1 -n 4 --temperature 4 --top-p 1 --notes 300 {options}");
        let output = sample(folder.path(), &format!("{options} --only midi"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let pieces = json["pieces"].as_array().unwrap().iter();
        let found = pieces.map(|piece| {
            let song = fs::read(folder.path().join(piece["midi"].as_str().unwrap())).unwrap();
            PieceHarmony::of(&midi::read(&song).unwrap()).unwrap().figures[1].unwrap()
        });
        (json["avoids_parallels"].as_bool().unwrap(), found.sum::<f64>())
    };
    assert_eq!(octaves(""), (true, 0.0));
    let (avoids, found) = octaves("--parallels allow");
    assert!(!avoids && found > 0.0, "{found}");
    let refused = sample(folder.path(), "--parallels avoid");
    assert_eq!(refused.status.code(), Some(2));
    let reason = String::from_utf8(refused.stderr).unwrap();
    assert!(reason.starts_with("sample: --parallels avoid: pitch/1 does not know"), "{reason}");
}

/// The lowest and highest note of each voice in the chorales of the program.
const CHORALE_RANGES: [(u8, u8); 4] = [(64, 79), (59, 74), (52, 69), (40, 62)];

/// Drawn nearly without regard to the network, notes are anywhere; the chorales that it was trained on have these ranges.
#[test]
fn voices_stay_in_the_ranges_of_their_music_unless_they_may_leave_them() {
    let folder = tempfile::tempdir().unwrap();
    let ranges = |options: &str| {
        let options = format!(
            "--voices --json --seed 1 -n 4 --temperature 4 --top-p 1 --notes 300 --only midi {options}"
        );
        let output = sample(folder.path(), &options);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut ranges = [(127, 0); 4];
        for piece in json["pieces"].as_array().unwrap() {
            let song = midi::read(&fs::read(folder.path().join(piece["midi"].as_str().unwrap())).unwrap());
            for (range, voice) in ranges.iter_mut().zip(song.unwrap().instruments) {
                for note in voice.notes {
                    *range = (note.pitch.min(range.0), note.pitch.max(range.1));
                }
            }
        }
        (json["keeps_ranges"].as_bool().unwrap(), ranges)
    };
    assert_eq!(ranges(""), (true, CHORALE_RANGES));
    let (keeps, found) = ranges("--any-range");
    assert!(!keeps && found.iter().all(|&(lowest, highest)| lowest < 36 && highest > 84), "{found:?}");
    let text =
        String::from_utf8(sample(folder.path(), "--voices --seed 1 --beats 8 --any-range").stdout).unwrap();
    assert!(text.contains("grammar     without parallel fifths and octaves\n"), "{text}");
}

#[test]
fn all_of_a_primer_counts_and_something_is_composed_after_it() {
    for kind in ["kind = \"voices\"", "kind = \"frames\"", "kind = \"notes\""] {
        let folder = place(kind);
        let (piece, song) = piece(folder.path(), "--primer chorale.mid --notes 1");
        let pitches = piece["pitches"].as_array().unwrap().len();
        assert!(pitches > 0, "{kind}");
        let end = song.instruments.iter().flat_map(|i| notes(i, song.resolution)).map(|note| note.1);
        let end = end.fold(0.0, f64::max);
        // A note of `notes` may begin while the last one of the primer sounds.
        assert!(end > 16.0 || kind.contains("notes") && end == 16.0, "{kind}: {end}");
        assert!(piece["start_description"].as_str().unwrap().starts_with("chorale.mid, "), "{piece}");
    }
}

/// Frames may end anywhere; the voices of a network that has learnt nothing need time until they come together.
#[test]
fn lengths_in_beats() {
    for (kind, latest) in [("kind = \"voices\"", f64::MAX), ("kind = \"frames\"\ngrid = \"quarter\"", 28.0)] {
        let folder = place(kind);
        let (piece, song) = piece(folder.path(), "--beats 24");
        let ends = song.instruments.iter().flat_map(|i| notes(i, song.resolution)).map(|note| note.1);
        let end = ends.fold(0.0, f64::max);
        assert!((18.0..=latest).contains(&end), "{kind}: {end}");
        assert_eq!(
            piece["classes"].as_array().unwrap().len(),
            piece["probabilities"].as_array().unwrap().len()
        );
    }
}

#[test]
fn each_line_has_a_certificate() {
    let folder = place("kind = \"voices\"");
    let (piece, _) = piece(folder.path(), "--beats 16 --only midi,png,certificate");
    let lines = piece["certificate"]["lines"].as_array().unwrap();
    let names: Vec<_> = lines.iter().map(|line| line["line"].as_str().unwrap()).collect();
    let twice = ["Soprano", "Soprano", "Alto", "Alto", "Tenor", "Tenor", "Bass", "Bass", "all voices"];
    assert_eq!(names, twice);
}

#[test]
fn what_cannot_be_used_is_refused_in_a_line() {
    let folder = place("kind = \"voices\"");
    let mut late = chorale();
    for instrument in &mut late.instruments {
        instrument.notes.drain(..8);
    }
    let mut five = chorale();
    five.instruments.push(five.instruments[0].clone());
    five.instruments[4].name = "flute".into();
    let seconds = vec![Note::in_seconds(60, 80, 0.0, 0.5)];
    let seconds =
        Song::in_seconds(vec![Instrument { program: 0, is_drum: true, name: "".into(), notes: seconds }]);
    for (name, song) in [("late.mid", late), ("five.mid", five), ("drums.mid", seconds)] {
        fs::write(folder.path().join(name), midi::write(&song, &[])).unwrap();
    }
    let mut said = Transcript::default();
    for (options, code) in [
        ("run --primer late.mid --primer-beats 4", 3),
        ("run --primer five.mid", 3),
        ("run --primer drums.mid", 3),
        ("run --primer nowhere.mid", 3),
        ("run --start 3", 2),
        ("--beats 8", 2),
        ("--primer chorale.mid --primer-beats 8", 2),
    ] {
        let output = sample(folder.path(), options);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(code), 1), "{options}: {stderr}");
        said.line(format!("sample {options}"), stderr.trim_end());
    }
    said.check("sample-whole-pieces-refused");
}

//! `sample`: from a checkpoint to notes, sound and pictures, the same bytes for the same seed.

use bachdist_test_support::tools::{need, on_path, peer_python, soundfont};
use std::fs;
use std::process::Command;

use bachdist_portable::midi::{Instrument, Note, Song, TempoChange, read, write};
use serde_json::{Value, json};

use crate::inspect::{melody, pitches};
use bachdist_test_support::harness::{Place, Running, WHOLE_PIECES, link_cello, sample, trained_copy};
use bachdist_test_support::snapshot::Transcript;

/// The first windows that the trained run has learnt from, as the program itself tells them.
fn window(place: &Place, number: usize) -> Vec<u64> {
    let json = compose(place, &format!("--start {number} --notes 1"));
    numbers(&json["pieces"][0]["start_classes"])
}

/// Composes from `run` and gives back the JSON.
fn compose(place: &Place, options: &str) -> Value {
    place.sample(&format!("run --json {options}")).ok().json()
}

fn numbers(array: &Value) -> Vec<u64> {
    array.as_array().expect("a list").iter().map(|x| x.as_u64().expect("a number")).collect()
}

fn probabilities(piece: &Value) -> Vec<Vec<f64>> {
    let rows = piece["probabilities"].as_array().expect("rows").iter();
    rows.map(|row| row.as_array().expect("a row").iter().map(|p| p.as_f64().expect("a number")).collect())
        .collect()
}

/// Names and bytes of all files in a folder, sorted.
fn files(place: &Place, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place.path(folder)).expect("a folder");
    let names = entries.map(|entry| entry.expect("a file").file_name().into_string().expect("text"));
    let mut files: Vec<_> =
        names.map(|name| (name.clone(), place.read(&format!("{folder}/{name}")))).collect();
    files.sort();
    files
}

#[test]
fn one_seed_gives_one_set_of_bytes_from_a_folder_or_a_file() {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    let options = "--seed 11 -n 2 --notes 12";
    let folder = place.sample(&format!("run {options} -o a")).ok();
    assert!(folder.stdout.contains(&format!("run/{newest}")), "{}", folder.stdout);
    assert_eq!(folder.stderr, "");
    place.sample(&format!("run/{newest} {options} -o b")).ok();
    place.bachdist(&format!("sample run {options} -o c")).ok();
    let names: Vec<_> = files(&place, "a").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["11-1.mid", "11-1.png", "11-1.wav", "11-2.mid", "11-2.png", "11-2.wav"]);
    assert!(files(&place, "a") == files(&place, "b"), "another way to the same file gives other bytes");
    assert!(files(&place, "a") == files(&place, "c"), "bachdist sample gives other bytes");
}

/// More pieces than threads, and more than are reported at once; pieces that are limited take longer than others.
#[test]
fn any_number_of_threads_composes_the_same_bytes() {
    let place = trained_copy();
    let composed = |threads: &str, count: usize, folder: &str| {
        let mut command = place.command(sample());
        let arguments = format!("run --seed 3 -n {count} --notes 9 --max-copy 5 --only midi -o {folder}");
        command.args(arguments.split_whitespace()).env("OMP_NUM_THREADS", threads);
        Running::start(&mut command).end().ok().stdout.replace(folder, "out")
    };
    let alone = composed("1", 15, "alone");
    assert_eq!(alone, composed("3", 15, "shared"));
    assert!(files(&place, "alone") == files(&place, "shared"), "other bytes on three threads");
    let few = composed("3", 2, "few");
    assert!(alone.starts_with(&few), "{few}\n{alone}");
}

#[test]
fn different_seeds_and_pieces_differ() {
    let place = trained_copy();
    let json = compose(&place, "--seed 1 -n 2 --notes 20 --only midi");
    let other = compose(&place, "--seed 2 --notes 20 --only midi");
    let pieces = [&json["pieces"][0], &json["pieces"][1], &other["pieces"][0]];
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert_ne!(pieces[a]["pitches"], pieces[b]["pitches"]);
    }
    // Piece 1 of two is piece 1 of one.
    assert_eq!(
        compose(&place, "--seed 1 --notes 20 --only midi")["pieces"][0]["pitches"],
        pieces[0]["pitches"]
    );
    // Without a seed one is drawn, and always told.
    let drawn = compose(&place, "--notes 20 --only midi");
    let seed = drawn["seed"].as_u64().expect("a seed");
    assert_eq!(compose(&place, &format!("--notes 20 --only midi --seed {seed}")), drawn);
}

#[test]
fn the_json_holds_every_note_and_its_probabilities() {
    let place = trained_copy();
    let json = compose(&place, "--seed 5 -n 2 --notes 17 -o out");
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    assert_eq!((&json["checkpoint"], &json["seed"]), (&json!(format!("run/{newest}")), &json!(5)));
    let pieces = json["pieces"].as_array().expect("pieces");
    assert_eq!(pieces.len(), 2);
    for (piece, number) in pieces.iter().zip(1..) {
        for (kind, ending) in [("midi", "mid"), ("wav", "wav"), ("png", "png")] {
            assert_eq!(piece[kind], format!("out/5-{number}.{ending}"));
            assert!(place.path(&format!("out/5-{number}.{ending}")).exists());
        }
        let (classes, written) = (numbers(&piece["classes"]), numbers(&piece["pitches"]));
        assert_eq!(classes.len(), 17);
        assert!(classes.iter().zip(&written).all(|(class, pitch)| class + 1 == *pitch));
        let rows = probabilities(piece);
        assert_eq!(rows.len(), 17);
        for row in rows {
            assert_eq!(row.len(), 79);
            assert!(
                (row.iter().sum::<f64>() - 1.0).abs() < 1e-5 && row.iter().all(|p| (0.0..=1.0).contains(p))
            );
        }
        assert!(piece["start"].as_u64().is_some_and(|start| start < 142), "{}", piece["start"]);
        let certificate = &piece["certificate"];
        assert!(matches!(certificate["verdict"].as_str(), Some("copy" | "near copy" | "novel")));
        let [exact, transposed] = ["longest_exact", "longest_transposed"].map(|run| &certificate[run]);
        assert!(exact["length"].as_u64() <= transposed["length"].as_u64(), "{certificate}");
        assert!(transposed["piece"].is_string() && transposed["at"].is_u64(), "{certificate}");
        let heard: Vec<u64> =
            pitches(&place, &format!("out/5-{number}.mid")).into_iter().map(u64::from).collect();
        assert_eq!(heard, written, "the MIDI file has other notes");
    }
}

#[test]
fn greedy_takes_the_most_probable() {
    let place = trained_copy();
    let pieces = compose(&place, "--greedy --start 3 --notes 15 -n 2 --only midi")["pieces"].clone();
    let piece = &pieces[0];
    for (class, row) in numbers(&piece["classes"]).into_iter().zip(probabilities(piece)) {
        assert_eq!(row[class as usize], row.iter().copied().fold(0.0, f64::max));
    }
    assert_eq!(piece["classes"], pieces[1]["classes"], "greedy is not random");
    // So do the other options at their ends.
    for options in ["--top-k 1", "--top-p 1e-9", "--temperature 1e-6"] {
        let other = compose(&place, &format!("{options} --start 3 --notes 15 --only midi"));
        assert_eq!(other["pieces"][0]["classes"], piece["classes"], "{options}");
    }
    for option in ["--temperature 0.5", "--top-k 2", "--top-p 0.5"] {
        place.sample(&format!("run --greedy {option}")).with_code(2);
    }
}

#[test]
fn top_k_and_top_p_leave_out_the_improbable() {
    let place = trained_copy();
    let rank = |class: u64, row: &[f64]| row.iter().filter(|&&p| p > row[class as usize]).count();
    let of_three = compose(&place, "--top-k 3 --notes 60 --seed 1 --only midi")["pieces"][0].clone();
    let chosen = numbers(&of_three["classes"]).into_iter().zip(probabilities(&of_three));
    let ranks: Vec<_> = chosen.map(|(class, row)| rank(class, &row)).collect();
    assert!(ranks.iter().all(|&rank| rank < 3) && ranks.contains(&2), "{ranks:?}");

    let half = compose(&place, "--top-p 0.5 --notes 60 --seed 1 --only midi")["pieces"][0].clone();
    for (class, row) in numbers(&half["classes"]).into_iter().zip(probabilities(&half)) {
        // What is more probable than the chosen note does not reach the half.
        let above: f64 = row.iter().filter(|&&p| p > row[class as usize]).sum();
        assert!(above < 0.5 + 1e-6, "{above}");
    }
}

#[test]
fn impossible_options_are_refused() {
    let place = trained_copy();
    let mut said = Transcript::default();
    for options in [
        "--temperature 0",
        "--temperature nan",
        "--top-k 0",
        "--max-copy 0",
        "--top-p 0",
        "--top-p 1.5",
        "--notes 0",
        "--count 0",
    ] {
        let ended = place.sample(&format!("run {options}")).with_code(2);
        let option = options.split(' ').next().expect("an option");
        assert!(ended.stderr.contains(option), "{}", ended.stderr);
        said.whole(&format!("sample run {options}"), &ended);
    }
    said.fails(&place, "sample run --seed 1 --notes 1 -o tiny.toml", 4, "tiny.toml");
    said.check("sample-impossible-options");
}

#[test]
fn a_start_window_is_used_and_refused_outside_the_music() {
    let place = trained_copy();
    let piece = compose(&place, "--start 141 --notes 3")["pieces"][0].clone();
    assert_eq!(piece["start"], 141);
    assert_eq!(numbers(&piece["start_classes"]).len(), 8);
    let mut said = Transcript::default();
    said.fails(&place, "sample run --start 142", 2, "--start 142: ");
    said.whole("sample run --start first", &place.sample("run --start first").with_code(2));
    said.check("sample-start");
}

#[test]
fn a_piece_begins_from_the_end_of_its_primer() {
    let place = trained_copy();
    let begin = window(&place, 50);
    let end = begin.iter().map(|&class| class as u8 + 1);
    // What stands before the last 8 notes does not matter.
    place.write("primer.mid", melody([60, 61, 62].into_iter().chain(end)));
    let from_primer = compose(&place, "--primer primer.mid --greedy --notes 20")["pieces"][0].clone();
    let from_window = compose(&place, "--start 50 --greedy --notes 20")["pieces"][0].clone();
    assert_eq!(from_primer["start"], Value::Null);
    assert_eq!(numbers(&from_primer["start_classes"]), begin);
    assert_eq!(from_primer["classes"], from_window["classes"]);
    assert_eq!(from_primer["probabilities"], from_window["probabilities"]);
}

#[test]
fn drums_of_a_primer_are_left_out() {
    let place = trained_copy();
    let pitches = |pitches: std::ops::Range<u8>, is_drum| {
        let note = |pitch| Note::in_seconds(pitch, 90, f64::from(pitch), f64::from(pitch) + 0.5);
        Instrument { program: 0, is_drum, name: String::new(), notes: pitches.map(note).collect() }
    };
    place.write(
        "band.mid",
        write(&Song::in_seconds(vec![pitches(35..50, true), pitches(52..62, false)]), &[]),
    );
    let piece = compose(&place, "--primer band.mid --notes 1")["pieces"][0].clone();
    assert_eq!(numbers(&piece["start_classes"]), [53, 54, 55, 56, 57, 58, 59, 60]);
    let mut said = Transcript::default();
    said.line("start_description", piece["start_description"].as_str().expect("text"));
    said.check("sample-primer-with-drums");
}

#[test]
fn useless_primers_are_refused() {
    let place = trained_copy();
    place.write("short.mid", melody(50..57));
    place.write("high.mid", melody(73..83));
    let notes = vec![Note::in_seconds(40, 90, 0.0, 0.5)];
    let drums = Instrument { program: 0, is_drum: true, name: String::new(), notes };
    place.write("drums.mid", write(&Song::in_seconds(vec![drums]), &[]));
    // Nobody writes to this pipe: whoever opens it waits for ever.
    let made = Command::new("mkfifo").arg(place.path("pipe.mid")).status();
    assert!(made.expect("mkfifo is everywhere").success());
    place.write("words.mid", "no music");
    let mut said = Transcript::default();
    for file in ["short.mid", "high.mid", "drums.mid", "pipe.mid", "words.mid", "nowhere.mid"] {
        said.fails(&place, &format!("sample run --primer {file}"), 3, &format!("{file}: "));
    }
    place.sample("run --primer short.mid --start 3").with_code(2);
    said.check("sample-useless-primers");
}

#[test]
fn only_what_is_asked_for_is_written() {
    let place = trained_copy();
    let json = compose(&place, "--notes 2 --seed 1 --only midi,png -o some");
    assert_eq!(json["pieces"][0]["wav"], Value::Null);
    let names: Vec<_> = files(&place, "some").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["1-1.mid", "1-1.png"]);
}

#[test]
fn a_renamed_checkpoint_is_used_with_a_note() {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    fs::copy(place.path("run").join(&newest), place.path("mine.safetensors")).expect("a copy");
    let mut said = Transcript::default();
    let ended = said.ok(&place, "sample mine.safetensors --seed 1 --notes 2 --only midi");
    assert!(ended.notes()[0].starts_with("mine.safetensors "), "{}", ended.stderr);
    said.check("sample-renamed-checkpoint");
}

#[test]
fn damaged_checkpoints_are_refused_or_passed_over() {
    let place = trained_copy();
    let names = place.checkpoints("run");
    let newest = format!("run/{}", names[2]);
    let bytes = place.read(&newest);
    place.write(&newest, &bytes[..bytes.len() - 1]);
    place.write("other.safetensors", "not a checkpoint");
    let mut said = Transcript::default();
    said.fails(&place, &format!("sample {newest}"), 4, &names[2]);
    said.fails(&place, "sample other.safetensors", 4, "other.safetensors: ");
    let ended = said.ok(&place, "sample run --seed 1 --notes 1 --only midi");
    assert!(ended.notes()[0].contains(&names[2]), "{}", ended.stderr);
    said.check("sample-damaged-checkpoints");
    assert!(
        compose(&place, "--notes 1 --only midi")["checkpoint"].as_str().expect("text").ends_with(&names[1])
    );
}

#[test]
fn a_piece_of_another_checkpoint_stays() {
    let place = trained_copy();
    place.sample("--seed 7 --notes 9 -o out").ok();
    let built_in = files(&place, "out");
    let mut said = Transcript::default();
    let ended = said.ok(&place, "sample run --seed 7 --notes 9 -o out");
    assert!(ended.notes()[0].starts_with("out/7-1.") && ended.stdout.contains("out/7-1-2.mid"), "{ended:?}");
    said.check("sample-beside-another-piece");
    let both = files(&place, "out");
    assert!(both.len() == 6 && built_in.iter().all(|file| both.contains(file)), "a file was overwritten");
}

#[test]
fn the_built_in_checkpoint_composes() {
    let place = Place::new();
    let ended = place.sample("--notes 5").ok();
    assert!(ended.stdout.lines().next().is_some_and(|line| line.contains(" built-in ")), "{}", ended.stdout);
    assert_eq!(files(&place, "composed").len(), 3);
}

#[test]
#[ignore = "needs pretty_midi"]
fn a_soundfont_sounds_different() {
    let Some(font) = soundfont() else { return };
    let place = trained_copy();
    std::os::unix::fs::symlink(font, place.path("font.sf2")).expect("a new link");
    compose(&place, "--seed 1 --notes 4 --only wav -o font --soundfont font.sf2");
    compose(&place, "--seed 1 --notes 4 --only wav -o sine");
    assert!(files(&place, "font") != files(&place, "sine"));
    place.write("bad.sf2", "no soundfont");
    let mut said = Transcript::default();
    said.fails(&place, "sample run --notes 4 --soundfont bad.sf2", 3, "bad.sf2: ");
    said.check("sample-bad-soundfont");
}

#[test]
#[ignore = "needs readelf"]
fn the_program_needs_nothing_but_the_c_library() {
    let Some(readelf) = need("readelf", on_path("readelf")) else { return };
    let output = Command::new(readelf).arg("-d").arg(sample()).output().expect("readelf");
    let text = String::from_utf8(output.stdout).expect("text");
    let needed: Vec<_> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split(['[', ']']).nth(1).expect("a name in brackets"))
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{text}");
    for library in needed {
        let known = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];
        assert!(known.iter().any(|name| library.starts_with(name)), "sample needs {library}");
    }
}

#[test]
#[ignore = "needs shared"]
fn a_file_of_the_articles_is_a_primer() {
    let place = trained_copy();
    if !link_cello(&place) {
        return;
    }
    // Any MIDI file may be a primer, not only our own.
    let json = compose(&place, "--primer cello/cs1-1pre.mid --notes 3 --only midi --seed 1");
    assert_eq!(json["pieces"][0]["start_classes"].as_array().map(Vec::len), Some(8));
}

/// What pretty_midi reads in our MIDI file, and how far our sound is from what it makes of it.
const PEER: &str = r#"
import json, sys, wave
import numpy, pretty_midi
midi = pretty_midi.PrettyMIDI(sys.argv[1])
with wave.open(sys.argv[2]) as file:
    shape = [file.getnchannels(), file.getsampwidth(), file.getframerate()]
    ours = numpy.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767
theirs = midi.synthesize(fs=44100)
print(json.dumps({
    "instruments": [{"program": i.program, "is_drum": i.is_drum,
                     "notes": [[int(n.pitch), int(n.velocity), n.start, n.end] for n in i.notes]}
                    for i in midi.instruments],
    "shape": shape, "lengths": [len(ours), len(theirs)], "text": midi.text_events[0].text,
    "loudest": float(abs(ours).max()), "difference": float(abs(ours - theirs).max()),
}, default=int))
"#;

#[test]
#[ignore = "needs pretty_midi"]
fn pretty_midi_reads_the_midi_and_makes_the_same_sound() {
    let Some(python) = peer_python() else { return };
    let place = trained_copy();
    let json = compose(&place, "--seed 21 --notes 40 -o out");
    let mut command = place.command(python);
    let output = command.args(["-c", PEER, "out/21-1.mid", "out/21-1.wav"]).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = bachdist_test_support::harness::json(&String::from_utf8(output.stdout).expect("text"));

    let instruments = found["instruments"].as_array().expect("instruments");
    assert_eq!(instruments.len(), 1);
    assert_eq!((&instruments[0]["program"], &instruments[0]["is_drum"]), (&json!(42), &json!(false)));
    let notes = instruments[0]["notes"].as_array().expect("notes");
    assert_eq!(notes.len(), 40);
    for (i, (note, pitch)) in notes.iter().zip(numbers(&json["pieces"][0]["pitches"])).enumerate() {
        assert_eq!((&note[0], &note[1]), (&json!(pitch), &json!(100)));
        let off = |x: &Value, expected: f64| (x.as_f64().expect("a time") - expected).abs();
        let (start, end) = (0.3 * i as f64, 0.3 * (i + 1) as f64);
        assert!(off(&note[2], start) < 1e-6 && off(&note[3], end) < 1e-6, "note {i}: {note}");
    }

    assert!(found["text"].as_str().is_some_and(|text| text.starts_with("certificate: ")), "{found}");
    assert_eq!(found["shape"], json!([1, 2, 44_100]));
    assert_eq!(found["lengths"][0], found["lengths"][1]);
    println!("largest difference from pretty_midi.synthesize(): {}", found["difference"]);
    assert!(found["loudest"].as_f64().expect("a number") > 0.99, "{found}");
    assert!(found["difference"].as_f64().expect("a number") < 1e-3, "{}", found["difference"]);
}

/// The random choices follow the probabilities: over many notes the chosen ones are as probable as promised.
#[test]
fn notes_are_chosen_as_often_as_they_are_probable() {
    let place = trained_copy();
    let piece = compose(&place, "--seed 8 --notes 3000 --top-p 1 --only midi")["pieces"][0].clone();
    let (classes, rows) = (numbers(&piece["classes"]), probabilities(&piece));
    // The mean probability of the chosen note, and what it would be in the mean over all choices.
    let chosen: f64 = classes.iter().zip(&rows).map(|(&class, row)| row[class as usize]).sum();
    let expected: f64 = rows.iter().map(|row| row.iter().map(|p| p * p).sum::<f64>()).sum();
    let variance: f64 = rows
        .iter()
        .map(|row| {
            let mean: f64 = row.iter().map(|p| p * p).sum();
            row.iter().map(|p| p * (p - mean) * (p - mean)).sum::<f64>()
        })
        .sum();
    assert!((chosen - expected).abs() < 5.0 * variance.sqrt(), "{chosen} {expected} {variance}");
}

/// A network of four voices that has learned little, before [`WHOLE_PIECES`].
const VOICES: &str = "
[data]
midi = 'chords.json'
[representation]
kind = 'voices'
";

#[test]
fn a_melody_is_harmonized_and_kept() {
    let place = Place::new();
    let chord = |triad: [u8; 4]| [format!("{triad:?}"), format!("{triad:?}")].join(",");
    let piece = [[67, 64, 60, 48], [65, 62, 59, 43], [64, 60, 55, 48]].map(chord).join(",");
    place.write("chords.json", format!("[[{piece}], [{piece},{piece}]]"));
    place.write("voices.toml", [VOICES, WHOLE_PIECES].concat());
    place.bachdist("train voices.toml").ok();
    let tune = [(72u8, 0, 4), (71, 4, 6), (69, 8, 12), (67, 12, 16)];
    let track = |notes: &[(u8, u32, u32)]| Instrument {
        program: 0,
        is_drum: false,
        name: String::new(),
        notes: notes
            .iter()
            .map(|&(pitch, start_tick, end_tick)| Note {
                start_tick,
                end_tick,
                ..Note::in_seconds(pitch, 80, 0.0, 1.0)
            })
            .collect(),
    };
    let file = |notes: &[(u8, u32, u32)], resolution| {
        write(&Song::at_tempo(vec![track(notes)], resolution, 500_000), &[])
    };
    // At 75 quarter notes a minute, slower from the third beat on.
    let mut song = Song::at_tempo(vec![track(&tune)], 4, 800_000);
    song.tempo_changes.push(TempoChange { tick: 8, time: 1.6, quarters_per_minute: 60.0 });
    place.write("tune.mid", write(&song, &[]));
    let sample = "run --melody tune.mid --particles 4 -n 2 --seed 3 --json";
    for (voice, index) in [("soprano", 0), ("bass", 3), ("2", 1)] {
        let found = place.sample(&format!("{sample} --voice {voice} --only midi -o {voice}")).ok().json();
        let pieces = found["pieces"].as_array().unwrap();
        assert_ne!(pieces[0]["classes"], pieces[1]["classes"]);
        for piece in pieces {
            let song = read(&place.read(piece["midi"].as_str().unwrap())).unwrap();
            let unit = u32::from(song.resolution) / 4;
            let notes = song.instruments[index].notes.iter();
            let kept: Vec<_> =
                notes.map(|note| (note.pitch, note.start_tick / unit, note.end_tick / unit)).collect();
            assert_eq!(kept, tune);
            let tempo = song
                .tempo_changes
                .iter()
                .map(|change| (change.tick / unit, change.quarters_per_minute.round()));
            assert_eq!(tempo.collect::<Vec<_>>(), [(0, 75.0), (8, 60.0)]);
            // What was given is not composed.
            let lines = piece["certificate"]["lines"].as_array().unwrap().iter();
            let names: Vec<_> = lines.map(|line| line["line"].as_str().unwrap()).collect();
            assert!(
                names.len() == 7 && !names.contains(&["Soprano", "Alto", "Tenor", "Bass"][index]),
                "{names:?}"
            );
        }
    }
    place.write("chord.mid", file(&[(72, 0, 4), (60, 2, 6)], 4));
    place.write("triplet.mid", file(&[(72, 0, 4), (71, 4, 8), (69, 8, 12)], 12));
    place.write("no-melody.mid", file(&[], 4));
    for (options, code, said) in [
        ("--melody chord.mid", 3, "begins while another note"),
        ("--melody triplet.mid", 3, "grid of 16ths"),
        ("--melody no-melody.mid", 3, "it has no note"),
        ("--melody chords.json", 3, "it has 2 pieces"),
        ("--melody nowhere.mid", 3, "nowhere.mid: "),
        ("--melody tune.mid --voice 5", 2, "there is no voice 5 among 4"),
    ] {
        let ended = place.sample(&format!("run {options}")).with_code(code);
        assert!(ended.errors().len() == 1 && ended.stderr.contains(said), "{options}: {}", ended.stderr);
    }
    // Without a checkpoint the built-in one of four voices harmonizes, and says what does not fit.
    let built_in = |voice: &str| {
        let options = "--melody tune.mid --seed 1 --particles 4 --only midi";
        place.sample(&format!("{options} --voice {voice} -o built-in-{voice}"))
    };
    let fits = built_in("soprano").ok();
    assert!(fits.stderr.is_empty(), "{}", fits.stderr);
    let too_high = built_in("bass").ok();
    assert!(
        too_high.stderr.lines().count() == 1
            && too_high
                .stderr
                .starts_with("note: tune.mid: its highest note is C5 (72), that of any bass of the"),
        "{}",
        too_high.stderr
    );
}

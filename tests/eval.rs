//! `bachdist eval`: figures that agree with validation's, folds that agree on any number of ranks, samples beside
//! their corpus.

use bachdist_portable::midi::{Instrument, Note, Song, write};
use serde_json::Value;

use bachdist_test_support::harness::{Place, TINY, WHOLE_PIECES, ended, melody};
use bachdist_test_support::snapshot::Transcript;

/// Three pieces, each its own group.
fn with_groups() -> Place {
    let place = Place::new();
    for (name, notes, seed) in [("a", 60, 7), ("b", 50, 11), ("c", 70, 13)] {
        place.write(&format!("music/{name}.mid"), melody(notes, seed));
    }
    let groups = "'music'\nfolds = ['a*', 'b*', 'c*']";
    place.write("tiny.toml", TINY.replace("'embedded'", groups));
    place
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn eval_agrees_with_the_last_validation_and_leaves_out_what_was_trained_on() {
    let place = Place::with_holdout();
    place.bachdist("train tiny.toml").ok();
    let lines = place.metrics("run");
    let validation = lines.iter().rfind(|line| line["kind"] == "validation").unwrap();
    let found = place.bachdist("eval run --data music --json").ok().json();
    assert_eq!(found["trained_on"], false);
    let pieces = found["pieces"].as_array().unwrap();
    assert_eq!((pieces.len(), &pieces[0]["name"]), (1, &"b.mid".into()));
    assert_eq!(found["overall"]["windows"], validation["windows"]);
    assert!((number(&found["overall"]["nats"]) - number(&validation["loss"])).abs() < 1e-6);
    assert!((number(&found["overall"]["top1"]) - number(&validation["accuracy"])).abs() < 1e-12);
    let windows = |part: &str| number(&found[part]["windows"]);
    assert_eq!(windows("novel") + windows("repeated"), windows("overall"));
    for name in ["uniform", "unigram", "bigram_add_one", "witten_bell_5", "pitch2_interval2_mix"] {
        assert!(number(&found["baselines"][name]["nats"]) > 0.0, "{name}");
    }
    assert!((number(&found["baselines"]["uniform"]["nats"]) - 79f64.ln()).abs() < 1e-12);

    // A renamed piece is no new music.
    place.write("renamed/z.mid", place.read("music/a.mid"));
    let renamed = place.bachdist("eval run --data renamed --json").ok().json();
    assert_eq!(renamed["trained_on"], true);
    let mut said = Transcript::default();
    said.ok(&place, "bachdist eval run --data renamed");
    said.ok(&place, "bachdist eval run --data music");
    said.check("eval-of-other-music");
    let own = place.bachdist("eval run --json").ok().json();
    assert_eq!((&own["trained_on"], &own["pieces"][0]["name"]), (&true.into(), &"a.mid".into()));
}

#[test]
#[ignore = "needs mpi"]
fn cross_validation_is_the_same_on_any_number_of_ranks_and_after_interruptions() {
    let place = with_groups();
    let alone = "eval --cross-validate tiny.toml --set checkpoint.url=alone";
    let expected = place.bachdist(&format!("{alone} --json")).ok().json();
    let mut said = Transcript::default();
    let printed = place.bachdist(alone).ok().stdout;
    // The folds are trained already, and what that prints is in other snapshots.
    let (_, report) = printed.rsplit_once("checkpoints in alone/without-c\n").expect("the last fold");
    said.line("bachdist eval --cross-validate tiny.toml", report);
    said.check("eval-cross-validate");
    let folds = expected[0]["folds"].as_array().unwrap();
    let groups: Vec<_> = folds.iter().map(|fold| fold["group"].as_str().unwrap()).collect();
    assert_eq!(groups, ["a*", "b*", "c*"]);
    // 60, 50 and 70 notes are 52, 42 and 62 windows of 8 and the note after them.
    let windows: Vec<_> = folds.iter().map(|fold| number(&fold["windows"]["windows"])).collect();
    assert_eq!(windows, [52.0, 42.0, 62.0]);
    let pooled = &expected[0]["pooled"]["overall"];
    let sum: f64 =
        folds.iter().map(|f| number(&f["windows"]["nats"]) * number(&f["windows"]["windows"])).sum();
    assert!((number(&pooled["nats"]) - sum / 156.0).abs() < 1e-9);

    let run = "eval --cross-validate tiny.toml --set checkpoint.url=ranks --json --plot losses.png";
    let Some(mut launch) = place.launch(3, run) else { return };
    ended(launch.env("BACHDIST_FAULT", "step@1#6=usr1")).with_code(75);
    let resumed = place.on_ranks(2, run).unwrap().ok();
    assert_eq!(resumed.json(), expected);
    assert!(place.read("losses.png").starts_with(b"\x89PNG"));
    for fold in ["without-a", "without-b", "without-c"] {
        let [alone, ranks] = ["alone", "ranks"].map(|run| place.checkpoints(&format!("{run}/{fold}")));
        assert_eq!(alone.last(), ranks.last(), "{fold}");
    }
}

#[test]
fn composed_pieces_are_compared_with_their_music() {
    let place = with_groups();
    place.bachdist("train tiny.toml").ok();
    place.sample("run -n 3 --notes 40 --seed 5 --only midi").ok();
    let found = place.bachdist("eval run --samples composed --json").ok().json();
    assert_eq!(found["files"], serde_json::json!(["5-1.mid", "5-2.mid", "5-3.mid"]));
    assert_eq!((&found["samples"], &found["notes"]), (&3.into(), &40.into()));
    let mut said = Transcript::default();
    let table = said.ok(&place, "bachdist eval --samples composed --data music").stdout;
    assert!(table.lines().any(|line| line.ends_with(" 5-2.mid")), "{table}");
    said.check("eval-samples");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
#[ignore = "slow"]
fn what_cannot_be_evaluated_is_one_line() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml").ok();
    place.write("few/a.mid", melody(10, 1));
    place.write("short/a.mid", melody(8, 1));
    let mut said = Transcript::default();
    for (arguments, code, names) in [
        ("", 2, ""),
        ("--samples composed", 2, ""),
        ("--cross-validate tiny.toml", 2, "tiny.toml: data.folds "),
        ("nowhere", 4, "nowhere: "),
        ("run --data nowhere", 3, "nowhere: "),
        ("run --samples few", 3, "few: "),
        ("run --data short", 3, "short: "),
        // Options that would have no effect.
        ("run --plot x.png", 2, "--plot "),
        ("run --set train.seed=2", 2, "--set "),
        ("run --data few --set train.seed=2", 2, "--set train.seed: "),
        ("run --data few --set data.seed=2", 2, "data.seed: "),
    ] {
        said.fails(&place, &format!("bachdist eval {arguments}"), code, names);
    }
    said.check("eval-refused");
}

#[test]
fn music_out_of_range_is_evaluated_as_asked() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml").ok();
    let notes = (0..40).map(|i| Note::in_seconds(50 + i, 90, i.into(), f64::from(i) + 0.5));
    let high = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.collect() };
    place.write("high/a.mid", write(&Song::in_seconds(vec![high]), &[]));
    place.write("high/b.mid", melody(5, 1));
    let mut said = Transcript::default();
    let refused = place.bachdist("eval run --data high").with_code(3);
    assert!(refused.errors()[0].contains("representation.out_of_range"), "{}", refused.stderr);
    said.messages("bachdist eval run --data high", &refused);
    let mut windows = |how: &str| {
        let eval = format!("eval run --data high --json --set representation.out_of_range={how}");
        let ended = place.bachdist(&eval).ok();
        assert_eq!(ended.notes().len(), 2, "{}", ended.stderr);
        said.notes(how, &ended.notes());
        ended.json()["overall"]["windows"].as_u64()
    };
    assert_eq!((windows("drop"), windows("transpose")), (Some(22), Some(32)));
    said.check("eval-out-of-range");
}

#[test]
fn a_sample_that_cannot_be_compared_is_named_and_left_out() {
    let place = with_groups();
    for (name, notes) in [("a", 40), ("b", 40), ("c", 5)] {
        place.write(&format!("samples/{name}.mid"), melody(notes, notes + 2));
    }
    place.write("samples/d.mid", "no MIDI");
    let ended = place.bachdist("eval --samples samples --data music --json").ok();
    let mut said = Transcript::default();
    said.notes("bachdist eval --samples samples --data music", &ended.notes());
    said.check("eval-samples-left-out");
    let found = ended.json();
    assert_eq!(found["files"], serde_json::json!(["a.mid", "b.mid"]));
    let left_out: Vec<_> = found["left_out"].as_array().unwrap().iter().map(|file| &file["path"]).collect();
    assert_eq!(left_out, ["c.mid", "d.mid"]);
}

#[test]
fn groups_that_cannot_be_evaluated_are_refused_before_anything_is_trained() {
    let place = with_groups();
    place.write("music/d.mid", melody(6, 1));
    let config = String::from_utf8(place.read("tiny.toml")).unwrap();
    place.write("short.toml", config.replace("'c*'", "'d*'"));
    place.write("twice.toml", config.replace("'c*'", "'b?'"));
    let mut said = Transcript::default();
    said.fails(&place, "bachdist eval --cross-validate short.toml", 3, "data.folds: ");
    said.fails(&place, "bachdist eval --cross-validate twice.toml", 2, "without-b");
    said.check("eval-folds-refused");
    assert!(!place.path("run").exists());
}

/// Pieces of a scale in thirds, each from another note; the last is the first one in another key.
fn rolls() -> String {
    let piece = |from: u8| {
        let frames = (0..24).map(|at: usize| {
            let pitch = from + [0, 2, 4, 5, 7][at * at % 5];
            format!("[{pitch}, {}]", pitch + 4)
        });
        format!("[{}]", frames.collect::<Vec<_>>().join(","))
    };
    format!(r#"{{"train": [{}, {}], "valid": [{}, [[60], [], [70, 72]]]}}"#, piece(50), piece(57), piece(61))
}

#[test]
fn n_grams_are_evaluated_without_a_network() {
    let place = Place::new();
    place.write("rolls.json", rolls());
    let config = "[data]\nmidi = 'rolls.json'\nholdout = ['valid/*']\n[representation]\nkind = 'frames'\ngrid = 'quarter'\n";
    place.write("rolls.toml", config);
    let found = place.bachdist("eval --baselines rolls.toml --json").ok().json();
    let figures = &found["baselines"]["kneser_ney_7"];
    let overall = &figures["overall"];
    let count = |figures: &Value, what: &str| figures[what].as_u64().expect("a number");
    assert_eq!(["pieces", "frames", "notes", "tokens"].map(|what| count(overall, what)), [2, 27, 51, 78]);
    // The tune in another key is known.
    let unknown = &figures["unknown_tunes"];
    assert_eq!(["pieces", "frames"].map(|what| count(unknown, what)), [1, 3]);
    let nats = number(&overall["nats_per_frame"]) * 27.0;
    assert!((nats - number(&overall["nats_per_note"]) * 51.0).abs() < 1e-9);
    assert!((nats - number(&overall["nats_per_token"]) * 78.0).abs() < 1e-9);
    // In every key the tune is easy.
    let transposed = place.bachdist("eval --baselines rolls.toml --json --set train.transpose=6").ok().json();
    let easy = number(&transposed["baselines"]["kneser_ney_7"]["overall"]["nats_per_frame"]);
    assert!(easy < number(&overall["nats_per_frame"]));
    let table = place.bachdist("eval --baselines rolls.toml").ok().stdout;
    assert!(table.lines().any(|line| line.starts_with("kneser_ney_7 ")), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    // Without pieces held out, and of windows.
    place.bachdist("eval --baselines rolls.toml --set data.holdout=[]").with_code(2);
    place.bachdist("eval --baselines rolls.toml --set representation.kind=pitch").with_code(2);
}

/// A small network on whole pieces of `rolls.json`, in frames, before [`WHOLE_PIECES`].
const ROLLS: &str = "
[data]
midi = 'rolls.json'
holdout = ['valid/*']
[representation]
kind = 'frames'
grid = 'quarter'
";

#[test]
fn whole_pieces_are_evaluated_with_a_state_that_is_carried() {
    let place = Place::new();
    place.write("rolls.json", rolls());
    place.write("rolls.toml", [ROLLS, WHOLE_PIECES].concat());
    place.bachdist("train rolls.toml").ok();
    // Without a path, the pieces that the run holds out, with the figures of its last validation.
    let found = place.bachdist("eval run --json").ok().json();
    let lines = place.metrics("run");
    let validation = lines.iter().rfind(|line| line["kind"] == "validation").unwrap();
    let overall = &found["overall"];
    assert_eq!((&found["trained_on"], &overall["tokens"]), (&false.into(), &validation["windows"]));
    assert!((number(&overall["nats"]) - number(&validation["loss"])).abs() < 1e-6);
    assert!((number(&overall["top1"]) - number(&validation["accuracy"])).abs() < 1e-12);
    let counts = ["pieces", "frames", "changing_frames", "notes"].map(|what| number(&overall[what]));
    // Of the 24 frames in thirds five are held; of the other three each differs from the one before.
    assert_eq!(counts, [2.0, 27.0, 22.0, 51.0]);
    assert_eq!(found["unknown_tunes"]["pieces"], 1);
    let known: Vec<_> =
        found["pieces"].as_array().unwrap().iter().map(|piece| &piece["known_tune"]).collect();
    assert_eq!(known, [&Value::from(true), &Value::from(false)]);
    // The n-grams are those of `--baselines`.
    let baselines = place.bachdist("eval --baselines rolls.toml --json").ok().json();
    assert_eq!(found["baselines"], baselines["baselines"]);
    // Other music: one of its pieces was trained on.
    place.write("other/a.json", rolls().replace("50", "52"));
    let other = place.bachdist("eval run --data other --json").ok().json();
    assert_eq!((&other["trained_on"], &other["overall"]["pieces"]), (&false.into(), &3.into()));

    let mut said = Transcript::default();
    said.ok(&place, "bachdist eval run");
    place.write("rolls.json", rolls().replace("57", "59"));
    said.ok(&place, "bachdist eval run");
    std::fs::remove_file(place.path("rolls.json")).unwrap();
    let ended = place.bachdist("eval run --json").ok();
    said.notes("without rolls.json", &ended.notes());
    assert_eq!(ended.json()["trained_on"], true);
    said.check("eval-of-whole-pieces");
}

/// Four voices in triads that alternate between tonic and dominant, each two beats long, from this note on.
fn chords(from: u8, beats: usize) -> String {
    let frame = |at: usize| {
        let triad = if (at / 8).is_multiple_of(2) { [12, 7, 4, 0] } else { [11, 7, 2, -5] };
        format!("{:?}", triad.map(|step: i16| i16::from(from) + step))
    };
    format!("[{}]", (0..4 * beats).map(frame).collect::<Vec<_>>().join(","))
}

#[test]
fn harmony_is_compared_where_there_is_any() {
    let place = Place::new();
    place.write("music.json", format!("[{}, {}, {}]", chords(48, 62), chords(53, 66), chords(50, 70)));
    place.write("samples/a.json", format!("[{}]", chords(55, 42)));
    place.write("samples/b.mid", melody(40, 7));
    let eval = "eval --samples samples --data music.json";
    let ended = place.bachdist(&format!("{eval} --json")).ok();
    assert_eq!(ended.notes(), ["b.mid is not in the harmony table: it has one voice at a time"]);
    let harmony = &ended.json()["harmony"];
    assert_eq!((&harmony["samples"], &harmony["pieces"]), (&1.into(), &3.into()));
    let figure = |name: &str| {
        let all = harmony["figures"].as_array().unwrap();
        let found = all.iter().find(|figure| figure["name"] == name).unwrap();
        [&found["samples"], &found["corpus"]].map(number)
    };
    // 21 chords in 42 beats; the alto repeats its note, and the others move to what is no parallel.
    assert_eq!(figure("named_chords"), [100.0, 100.0]);
    assert_eq!(figure("parallel_fifths"), [0.0, 0.0]);
    assert_eq!(figure("changes_on_beat"), [100.0, 100.0]);
    assert!((figure("authentic_cadences")[0] - 16.0 * 10.0 / 42.0).abs() < 1e-9);
    assert_eq!(harmony["files"][0]["path"], "a.json/0");
    assert_eq!(harmony["files"][0]["figures"]["bass_steps"], 0.0);
    assert_eq!(harmony["files"][0]["figures"]["soprano_steps"], 100.0);
    let table = place.bachdist(eval).ok().stdout;
    assert!(table.lines().any(|line| line.starts_with("parallel fifths ")), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

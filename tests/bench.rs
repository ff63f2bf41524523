//! `bench` and `launch/scaling`: what they measure is there, adds up, and leaves nothing behind. No figure is judged.

use std::path::Path;

use serde_json::Value;

use bachdist_test_support::harness::{Place, bachdist, ended, json, open_mpi};
use bachdist_test_support::snapshot::{Transcript, check as check_snapshot};

const LITTLE: &str = "--rounds 2 --steps 2";

/// Every number in an object, with its path.
fn numbers(path: &str, value: &Value) -> Vec<(String, f64)> {
    match value {
        Value::Number(number) => vec![(path.to_owned(), number.as_f64().unwrap())],
        Value::Array(all) => all.iter().flat_map(|value| numbers(path, value)).collect(),
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| numbers(&format!("{path}.{name}"), value)).collect()
        }
        _ => Vec::new(),
    }
}

/// Times and speeds are above 0; a difference of two times need not be.
fn check(report: &Value, ranks: u64) {
    for part in ["ceilings", "step", "reading", "composing"] {
        let all = numbers(part, &report[part]);
        assert!(!all.is_empty(), "no {part}");
        for (path, number) in all {
            let is_difference = path == "step.phases.backward";
            assert!(number.is_finite() && (number > 0.0 || is_difference), "{path} is {number}");
        }
    }
    assert_eq!(report["run"]["ranks"], ranks);
    assert_eq!(report["config"]["train"]["batch_size"], 37);
    assert_eq!(report["step"]["windows"], 37);
    assert!(!report["machine"]["cpu"].as_str().unwrap().is_empty());
    let step = report["step"]["seconds"].as_f64().unwrap();
    let phases = numbers("", &report["step"]["phases"]);
    let names: Vec<_> = phases.iter().map(|(name, _)| name.trim_start_matches('.')).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let sum: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    // But for rounding.
    assert!(sum <= step * (1.0 + 1e-9), "{sum} of {step}");
}

#[test]
#[ignore = "needs mpi"]
fn everything_is_measured_and_nothing_written() {
    let place = Place::with_tiny();
    let command = format!("bench tiny.toml --json {LITTLE}");
    let report = place.bachdist(&command).ok().json();
    check(&report, 1);
    assert_eq!(report["exchange"], Value::Null);
    for ranks in [2, 3] {
        let Some(ended) = place.on_ranks(ranks, &command) else { return };
        let report = ended.ok().json();
        check(&report, ranks as u64);
        let exchange = &report["exchange"];
        for name in ["alone_seconds", "together_seconds", "gradient_seconds", "bytes"] {
            assert!(exchange[name].as_f64().unwrap() > 0.0, "{name} in {exchange}");
        }
        for name in ["seconds", "percent_of_step", "alpha_seconds", "seconds_per_byte", "relative_residual"] {
            assert!(exchange[name].as_f64().unwrap().is_finite(), "{name} in {exchange}");
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tiny.toml"]);
}

#[test]
#[ignore = "needs mpi"]
fn the_table_has_every_figure_within_80_columns() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(2, &format!("bench tiny.toml {LITTLE}")) else { return };
    let table = ended.ok().stdout;
    // One line has the machine's own names.
    let long = table.lines().find(|line| line.chars().count() > 80 && !line.starts_with("machine"));
    assert_eq!(long, None);
    // Without libtorch a line about it is missing.
    if cfg!(feature = "torch") {
        check_snapshot("bench", &without_figures(&table));
    }
}

/// A table with `#` for each figure and its unit, with what this machine has, and columns a blank apart.
fn without_figures(table: &str) -> String {
    const UNITS: [&str; 10] = ["µs", "ms", "MB", "GB", "MB/s", "GB/s", "GFLOP", "GFLOP/s", "MFLOP/s", "kB"];
    let mut text = String::new();
    for line in table.lines() {
        // The machine's own names, and those of its vectors.
        let line = if line.starts_with("machine") { "machine #" } else { line };
        let line = line.split_once("one core, ").map_or(line, |(before, _)| before);
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let is_unit = words.last().is_some_and(|last| last == "#")
                && UNITS.contains(&word.trim_end_matches([',', ':']));
            // A commit's hash may begin with a letter, and a speed that could not be fitted is a dash.
            let bare = word.trim_matches(['(', ')', '-', '±', ';', '—']);
            let is_hash = word.starts_with('(') && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hash || bare.is_empty() || bare.starts_with(|letter: char| letter.is_ascii_digit()) {
                words.push("#".to_owned());
            } else if !is_unit {
                words.push(word.to_owned());
            }
        }
        text += &(words.join(" ") + "\n");
    }
    text
}

#[test]
#[ignore = "needs mpi"]
fn what_cannot_be_measured_is_one_line() {
    let place = Place::with_tiny();
    let explosive = "bench tiny.toml --steps 9 --set optimizer.learning_rate=1e30";
    let mut said = Transcript::default();
    for (command, code, names) in [
        ("bench --set train.lane=2", 2, "--set train.lane: "),
        ("bench tiny.toml --set train.lane=2", 2, "--set train.lane: "),
        ("bench nowhere.toml", 2, "nowhere.toml: "),
        (explosive, 6, ""),
    ] {
        said.fails(&place, &format!("bachdist {command}"), code, names);
    }
    place.bachdist("bench tiny.toml --rounds 0").with_code(2);
    for (command, code) in [(explosive, 6), ("bench --set train.lanes=1", 2)] {
        let Some(ended) = place.on_ranks(2, command) else { return };
        let ended = ended.with_code(code);
        assert_eq!(ended.errors().len(), 1, "{}", ended.stderr);
        said.messages(&format!("mpirun -n 2 bachdist {command}"), &ended);
    }
    said.check("bench-refused");
}

#[test]
#[ignore = "needs mpi"]
fn scaling_compares_numbers_of_ranks() {
    if open_mpi().is_none() {
        return;
    }
    let place = Place::with_tiny();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("launch/scaling");
    let run = |arguments: &str| {
        let mut command = place.command(&script);
        ended(command.env("BACHDIST", bachdist()).args(arguments.split_whitespace()))
    };
    let all = run("--ranks 2 --batches 16 --rounds 2 --json tiny.toml").ok();
    let rows = json(&all.stdout);
    let kinds: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| (&row["kind"], &row["batch_size"])).collect();
    assert_eq!(kinds, [(&Value::from("strong"), &Value::from(16)), (&Value::from("weak"), &Value::from(32))]);
    assert!(rows.as_array().unwrap().iter().all(|row| row["windows_per_second"].as_f64() > Some(0.0)));
    assert_eq!(rows[0]["efficiency_percent"], 100.0);
    assert_eq!(run("--ranks none").code, 2);
    // Its own line, and bachdist's exit code.
    let ended = run("--ranks 2 --rounds 1 tiny.toml --set train.lane=2");
    assert!(ended.with_code(2).error().starts_with("--set train.lane: "));
}

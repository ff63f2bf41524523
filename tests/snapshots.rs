//! What people read, as it stands in `tests/snapshots`: help, plans, tables, mistakes. Other tests hold codes and values.
//!
//! A change of words is a change of these files: `INSTA_UPDATE=always cargo test --test main snapshots`, then read
//! `git diff tests/snapshots`.

use std::fs;

use bachdist_test_support::harness::{Ended, Place, trained, trained_copy};

use crate::cli::COMMANDS;

/// What differs from run to run is left out: hashes, speeds, times, and lines about an epoch that is under way.
fn tidy(text: &str) -> String {
    let lines = text.lines().filter(|line| !is_in_mid_epoch(line)).map(|line| {
        let line = mask_hashes(line);
        let is_measured = [" windows/s", "s left", " MB a second"].iter().any(|unit| line.contains(unit));
        if is_measured { mask_measured(&line) } else { line }
    });
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

/// `epoch 1/3  2/4  loss …`, which a slow machine says and a fast one does not.
fn is_in_mid_epoch(line: &str) -> bool {
    let steps = line.strip_prefix("epoch ").and_then(|rest| rest.split_whitespace().nth(1)?.split_once('/'));
    steps.is_some_and(|(step, of)| step != of)
}

/// `step-00000012-8488f7bb92bcc2c8` becomes `step-00000012-<hash>`.
fn mask_hashes(line: &str) -> String {
    let words = line.split_inclusive('-').map(|part| match part.split_at_checked(16) {
        Some((hash, rest)) if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("<hash>{rest}"),
        _ => part.to_owned(),
    });
    words.collect()
}

/// Numbers with a unit of time or speed become `#`.
fn mask_measured(line: &str) -> String {
    const UNITS: [&str; 5] = ["windows/s", "s", "left", "files", "MB"];
    let words: Vec<_> = line.split(' ').collect();
    let masked = words.iter().enumerate().map(|(index, word)| {
        let number = word.strip_suffix('s').unwrap_or(word);
        let measured = words.get(index + 1).is_some_and(|next| UNITS.contains(next));
        if measured && number.parse::<f64>().is_ok() { "#" } else { word }
    });
    masked.collect::<Vec<_>>().join(" ")
}

fn check(name: &str, text: &str) {
    let text = tidy(text);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// Both outputs and the exit code.
fn whole(ended: &Ended) -> String {
    format!("exit code {}\n--- stdout\n{}--- stderr\n{}", ended.code, ended.stdout, ended.stderr)
}

#[test]
fn help() {
    let place = Place::new();
    for command in COMMANDS {
        let help = place.bachdist(&format!("{command} --help")).ok().stdout;
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("no example in\n{help}"));
        let last = command.split(' ').next_back().expect("one word at least");
        assert!(examples.contains(last), "no {last} in the example of\n{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let name = format!("help-{}", command.replace(' ', "-"));
        check(name.trim_end_matches('-'), &help);
    }
    let help = place.sample("--help").ok().stdout;
    assert!(help.contains("Examples:\n  sample "), "{help}");
    check("help-of-sample", &help);
}

#[test]
fn training() {
    let place = Place::with_holdout();
    check("train", &whole(&place.bachdist("train tiny.toml")));
    check("train-nothing-left", &whole(&place.bachdist("train tiny.toml")));
    check("train-resumed", &whole(&place.bachdist("train tiny.toml --set train.epochs=4 --resume run")));
    check("dry-run", &whole(&place.bachdist("train tiny.toml --dry-run")));
}

#[test]
fn checkpoints() {
    let place = trained_copy();
    let names = place.checkpoints("run");
    check("checkpoint-list", &whole(&place.bachdist("checkpoint list run")));
    check("checkpoint-verify", &whole(&place.bachdist("checkpoint verify run")));
    check(
        "checkpoint-diff",
        &whole(&place.bachdist(&format!("checkpoint diff run/{} run/{}", names[0], names[1]))),
    );
    fs::write(place.path("run").join(&names[0]), "").expect("a writable file");
    check("checkpoint-verify-damaged", &whole(&place.bachdist("checkpoint verify run")));
    check("checkpoint-list-nothing", &whole(&place.bachdist("checkpoint list nothing")));
}

#[test]
fn evaluation() {
    check("eval", &whole(&trained().bachdist("eval run")));
}

#[test]
fn corpora() {
    let place = Place::with_holdout();
    place.write("music/c.mid", "no MIDI");
    check("inspect", &whole(&place.bachdist("data inspect music")));
}

#[test]
fn composing() {
    let place = trained_copy();
    check("sample", &whole(&place.sample("run --seed 1 --notes 20 --only midi")));
}

#[test]
fn mistakes() {
    let place = Place::with_tiny();
    let commands = [
        "train nothing.toml",
        "train tiny.toml --set train.lane=2",
        "train tiny.toml --set train.lanes=3",
        "train tiny.toml --set train.lanes=two",
        "train tiny.toml --set train.batch_size=0 --set model.layers=0",
        "train tiny.toml --set data.midi=nothing",
        "train tiny.toml --set checkpoint.url=s3:/bucket",
        "train tiny.toml --resume nothing",
        "eval nothing",
        "sample nothing",
        "replay nothing",
        "checkpoint verify nothing",
        "data inspect nothing",
        "bench tiny.toml --rounds 0",
    ];
    let mut text = String::new();
    for command in commands {
        let ended = place.bachdist(command);
        text +=
            &format!("$ bachdist {command}\n{}[exit code {}]\n\n", ended.stdout + &ended.stderr, ended.code);
    }
    check("mistakes", &text);
}

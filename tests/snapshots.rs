//! What people read, as it stands in `tests/snapshots`: help, plans, tables, mistakes. Other tests hold codes and values.
//! The messages of what needs a set-up of its own are held where the set-up is.

use std::fs;

use bachdist_test_support::harness::{Ended, Place, trained, trained_copy};
use bachdist_test_support::snapshot::{Transcript, check};

use crate::cli::COMMANDS;

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
    let mut transcript = Transcript::default();
    for command in commands {
        transcript.whole(&format!("bachdist {command}"), &place.bachdist(command));
    }
    transcript.check("mistakes");
}

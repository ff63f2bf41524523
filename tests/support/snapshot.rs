//! What people read, as it stands in `tests/snapshots`: help, plans, tables, messages.
//!
//! A change of words is a change of these files: `INSTA_UPDATE=always cargo test --workspace -- --include-ignored`, or
//! without the last two words for what needs no tool; then read `git diff tests/snapshots`.

use std::fmt::Display;
use std::fs;

use insta::Settings;

use crate::harness::{Ended, Place};

/// Compares a text with the snapshot of this name, but for what differs from run to run and from machine to machine.
pub fn check(name: &str, text: &str) {
    let lines = text.lines().filter(|line| !is_in_mid_epoch(line)).map(masked);
    let text: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// `epoch 1/3  2/4  loss …`, which a slow machine prints and a fast one does not.
fn is_in_mid_epoch(line: &str) -> bool {
    let steps = line.strip_prefix("epoch ").and_then(|rest| rest.split_whitespace().nth(1)?.split_once('/'));
    steps.is_some_and(|(step, of)| step != of)
}

/// A line about a server out of reach, without the system's words for the reason: which of several come first is chance.
pub fn without_reason(line: &str, endpoint: &str) -> String {
    let Some((before, after)) = line.split_once(endpoint) else { return line.to_owned() };
    let (_, advice) = after.rsplit_once(" (").unwrap_or(("", after));
    format!("{before}{endpoint}: <reason> ({advice}")
}

/// Hashes, folders, hosts, processes, ports, times and speeds have words or `#` in their places.
fn masked(line: &str) -> String {
    let mut line = mask_folders(&mask_hashes(line));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux");
    for before in ["on", "host"] {
        line = line.replace(&format!("{before} {}", host.trim()), &format!("{before} <host>"));
    }
    for before in ["process ", "127.0.0.1:", "localhost:"] {
        line = mask_number_after(&line, before);
    }
    let is_measured = [" windows/s", "s left", " MB a second"].iter().any(|unit| line.contains(unit));
    if is_measured { mask_measured(&line) } else { line }
}

/// `step-00000012-8488f7bb92bcc2c8` becomes `step-00000012-<hash>`.
fn mask_hashes(line: &str) -> String {
    let words = line.split_inclusive('-').map(|part| match part.split_at_checked(16) {
        Some((hash, rest)) if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("<hash>{rest}"),
        _ => part.to_owned(),
    });
    words.collect()
}

/// `/tmp/.tmpAbCdEf/run` becomes `<folder>/run`.
fn mask_folders(line: &str) -> String {
    let mut line = line.to_owned();
    for name in ["/.tmp", "/trained"] {
        while let Some(at) = line.find(name) {
            let is_outside = |letter: char| !letter.is_alphanumeric() && !"/_.-".contains(letter);
            let start = line[..at].rfind(is_outside).map_or(0, |before| before + 1);
            line.replace_range(start..at + name.len() + 6, "<folder>");
        }
    }
    line
}

fn mask_number_after(line: &str, before: &str) -> String {
    let mut parts = line.split(before);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let number = if rest.len() < part.len() { "#" } else { "" };
        masked += &[before, number, rest].concat();
    }
    masked
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

/// Commands or calls, and what each said: one snapshot that reads like a table. A test asserts codes and kinds itself.
#[derive(Default)]
pub struct Transcript(String);

impl Transcript {
    /// Runs a command, which must end with this code and with one line, in which the name of what is wrong stands.
    #[track_caller]
    pub fn fails(&mut self, place: &Place, command: &str, code: i32, names: &str) -> Ended {
        let ended = place.run(command).with_code(code);
        assert!(ended.error().contains(names), "{names:?} is not in {}", ended.stderr);
        self.messages(command, &ended);
        ended
    }

    /// Everything that a command printed, and its exit code.
    pub fn whole(&mut self, command: &str, ended: &Ended) {
        self.0 += &format!("$ {command}\n{}{}[exit code {}]\n\n", ended.stdout, ended.stderr, ended.code);
    }

    /// The messages of a command, and its exit code.
    pub fn messages(&mut self, command: &str, ended: &Ended) {
        self.0 += &format!("$ {command}\n{}[exit code {}]\n\n", ended.messages(), ended.code);
    }

    /// The same of a command that must end well.
    #[track_caller]
    pub fn ok(&mut self, place: &Place, command: &str) -> Ended {
        let ended = place.run(command).ok();
        self.messages(command, &ended);
        ended
    }

    /// The notes of a command that has other output too.
    pub fn notes(&mut self, command: &str, notes: &[impl Display]) {
        for note in notes {
            self.line(command, note);
        }
    }

    /// What a call returned as text.
    pub fn line(&mut self, call: impl Display, said: impl Display) {
        self.0 += &format!("{call}\n    {said}\n");
    }

    /// The same, with `#` for every number: those that differ from run to run.
    pub fn line_without_numbers(&mut self, call: impl Display, said: &str) {
        let mut text = String::new();
        for letter in masked(said).chars() {
            // Not that of `s3`.
            let is_of_a_word = text.ends_with(char::is_alphabetic);
            match letter {
                '0'..='9' if text.ends_with('#') => {}
                '0'..='9' if !is_of_a_word => text.push('#'),
                other => text.push(other),
            }
        }
        self.line(call, text);
    }

    /// Compares all of it with the snapshot of this name.
    pub fn check(self, name: &str) {
        check(name, &self.0);
    }
}

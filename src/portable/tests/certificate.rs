//! `sample`'s certificates: what they say against a search, and that `--max-copy` keeps its promise in the files.

use std::path::Path;
use std::process::{Command, Output};

use bachdist_portable::config::{Config, DataConfig};
use bachdist_portable::corpus::load::survey;
use bachdist_portable::representation::{RepresentationConfig, Token};
use bachdist_test_support::snapshot::check;
use serde_json::Value;

fn sample(folder: &Path, options: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample"));
    command.current_dir(folder).args(options.split_whitespace()).output().unwrap()
}

/// The first piece of a run that ends well.
fn piece(folder: &Path, options: &str) -> Value {
    let output = sample(folder, &format!("--json {options}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["pieces"][0].clone()
}

fn classes(piece: &Value) -> Vec<Token> {
    piece["classes"].as_array().unwrap().iter().map(|class| class.as_u64().unwrap() as Token).collect()
}

/// What the built-in checkpoint was trained on.
fn prelude() -> Vec<Token> {
    let data = DataConfig { midi: "embedded".into(), ..Config::default().data };
    let representation = RepresentationConfig::default().build();
    survey(&data, &*representation, |content| content.encoded.tokens)
        .unwrap()
        .files
        .remove(0)
        .content
        .unwrap()
}

/// By search: the longest n-gram of a melody that the music has, after each was made what `by` makes of it.
fn longest<T: PartialEq>(melody: &[Token], music: &[Token], by: impl Fn(&[Token]) -> Vec<T>) -> usize {
    let shared = |notes: usize| {
        let theirs: Vec<_> = music.windows(notes).map(&by).collect();
        melody.windows(notes).any(|gram| theirs.contains(&by(gram)))
    };
    (1..=melody.len()).take_while(|&notes| shared(notes)).last().unwrap_or(0)
}

fn exact(gram: &[Token]) -> Vec<Token> {
    gram.to_vec()
}

fn transposed(gram: &[Token]) -> Vec<i32> {
    gram.iter().map(|&token| i32::from(token) - i32::from(gram[0])).collect()
}

#[test]
fn the_certificate_says_what_a_search_finds() {
    let folder = tempfile::tempdir().unwrap();
    let music = prelude();
    for options in ["--seed 1", "--seed 2 --greedy", "--seed 4 --greedy --notes 40"] {
        let piece = piece(folder.path(), &format!("{options} --only midi"));
        let (certificate, melody) = (&piece["certificate"], classes(&piece));
        assert_eq!(certificate["longest_exact"]["length"], longest(&melody, &music, exact), "{options}");
        let length = longest(&melody, &music, transposed);
        assert_eq!(certificate["longest_transposed"]["length"], length, "{options}");
        let run = &certificate["longest_transposed"];
        let [at, sample_at] = ["at", "sample_at"].map(|key| run[key].as_u64().unwrap() as usize);
        let (ours, theirs) = (&melody[sample_at..][..length], &music[at..][..length]);
        let by = run["semitones"].as_i64().unwrap();
        assert!(ours.iter().zip(theirs).all(|(a, b)| i64::from(*a) - i64::from(*b) == by), "{options}");
        assert_eq!(run["piece"], "bwv1007-prelude.txt");
        assert_eq!(certificate["novelty"].as_array().unwrap().len(), melody.len().min(50));
    }
}

#[test]
fn a_picture_of_the_certificate_is_written_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let piece = piece(folder.path(), "--seed 2 --notes 30 --only midi,certificate -o out");
    assert_eq!(piece["certificate_png"], "out/2-1-certificate.png");
    let png = std::fs::read(folder.path().join("out/2-1-certificate.png")).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
}

#[test]
fn max_copy_is_kept_and_changes_nothing_that_keeps_it_anyway() {
    let folder = tempfile::tempdir().unwrap();
    let music = prelude();
    for options in ["--seed 2 --greedy", "--seed 3 --temperature 0.5", "--seed 4 --top-k 3"] {
        let free = piece(folder.path(), &format!("{options} --only midi"));
        assert_eq!(free["max_copy"], Value::Null);
        let shared = longest(&classes(&free), &music, transposed);
        for notes in [3, 8, shared.saturating_sub(1), shared] {
            let options = format!("{options} --only midi --max-copy {notes}");
            let kept = piece(folder.path(), &options);
            assert!(longest(&classes(&kept), &music, transposed) <= notes, "{options}");
            assert_eq!(kept["max_copy"]["notes"], notes);
            assert_eq!(kept["classes"] == free["classes"], notes >= shared, "{options}");
            assert_eq!(kept["max_copy"]["avoided"] == 0, notes >= shared, "{options}");
            assert_eq!(kept, piece(folder.path(), &options));
        }
    }
    let refused = sample(folder.path(), "--max-copy 0");
    assert_eq!(refused.status.code(), Some(2));
}

/// Whole pieces are composed until one is novel; the first candidate is the piece without others.
#[test]
fn candidates_are_composed_until_one_is_novel() {
    let folder = tempfile::tempdir().unwrap();
    let pieces = |options: &str| {
        let options = format!("--voices --json --seed 5 -n 12 --beats 12 --only midi {options}");
        let output = sample(folder.path(), &options);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["pieces"].as_array().unwrap().clone()
    };
    let is_novel = |piece: &Value| piece["certificate"]["verdict"] == "novel";
    let (one, some) = (pieces("--candidates 1"), pieces("--candidates 3"));
    let mut improved = 0;
    for (one, some) in one.iter().zip(&some) {
        assert_eq!(one["candidates"], 1);
        let share = |piece: &Value| piece["certificate"]["share"].as_f64().unwrap();
        if is_novel(one) {
            assert_eq!(one, some);
        } else {
            assert!(some["candidates"].as_u64().unwrap() > 1 && share(some) <= share(one));
            assert!(is_novel(some) || some["candidates"] == 3);
            improved += u32::from(share(some) < share(one));
        }
    }
    assert!(improved > 0 && one.iter().any(is_novel), "{improved}");
    assert_eq!(some, pieces("--candidates 3"));
    // Notes that are only pitches are composed as in the article.
    assert_eq!(piece(folder.path(), "--seed 2 --greedy --only midi")["candidates"], 1);
}

#[test]
fn the_report_of_a_piece_fits_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let output = sample(folder.path(), "--seed 2 --start 276 --max-copy 20 --only midi");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    check("sample-max-copy", &text);
}

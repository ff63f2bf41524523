//! What the comparison says of music whose distance is known, and the same figures from an independent program.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::random::{Purpose, RandomStream};
use crate::representation::{RepresentationConfig, pitches};
use bachdist_test_support::tools::{peer_python, shared};

/// A random walk on a scale of pitches.
fn walk(number: u64, notes: usize, scale: &[u8]) -> Vec<u8> {
    let stream = RandomStream::new(1, Purpose::Sampling, &[number]);
    let mut at = scale.len() as i64 / 2;
    let step = |i: usize| {
        at = (at + (stream.bits(i as u64) % 5) as i64 - 2).clamp(0, scale.len() as i64 - 1);
        scale[at as usize]
    };
    (0..notes).map(step).collect()
}

/// A random walk on one of six major scales.
fn tune(number: u64, notes: usize) -> Vec<u8> {
    let scale = [0, 2, 4, 5, 7, 9, 11, 12, 14, 16].map(|step| 31 + 2 * (number % 6) as u8 + step);
    walk(number, notes, &scale)
}

/// Four pieces on each scale, of 250 to 480 notes.
fn corpus() -> Vec<Vec<u8>> {
    (0..24).map(|number| tune(number, 250 + 10 * number as usize)).collect()
}

/// New pieces made as those of the corpus are.
fn alike(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| tune(1000 + number, 100 + number as usize)).collect()
}

/// Two notes that alternate.
fn dull(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|number| [50, 51 + number as u8].repeat(60)).collect()
}

#[test]
fn music_of_the_same_kind_is_near_and_other_music_is_far() {
    let near = compare(&alike(5), &corpus()).unwrap();
    // Of eight features less than one is beyond the spread by chance.
    assert!(near.distances.iter().filter(|distance| distance.far).count() <= 2, "{near}");
    assert!(near.loops.is_empty());
    let far = compare(&dull(5), &corpus()).unwrap();
    assert!(far.distances.iter().filter(|distance| distance.far).count() >= 6, "{far}");
    assert_eq!(far.loops.len(), 5);
    assert_eq!(far.loops[3].found, Loop { start: 0, period: 2, rounds: 60 });
    for (near, far) in near.distances.iter().zip(&far.distances) {
        assert!(near.kl < far.kl, "{}: {} and {}", near.name, near.kl, far.kl);
    }
}

#[test]
fn what_cannot_be_compared_is_said() {
    assert_eq!(compare(&[], &corpus()), Err(StyleError::NoSamples));
    let short = compare(&[vec![60; 50], vec![60; 3]], &corpus());
    assert_eq!(short, Err(StyleError::ShortSample { index: 1, notes: 3 }));
    assert_eq!(compare(&alike(1), &[]), Err(StyleError::NoCorpus));
}

#[test]
fn of_few_pieces_all_but_distances_is_compared() {
    for pieces in [1, 2] {
        let few = compare(&alike(2), &corpus()[..pieces]).unwrap();
        assert_eq!((few.pieces, few.distances.len(), few.numbers.len()), (pieces, 0, NUMBERS.len()));
        assert!(few.to_string().contains("distances: none, because they need 3 pieces"), "{few}");
    }
    assert_eq!(compare(&alike(2), &corpus()[..3]).unwrap().distances.len(), NAMES.len());
}

#[test]
#[ignore = "slow"]
fn tables_fit_80_columns_and_json_has_every_part() {
    for samples in [alike(1), dull(20)] {
        let style = compare(&samples, &corpus()).unwrap();
        let table = style.to_string();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        let json = serde_json::to_value(&style).unwrap();
        assert_eq!(json["histograms"]["transitions"]["samples"].as_array().unwrap().len(), 144);
        assert_eq!(json["distances"].as_array().unwrap().len(), NAMES.len());
        assert!(json["distances"].as_array().unwrap().iter().all(|distance| distance["kl"].is_number()));
        assert_eq!(json["loops"].as_array().unwrap().len(), style.loops.len());
    }
    let table = compare(&dull(2), &corpus()).unwrap().to_string();
    assert!(table.ends_with("\n  sample 2: from note 1 on the same 2 notes, 60 times"), "{table}");
}

/// What `tests/golden/style.py` says of the same notes; of the spread of the corpus too, which takes it long.
fn peer(samples: &[Vec<u8>], corpus: &[Vec<u8>], spread: bool) -> Option<Value> {
    let python = peer_python()?;
    let notes = excerpt_length(samples, corpus);
    let excerpts = cut_excerpts(corpus, notes);
    let excerpt = |s: &Excerpt| json!({"piece": s.piece, "pitches": s.pitches});
    let question = json!({
        "samples": samples,
        "notes": notes,
        "stretches": excerpts.iter().map(excerpt).collect::<Vec<_>>(),
        "sets": if spread { draw_sets(&excerpts, samples.len()) } else { Vec::new() },
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/style.py");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), question.to_string()).unwrap();
    let output = Command::new(python).arg(script).arg(file.path()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Every number of ours that the other has too, to 1e-6 of its size or of 1.
fn assert_same(ours: &Value, theirs: &Value, place: &str) -> usize {
    match theirs {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| assert_same(&ours[name], value, &format!("{place}.{name}")))
            .sum(),
        Value::Array(items) => {
            assert_eq!(ours.as_array().map(Vec::len), Some(items.len()), "{place}");
            let items = items.iter().enumerate();
            items.map(|(i, value)| assert_same(&ours[i], value, &format!("{place}[{i}]"))).sum()
        }
        Value::Number(theirs) => {
            let (a, b) = (ours.as_f64().unwrap_or(f64::NAN), theirs.as_f64().unwrap());
            // Written so that a NaN fails.
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{place}: ours {a}, theirs {b}");
            1
        }
        _ => {
            assert_eq!(ours, theirs, "{place}");
            1
        }
    }
}

#[test]
#[ignore = "needs pretty_midi"]
fn an_independent_program_finds_the_same_figures() {
    let compare_both = |samples: Vec<Vec<u8>>, corpus: &[Vec<u8>], spread: bool| {
        let theirs = peer(&samples, corpus, spread)?;
        let ours = serde_json::to_value(compare(&samples, corpus).unwrap()).unwrap();
        Some(assert_same(&ours, &theirs, "style"))
    };
    for samples in [alike(3), dull(1)] {
        let Some(compared) = compare_both(samples, &corpus(), false) else { return };
        assert!(compared >= 2 * (12 + 144 + 255) + 5 * 5 + 8 * 3, "{compared}");
    }
    let compared = compare_both(alike(1), &corpus()[..9], true);
    assert!(compared >= Some(2 * (12 + 144 + 255) + 5 * 5 + 8 * 8), "{compared:?}");
}

#[test]
#[ignore = "needs pretty_midi, shared"]
fn the_cello_suites_are_near_themselves() {
    let Some(folder) = shared("data/cello") else {
        println!("skipped: the cello files are not beside this checkout");
        return;
    };
    let data = crate::config::DataConfig { midi: folder.display().to_string(), ..Default::default() };
    let representation = RepresentationConfig::default().build();
    let pieces = crate::corpus::Corpus::load(&data, &*representation, 20).unwrap().training;
    let pieces = pieces.iter().map(|piece| pitches(&*representation, &piece.tokens));
    // Stretches of six movements of different suites, compared with the others.
    let (samples, corpus): (Vec<_>, Vec<_>) = pieces.enumerate().partition(|(index, _)| index % 7 == 3);
    let samples: Vec<_> = samples.iter().map(|(_, pitches)| pitches[..200].to_vec()).collect();
    let corpus: Vec<_> = corpus.into_iter().map(|(_, pitches)| pitches).collect();
    let style = compare(&samples, &corpus).unwrap();
    println!("{style}");
    assert!(style.distances.iter().filter(|distance| distance.far).count() <= 2, "{style}");
    assert_eq!(style.corpus_loops, 0);
    if let Some(theirs) = peer(&samples, &corpus, false) {
        assert_same(&serde_json::to_value(&style).unwrap(), &theirs, "cello");
    }
}

//! The figures that an independent program found on the 36 files of the cello suites, to three decimals.

use serde_json::Value;

use super::baselines::{Baseline, Fitted};
use super::heard::{heard, heard_in_all};
use super::memory::{Memory, Weights};
use super::score::Figures;
use super::{Scores, score};
use crate::config::Data;
use crate::corpus::{Corpus, Piece};
use crate::test_tools::shared;

const SEQUENCE_LENGTH: usize = 20;

/// Every baseline of the oracle that has a formula.
const ALL: [Baseline; 7] = [
    Baseline::Uniform,
    Baseline::Unigram,
    Baseline::BigramAddOne,
    Baseline::WittenBell(5),
    Baseline::WittenBell(20),
    Baseline::Mix { pitch: 2, interval: 2 },
    Baseline::Mix { pitch: 2, interval: 3 },
];

/// The suites, and the oracle.
pub(super) fn suites() -> Option<(Vec<Vec<Piece>>, Value)> {
    let (Some(oracle), Some(midi)) = (shared("oracles/baselines.json"), shared("data/cello")) else {
        println!("skipped: the cello files and their oracle are not beside this checkout");
        return None;
    };
    let oracle = serde_json::from_slice(&std::fs::read(oracle).unwrap()).unwrap();
    let data = Data { midi: midi.display().to_string(), ..Data::default() };
    let pieces = Corpus::load(&data).unwrap().training;
    let suite = |number: usize| {
        let name = format!("cs{number}");
        pieces.iter().filter(|piece| piece.name.starts_with(&name)).cloned().collect()
    };
    Some(((1..=6).map(suite).collect(), oracle))
}

/// All suites but one.
pub(super) fn without(suites: &[Vec<Piece>], left_out: usize) -> Vec<Piece> {
    let others = suites.iter().enumerate().filter(|(index, _)| *index != left_out);
    others.flat_map(|(_, suite)| suite.clone()).collect()
}

/// Scores of a baseline on pieces, fitted on others.
fn fitted(baseline: Baseline, training: &[Piece], pieces: &[Piece]) -> Scores {
    score(&baseline.fit(training, SEQUENCE_LENGTH), pieces, SEQUENCE_LENGTH)
}

/// Pools the figures of different pieces.
fn pooled(parts: &[Figures]) -> (f64, f64) {
    let windows: u64 = parts.iter().map(|part| part.windows).sum();
    let mean = |figure: fn(&Figures) -> f64| {
        parts.iter().map(|part| figure(part) * part.windows as f64).sum::<f64>() / windows as f64
    };
    (mean(|part| part.nats), mean(|part| part.top1))
}

/// Compares where the oracle has a figure; says whether it had one.
fn compare(expected: &Value, baseline: Baseline, parts: &[Figures]) -> bool {
    let name = baseline.name();
    let Some(expected) = expected.get(&name) else { return false };
    let (nats, top1) = pooled(parts);
    println!("{name}: {nats:.4} nats, {:.2}%", 100.0 * top1);
    for (found, expected) in [(nats, &expected[0]), (top1, &expected[1])] {
        // The oracle rounds to four decimals and then to three: 3.557485 is its 3.558.
        let difference = (found - expected.as_f64().unwrap()).abs();
        assert!(difference <= 0.000_55, "{name}: {found} for {expected}");
    }
    true
}

#[test]
fn baselines_reach_the_oracles_figures_with_each_suite_left_out() {
    let Some((suites, oracle)) = suites() else { return };
    let (mut left_out, mut last) = (0, 0);
    for baseline in ALL {
        let part = |out: usize| fitted(baseline, &without(&suites, out), &suites[out]).all().overall;
        let parts: Vec<_> = (0..6).map(part).collect();
        left_out += usize::from(compare(&oracle["leave_one_suite_out"], baseline, &parts));
        last += usize::from(compare(&oracle["hold_out_suite_6"], baseline, &parts[5..]));
    }
    assert_eq!((left_out, last), (ALL.len(), 4));
}

#[test]
fn baselines_reach_the_oracles_figures_on_what_they_were_fitted_on() {
    let Some((suites, oracle)) = suites() else { return };
    let all = suites.concat();
    let figures = |baseline| fitted(baseline, &all, &all).all().overall;
    let compared = ALL.map(|baseline| compare(&oracle["in_sample"], baseline, &[figures(baseline)]));
    assert_eq!(compared.into_iter().filter(|&compared| compared).count(), 4);
}

#[test]
fn as_many_windows_were_heard_before_as_the_oracle_counts() {
    let Some((suites, oracle)) = suites() else { return };
    let heard = heard_in_all(&suites.concat(), SEQUENCE_LENGTH);
    let repeated = heard.iter().filter(|&&heard| heard).count();
    assert_eq!(oracle["windows"]["windows"], heard.len());
    assert_eq!(oracle["windows_that_repeat_an_earlier_window_of_the_same_movement"], repeated);
}

/// The n-gram mix with memory on top, weights fitted on the other suites: what a network starts from.
#[test]
fn memory_beats_the_oracles_online_model() {
    let Some((suites, oracle)) = suites() else { return };
    let (mut overall, mut novel, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
    for out in 0..6 {
        let training = without(&suites, out);
        let mix = Baseline::Mix { pitch: 2, interval: 2 }.fit(&training, SEQUENCE_LENGTH);
        let all = score_with_memory(&mix, &Weights::fit(&training), &suites[out]).all();
        overall.push(all.overall);
        novel.push(all.novel);
        repeated.push(all.repeated);
    }
    let parts = [&overall, &novel, &repeated].map(|parts| pooled(parts));
    println!("all, new, heard: {parts:.4?}");
    let left_out = &oracle["leave_one_suite_out"];
    let online = &left_out["trigram_plus_online_10gram_of_the_piece_so_far"];
    let online_new = &left_out["the_same_on_windows_not_seen_before_in_the_piece"];
    for (found, expected) in parts.iter().zip([online, online_new]) {
        assert!(found.0 < expected[0].as_f64().unwrap(), "{found:?} for {expected}");
        assert!(found.1 > expected[1].as_f64().unwrap(), "{found:?} for {expected}");
    }
}

fn score_with_memory(model: &Fitted, weights: &Weights, pieces: &[Piece]) -> Scores {
    let mut scores = Scores::new(pieces);
    for (index, piece) in pieces.iter().enumerate() {
        let (mut memory, heard) = (Memory::new(weights), heard(&piece.classes, SEQUENCE_LENGTH));
        for (at, &target) in piece.classes.iter().enumerate() {
            if at >= SEQUENCE_LENGTH {
                let window = &piece.classes[at - SEQUENCE_LENGTH..at];
                let logs: Vec<f64> = model.probabilities(window).into_iter().map(f64::ln).collect();
                scores.add(index, heard[at - SEQUENCE_LENGTH], &memory.mix(&logs), target);
            }
            memory.hear(target);
        }
    }
    scores
}

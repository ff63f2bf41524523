//! Where two checkpoints differ: in what they describe, and tensor by tensor in their numbers.
//!
//! Nothing is equal unless every bit is, because that is what a run promises. Printing is left to the commands.

pub mod tensors;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::open::Opened;
use super::{Checkpoint, Name, Training};
use crate::config::identity::{ValueDifference, differences as value_differences};
use crate::corpus::Piece;
use tensors::TensorDifference;

/// Where two checkpoints differ. As JSON its fields are what `checkpoint diff --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diff {
    /// The steps of both.
    pub steps: [u64; 2],
    /// What differs beside the numbers of tensors.
    pub differences: Vec<ValueDifference>,
    /// The tensors whose numbers differ: weights in the order of the network, then the optimizer's.
    pub tensors: Vec<TensorDifference>,
}

impl Diff {
    /// Where two checkpoints differ.
    pub fn between(a: &Checkpoint, b: &Checkpoint) -> Diff {
        let mut differences = value_differences(&json!({ "step": a.step }), &json!({ "step": b.step }));
        differences.extend(value_differences(&a.identity, &b.identity));
        differences.extend(corpora(&a.corpus, &b.corpus));
        differences.extend(value_differences(&sums(a), &sums(b)));
        differences.extend(tensors::shapes(a, b));
        Diff { steps: [a.step, b.step], differences, tensors: tensors::numbers(a, b) }
    }

    /// Where two checkpoints differ as they are stored: also where only another program sees it.
    pub fn between_stored(a: &Opened, b: &Opened) -> Diff {
        let mut diff = Diff::between(&a.checkpoint, &b.checkpoint);
        if diff.is_equal() && a.bytes != b.bytes {
            let name = |opened: &Opened| Name::of(opened.checkpoint.step, &opened.bytes).to_string().into();
            diff.differences
                .push(ValueDifference { key: "the name of its bytes".into(), values: [name(a), name(b)] });
        }
        diff
    }

    /// Whether there is no difference.
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.tensors.is_empty()
    }
}

/// What a checkpoint adds up over windows.
fn sums(checkpoint: &Checkpoint) -> Value {
    json!({ "epoch": checkpoint.epoch, "seen": checkpoint.seen })
}

/// The fingerprints, and the first piece that differs.
fn corpora(a: &Training, b: &Training) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    if a.fingerprint != b.fingerprint {
        // As short as messages have it.
        let short = |training: &Training| json!(format!("{:.12}", training.fingerprint));
        differences.push(ValueDifference { key: "corpus.fingerprint".into(), values: [short(a), short(b)] });
        differences.extend(first_piece([&a.pieces, &b.pieces]));
    }
    differences
}

fn first_piece(corpora: [&[Piece]; 2]) -> Option<ValueDifference> {
    let names: BTreeSet<&str> =
        corpora.iter().flat_map(|pieces| pieces.iter().map(|p| p.name.as_str())).collect();
    names.into_iter().find_map(|name| {
        let classes =
            corpora.map(|pieces| pieces.iter().find(|piece| piece.name == name).map(|p| &p.classes));
        match classes {
            [Some(a), Some(b)] => {
                let at = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at))?;
                let key = format!("corpus {name}: the class of note {}", at + 1);
                Some(ValueDifference { key, values: [json!(a.get(at)), json!(b.get(at))] })
            }
            _ => {
                let key = format!("corpus {name}: the number of notes");
                Some(ValueDifference { key, values: classes.map(|classes| json!(classes.map(Vec::len))) })
            }
        }
    })
}

#[cfg(test)]
mod tests;

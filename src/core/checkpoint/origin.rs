//! Whose a checkpoint is: what all checkpoints of a run have in common, and no other run's have.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Checkpoint, Training};
use crate::config::Config;
use crate::config::identity::differences as value_differences;
use crate::failure::{Code, Failure};

/// What makes a run this one: its identity and its music.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// [`Config::identity`].
    identity: Value,
    /// [`Training::fingerprint`].
    fingerprint: String,
    pieces: usize,
}

/// Whose checkpoints are looked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Whose {
    /// Anybody's.
    Anyones,
    /// Those of this run.
    Run(Origin),
    /// Those of the run that this attempt is of.
    Attempt {
        /// Its number.
        number: u64,
        /// Its run's [`Origin::digest`].
        run: String,
    },
}

/// Why a checkpoint is another run's.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// The values that differ, by key.
    Identity(Vec<String>),
    /// Other music.
    Music {
        /// What it was trained on.
        theirs: Music,
        /// What this run learns.
        ours: Music,
    },
    /// It is not of the run of this attempt.
    Attempt(u64),
}

/// Some music, as messages name it.
#[derive(Debug, Clone, PartialEq)]
pub struct Music {
    pieces: usize,
    fingerprint: String,
}

impl Origin {
    /// That of a run with this configuration and this music.
    pub fn new(config: &Config, training: &Training) -> Self {
        Self::from_parts(config.identity(), training)
    }

    /// That of a checkpoint's run.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self::from_parts(checkpoint.identity.clone(), &checkpoint.corpus)
    }

    fn from_parts(identity: Value, training: &Training) -> Self {
        Origin { identity, fingerprint: training.fingerprint.clone(), pieces: training.pieces.len() }
    }

    /// 16 hexadecimal digits that other runs do not have.
    pub fn digest(&self) -> String {
        // Objects are written with their keys in order.
        let text = json!({ "corpus": self.fingerprint, "identity": self.identity }).to_string();
        let mut digits = crate::hex(&Sha256::digest(text));
        digits.truncate(16);
        digits
    }

    /// How another run's origin differs from this one, if it does.
    fn difference(&self, theirs: &Origin) -> Option<Difference> {
        let differences = value_differences(&theirs.identity, &self.identity);
        if !differences.is_empty() {
            let told = differences.iter().map(|difference| difference.describe(["there", "here"]));
            return Some(Difference::Identity(told.collect()));
        }
        let music =
            |origin: &Origin| Music { pieces: origin.pieces, fingerprint: origin.fingerprint.clone() };
        (theirs.fingerprint != self.fingerprint)
            .then(|| Difference::Music { theirs: music(theirs), ours: music(self) })
    }
}

impl Whose {
    /// Why a checkpoint is not among those that are looked for, if it is not.
    pub fn difference(&self, checkpoint: &Checkpoint) -> Option<Difference> {
        let theirs = Origin::of(checkpoint);
        match self {
            Whose::Anyones => None,
            Whose::Run(ours) => ours.difference(&theirs),
            Whose::Attempt { number, run } => {
                (theirs.digest() != *run).then_some(Difference::Attempt(*number))
            }
        }
    }
}

impl Difference {
    /// The error of a run that was told to go on from, or to lie beside, the checkpoint at this location.
    pub fn refusal(&self, location: &str) -> Failure {
        let (code, values) = match self {
            Difference::Music { .. } => (Code::Data, "that music"),
            _ => (Code::Usage, "those values"),
        };
        let advice = format!("give this run a checkpoint.url of its own, or {values} back");
        Failure::new(code, format!("{location} {self}; {advice}"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Identity(keys) => write!(f, "belongs to another run: {}", keys.join(", ")),
            Difference::Music { theirs, ours } => write!(
                f,
                "belongs to another run: it was trained on other music ({} pieces, fingerprint {:.12}) than data.midi \
                 holds now ({} pieces, {:.12})",
                theirs.pieces, theirs.fingerprint, ours.pieces, ours.fingerprint
            ),
            Difference::Attempt(number) => write!(f, "belongs to another run than attempt {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;

    fn origin(config: &Config, classes: &[u8]) -> Origin {
        let piece = Piece { name: "a".into(), classes: classes.to_vec() };
        Origin::new(config, &Training::new([piece].into()))
    }

    #[test]
    fn differences_are_named_by_key() {
        let (a, mut b) = (Config::default(), Config::default());
        b.model.units = 128;
        b.data.holdout = vec!["x".into()];
        let (a, b) = (origin(&a, &[1]), origin(&b, &[1]));
        let expected = ["data.holdout is [] there and [\"x\"] here", "model.units is 256 there and 128 here"];
        assert_eq!(b.difference(&a), Some(Difference::Identity(expected.map(str::to_owned).into())));
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn music_makes_a_run_too_and_its_length_does_not() {
        let (a, mut longer) = (Config::default(), Config::default());
        longer.train.epochs = 999;
        assert_eq!(origin(&a, &[1]).digest(), origin(&longer, &[1]).digest());
        assert_eq!(origin(&a, &[1]).difference(&origin(&longer, &[1])), None);
        assert_ne!(origin(&a, &[1]).digest(), origin(&a, &[2]).digest());
        let refusal = origin(&a, &[1]).difference(&origin(&a, &[2])).unwrap().refusal("x");
        assert_eq!(refusal.code, Code::Data);
    }
}

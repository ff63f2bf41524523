//! The rules that composing adds to the grammar of voices: no parallel fifths and octaves, and each voice in its range.
//!
//! A network trained on transposed music knows no range, and one trained on few pieces, where it is lost, goes on to where no
//! voice sings.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;

use clap::{Args, ValueEnum};

use crate::failure::{ExitCode, Failure};
use crate::harmony::{PieceHarmony, avoids_parallels};
use crate::midi::Song;
use crate::representation::{Representation, VoiceRules};

/// Options of `sample`.
#[derive(Debug, Clone, Args)]
pub struct RuleOptions {
    /// Parallel fifths and octaves between voices, where the representation is `voices`
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub parallels: Parallels,
    /// Let voices leave the range that they have in the training music, where the representation is `voices`
    #[arg(long)]
    pub any_range: bool,
}

/// `--parallels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Parallels {
    /// Avoid them if the training music has few
    Auto,
    /// Compose from the network's own distribution
    Allow,
    /// Compose none
    Avoid,
}

impl RuleOptions {
    /// The rules by which a representation composes that was trained on this music.
    pub fn rules(&self, representation: &dyn Representation, music: &[Song]) -> Result<VoiceRules, Failure> {
        let knows_voices = representation.with_rules(&VoiceRules::default()).is_some();
        if !knows_voices {
            if self.parallels == Parallels::Avoid {
                let message = format!(
                    "--parallels avoid: {} does not know which notes are a voice; train a checkpoint with \
                     representation.kind = \"voices\"",
                    representation.id()
                );
                return Err(Failure::new(ExitCode::Usage, message));
            }
            return Ok(VoiceRules::default());
        }
        let forbids_parallels = match self.parallels {
            Parallels::Allow => false,
            Parallels::Avoid => true,
            Parallels::Auto => {
                let harmony: Vec<_> = music.iter().filter_map(|song| PieceHarmony::of(song).ok()).collect();
                avoids_parallels(&harmony)
            }
        };
        let voices = representation.voices().len();
        let ranges = match self.any_range {
            true => Vec::new(),
            false => (0..voices).map(|voice| range(music, voice)).collect(),
        };
        Ok(VoiceRules { forbids_parallels, ranges })
    }
}

/// The lowest and highest note of a voice, its track of each song, if it has any.
pub fn range(music: &[Song], voice: usize) -> Option<RangeInclusive<u8>> {
    let notes = || music.iter().flat_map(|song| &song.instruments[voice].notes);
    Some(notes().map(|note| note.pitch).min()?..=notes().map(|note| note.pitch).max()?)
}

/// What the rules of composing say, in a line.
pub struct RulesText<'a>(pub &'a VoiceRules);

impl Display for RulesText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let VoiceRules { forbids_parallels, ranges } = self.0;
        let parallels = forbids_parallels.then_some("without parallel fifths and octaves");
        let ranges = (!ranges.is_empty()).then_some("each voice within its range");
        f.write_str(&parallels.into_iter().chain(ranges).collect::<Vec<_>>().join(", "))
    }
}

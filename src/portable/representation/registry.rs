//! Which representations there are.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Representation;
use super::frames::{Frames, FramesOptions};
use super::notes::{Notes, NotesOptions};
use super::pitch::{Pitch, PitchOptions};
use super::voices::{Voices, VoicesOptions};

/// `[representation]`: which representation, and its options. A representation is registered here and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RepresentationConfig {
    /// One token for each note, its pitch: the article's.
    Pitch(PitchOptions),
    /// The set of keys that sound in each frame of a grid.
    Frames(FramesOptions),
    /// Any music with rhythm, as one stream of notes.
    Notes(NotesOptions),
    /// Lines of notes and rests, as in chorales.
    Voices(VoicesOptions),
}

impl Default for RepresentationConfig {
    fn default() -> Self {
        RepresentationConfig::Pitch(PitchOptions::default())
    }
}

impl RepresentationConfig {
    /// The representation with these options.
    pub fn build(&self) -> Arc<dyn Representation> {
        match self {
            RepresentationConfig::Pitch(options) => Arc::new(Pitch::new(options.clone())),
            RepresentationConfig::Frames(options) => Arc::new(Frames::new(options.clone())),
            RepresentationConfig::Notes(options) => Arc::new(Notes::new(options.clone())),
            RepresentationConfig::Voices(options) => Arc::new(Voices::new(options.clone())),
        }
    }

    /// The same representation, made to report every note that it cannot spell, where the options would have it changed or
    /// dropped.
    pub fn strict(&self) -> Self {
        match self {
            RepresentationConfig::Pitch(options) => RepresentationConfig::Pitch(options.strict()),
            RepresentationConfig::Frames(options) => RepresentationConfig::Frames(options.strict()),
            RepresentationConfig::Notes(_) => self.clone(),
            RepresentationConfig::Voices(options) => RepresentationConfig::Voices(options.strict()),
        }
    }
}

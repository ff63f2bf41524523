//! A short piece of a network that still learns, as picture and sound: what a log shows after each validation.
//!
//! The same random numbers at every step, so that what differs between two previews is what was learned.

use std::io;

use anyhow::Result;

use super::decode::{Decoding, Length, Reading, compose};
use super::prompt::{PromptSource, StartWindow};
use crate::checkpoint::TrainingCorpus;
use crate::config::Config;
use crate::midi::all_voices;
use crate::network::inference::InferenceNetwork;
use crate::random::{Purpose, RandomStream};
use crate::render::{Sound, piano_roll, wav};

/// A network that reads windows advances as many rows for each token as a window has tokens, and a note is a token: 100 notes
/// of the article last 30 s.
const TOKENS_OF_WINDOWS: usize = 100;

/// One row is enough for a network that reads pieces. A frame or a beat of four voices has about 5 tokens.
const TOKENS_OF_PIECES: usize = 400;

/// What is later is left out: a network that has learned nothing holds some notes for minutes.
const MAX_SECONDS: f64 = 30.0;

/// In samples per second: half of the compact disc's, which is enough for the sine of any piano key.
const SAMPLE_RATE: u32 = 22_050;

/// A composed piece of at most 31 seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its piano roll, a PNG file.
    pub roll: Vec<u8>,
    /// Its sound, a WAV file with one channel of 16 bits.
    pub sound: Vec<u8>,
    /// Samples per second of the sound.
    pub rate: u32,
    /// Samples of the sound.
    pub samples: usize,
}

impl Preview {
    /// What a network composes after `step` steps, as `sample` would with its defaults but for rules of voices, further
    /// candidates and the length.
    ///
    /// # Errors
    /// The training music has no window to begin from.
    pub fn compose(
        network: &InferenceNetwork,
        config: &Config,
        training: &TrainingCorpus,
        step: u64,
    ) -> Result<Preview> {
        let reading = Reading::of(config);
        let stream = RandomStream::new(config.train.seed, Purpose::Sampling, &[1]);
        let prompt = PromptSource::new(None, StartWindow::Random, training, config)?.prompt(stream);
        let length = Length::Tokens(match reading {
            Reading::Window => TOKENS_OF_WINDOWS,
            Reading::Piece => TOKENS_OF_PIECES,
        });
        let decoding = Decoding::Sampling { temperature: 1.0, top_k: None, top_p: Some(0.9) };
        let composition = compose(network, reading, &prompt.tokens, length, &decoding, stream, None)?;
        let mut notes = all_voices(&network.representation().decode(&composition.tokens));
        notes.retain(|note| note.start < MAX_SECONDS);
        for note in &mut notes {
            note.end = note.end.min(MAX_SECONDS);
        }
        let roll = piano_roll(&notes, &format!("Sample after step {step}")).png;
        let sound = Sound::sines(&notes, SAMPLE_RATE);
        let mut bytes = Vec::new();
        wav(&sound, sound.peak(), &mut bytes).map_err(io::Error::other)?;
        Ok(Preview { roll, sound: bytes, rate: SAMPLE_RATE, samples: sound.samples() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Piece;
    use crate::network::{Architecture, initial_parameters};
    use crate::representation::RepresentationConfig;

    /// A network that has learned nothing yet.
    fn preview(representation: RepresentationConfig, carry_state: bool) -> Preview {
        let mut config = Config { representation, ..Config::default() };
        (config.model.layers, config.model.units, config.model.dense) = (1, 16, 16);
        config.train.carry_state = carry_state;
        let representation = config.representation.build();
        let architecture = Architecture::new(&config.model, representation.shape());
        let parameters = initial_parameters(architecture, 1);
        let network = InferenceNetwork::new(representation, architecture, &parameters);
        let training = TrainingCorpus::new([Piece { name: "a".into(), tokens: vec![1; 30] }].into());
        Preview::compose(&network, &config, &training, 7).unwrap()
    }

    #[test]
    fn a_network_that_has_learned_nothing_composes_a_picture_and_a_sound() {
        for (kind, carry_state) in [("pitch", false), ("notes", true), ("frames", true), ("voices", true)] {
            let representation = serde_json::from_value(serde_json::json!({ "kind": kind })).unwrap();
            let preview = preview(representation, carry_state);
            let reader = hound::WavReader::new(&preview.sound[..]).unwrap();
            assert_eq!((reader.spec().sample_rate, reader.duration() as usize), (22_050, preview.samples));
            assert!(preview.samples <= 31 * 22_050, "{kind}: {}", preview.samples);
            let picture = png::Decoder::new(&preview.roll[..]).read_info().unwrap();
            assert!(picture.info().width >= 100, "{kind}");
        }
    }
}

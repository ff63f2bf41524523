//! `--melody`: the other voices are composed around one that is given.
//!
//! A network composes in the order of time and cannot see what the given voice will do. Sequential Monte Carlo (a particle
//! filter) lets the future count: many candidates, the particles, are composed side by side. Whenever the given voice speaks,
//! each weighs by the probability that its network gave to what the voice says, and as soon as few carry most of the weight,
//! particles are drawn anew in proportion to it. So a beginning from which the melody goes on well is kept, and one that it
//! contradicts dies out. In the end the most probable particle is the piece.

use std::path::Path;

use crate::failure::{ExitCode, Failure};
use crate::midi::{Instrument, Song, pitch_name};
use crate::network::inference::{InferenceNetwork, RowStates};
use crate::random::RandomStream;
use crate::representation::{GivenVoice, Representation, State, Token};

use super::decode::{Composition, Decoding, mask};
use super::prompt::read_song;
use super::rules::range;

/// A melody that the other voices are composed around.
#[derive(Debug)]
pub struct Melody {
    /// What it is the first track of that is not drums.
    pub song: Song,
    /// Which voice it is, numbered from 0.
    pub voice: usize,
    /// As the representation says it.
    pub given: Box<dyn GivenVoice>,
    lowest: u8,
    highest: u8,
}

impl Melody {
    /// Reads the melody of a file.
    pub fn read(
        path: &Path,
        voice: VoiceChoice,
        representation: &dyn Representation,
    ) -> Result<Self, Failure> {
        let failure = |reason: String| Failure::new(ExitCode::Data, format!("{}: {reason}", path.display()));
        let usage = |reason: String| Failure::new(ExitCode::Usage, format!("--melody: {reason}"));
        let voices = representation.decode(&[]).instruments.len();
        let voice = voice.index(voices).map_err(usage)?;
        let song = read_song(path, representation, "melody")?;
        let melody =
            song.instruments.iter().find(|instrument| !instrument.is_drum && !instrument.notes.is_empty());
        let Some(Instrument { notes, .. }) = melody else {
            let reason =
                if song.instruments.is_empty() { "it has no note" } else { "all its notes are drums" };
            return Err(failure(format!("{reason}, and a melody needs at least one")));
        };
        let given = match representation.give_voice(&song, notes.clone(), voice) {
            Some(given) => {
                given.map_err(|reason| failure(format!("this is no melody that can be kept: {reason}")))?
            }
            None => {
                return Err(usage(format!(
                    "this checkpoint is of representation {}, which has no voices to give; train one with \
                     representation.kind = \"voices\"",
                    representation.id()
                )));
            }
        };
        let pitches = || notes.iter().map(|note| note.pitch);
        let (lowest, highest) = (pitches().min().unwrap_or(0), pitches().max().unwrap_or(0));
        Ok(Melody { voice, given, lowest, highest, song })
    }

    /// In words, how far it goes beyond what its voice has in the training music, if it does.
    pub fn beyond_training(&self, representation: &dyn Representation, music: &[Song]) -> Option<String> {
        let (lowest, highest) = range(music, self.voice)?.into_inner();
        let name = representation.voices()[self.voice].name.to_lowercase();
        let (own, direction, theirs) = match (self.lowest < lowest, self.highest > highest) {
            (true, _) => (self.lowest, "lowest", lowest),
            (false, true) => (self.highest, "highest", highest),
            (false, false) => return None,
        };
        Some(format!(
            "its {direction} note is {}, that of any {name} of the training music {}; another --voice, or the melody in \
             another octave, may fit better",
            pitch_name(own),
            pitch_name(theirs)
        ))
    }
}

/// `--voice`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoiceChoice {
    /// Counted from 1, the highest.
    Number(usize),
    /// The last one.
    Bass,
}

impl VoiceChoice {
    /// Its index among so many voices.
    fn index(self, voices: usize) -> Result<usize, String> {
        match self {
            VoiceChoice::Bass => Ok(voices - 1),
            VoiceChoice::Number(number) if number <= voices => Ok(number - 1),
            VoiceChoice::Number(number) => Err(format!("there is no voice {number} among {voices}")),
        }
    }
}

/// `--voice`: a name or a number.
pub fn parse_voice(text: &str) -> Result<VoiceChoice, String> {
    match text {
        "soprano" => Ok(VoiceChoice::Number(1)),
        "alto" => Ok(VoiceChoice::Number(2)),
        "tenor" => Ok(VoiceChoice::Number(3)),
        "bass" => Ok(VoiceChoice::Bass),
        _ => text
            .parse()
            .ok()
            .filter(|&number| number > 0)
            .map(VoiceChoice::Number)
            .ok_or_else(|| "must be soprano, alto, tenor, bass or a number from 1".into()),
    }
}

/// A candidate.
#[derive(Debug, Clone)]
struct Particle {
    tokens: Vec<Token>,
    state: State,
    /// Tokens of the given voice among them.
    said: usize,
    has_ended: bool,
    /// Relative to those of the others.
    log_weight: f64,
    /// Of all tokens, the given ones included.
    log_prob: f64,
}

/// Composes the other voices with so many particles. `decoding` picks their tokens.
pub fn harmonize(
    network: &InferenceNetwork,
    given: &dyn GivenVoice,
    particles: usize,
    decoding: &Decoding,
    stream: RandomStream,
) -> Composition {
    let representation = network.representation();
    let state = representation.start();
    let (tokens, said, has_ended) = (Vec::new(), 0, false);
    let first = Particle { tokens, state, said, has_ended, log_weight: 0.0, log_prob: 0.0 };
    let mut all = vec![first; particles];
    let mut states = network.states(particles);
    begin(network, &mut states, particles);
    // Particles wait for each other after every token of the given voice, so that their weights are of the same music.
    for stage in 0..=given.tokens().len() {
        loop {
            let goes_on = |particle: &Particle| !particle.has_ended && particle.said <= stage;
            let rows: Vec<usize> = (0..particles).filter(|&row| goes_on(&all[row])).collect();
            if rows.is_empty() {
                break;
            }
            let mut read = Vec::with_capacity(rows.len());
            for &row in &rows {
                let probabilities = network.probabilities(&states, row);
                // Another stream for each row, so that copies of a particle go different ways.
                let uniform = stream.of(1 + row as u64).uniform(all[row].tokens.len() as u64);
                read.push(all[row].step(representation, given, probabilities, decoding, uniform));
            }
            let mut selection = states.select(&rows);
            network.advance(&mut selection, &read);
            states.replace(&rows, &selection);
        }
        if effective_particles(&all) < 0.5 * particles as f64 {
            let origins = resample(&all, stream.of(0).uniform(stage as u64));
            all = origins.iter().map(|&row| Particle { log_weight: 0.0, ..all[row].clone() }).collect();
            states = states.select(&origins);
        }
    }
    let best = all.into_iter().reduce(|a, b| if b.log_prob > a.log_prob { b } else { a });
    let tokens = best.expect("at least one particle").tokens;
    let probabilities = predictions(network, &tokens);
    Composition { tokens, probabilities, copy_limit: None }
}

/// Reads what stands before every piece.
fn begin(network: &InferenceNetwork, states: &mut RowStates, rows: usize) {
    if let Some(end) = network.representation().end() {
        network.advance(states, &vec![end; rows]);
    }
}

impl Particle {
    /// Picks the next token, and weighs the particle by the probability of what keeps the given voice.
    fn step(
        &mut self,
        representation: &dyn Representation,
        given: &dyn GivenVoice,
        mut probabilities: Vec<f32>,
        decoding: &Decoding,
        uniform: f64,
    ) -> Token {
        mask(&mut probabilities, |token| representation.allows(self.state, token));
        let grammatical = total(&probabilities);
        let all = probabilities.clone();
        // What is given is kept, even if the grammar has a rule against it.
        let is_given = given.speaks(self.state);
        let allows = |token| {
            given.allows(self.state, self.said, token)
                && (is_given || representation.allows(self.state, token))
        };
        mask(&mut probabilities, allows);
        let kept = total(&probabilities);
        if kept == 0.0 {
            // Too improbable for 32 bits: any token that is allowed.
            for (token, p) in probabilities.iter_mut().enumerate() {
                *p = f32::from(u8::from(allows(token as Token)));
            }
        }
        let token = decoding.pick(&probabilities, uniform);
        let log_share = |p: f64| libm::log((p / grammatical).max(f64::from(f32::MIN_POSITIVE)));
        self.log_weight += log_share(kept);
        if Some(token) == representation.end() {
            self.has_ended = true;
            return token;
        }
        self.log_prob += log_share(f64::from(all[usize::from(token)]));
        self.said += usize::from(is_given);
        self.state = representation.next(self.state, token);
        self.tokens.push(token);
        token
    }
}

fn total(probabilities: &[f32]) -> f64 {
    probabilities.iter().map(|&p| f64::from(p)).sum()
}

/// Weights relative to the largest.
fn weights(particles: &[Particle]) -> Vec<f64> {
    let largest = particles.iter().map(|particle| particle.log_weight).fold(f64::NEG_INFINITY, f64::max);
    particles.iter().map(|particle| libm::exp(particle.log_weight - largest)).collect()
}

/// The number of equal weights that would vary a mean as much as these do (Kong 1992).
fn effective_particles(particles: &[Particle]) -> f64 {
    let weights = weights(particles);
    let sum: f64 = weights.iter().sum();
    sum * sum / weights.iter().map(|weight| weight * weight).sum::<f64>()
}

/// As many particles in proportion to their weights: systematic resampling, with one random number for all.
fn resample(particles: &[Particle], uniform: f64) -> Vec<usize> {
    let weights = weights(particles);
    let step = weights.iter().sum::<f64>() / particles.len() as f64;
    let (mut origins, mut reached) = (Vec::with_capacity(particles.len()), 0.0);
    for (index, weight) in weights.iter().enumerate() {
        reached += weight;
        while origins.len() < particles.len() && (origins.len() as f64 + uniform) * step < reached {
            origins.push(index);
        }
    }
    // Rounding may leave one out at the end.
    origins.resize(particles.len(), particles.len() - 1);
    origins
}

/// For each token the network's prediction, of what the grammar allows.
fn predictions(network: &InferenceNetwork, tokens: &[Token]) -> Vec<Vec<f32>> {
    let representation = network.representation();
    let (mut states, mut state) = (network.states(1), representation.start());
    begin(network, &mut states, 1);
    let mut predictions = Vec::with_capacity(tokens.len());
    for &token in tokens {
        let mut probabilities = network.probabilities(&states, 0);
        mask(&mut probabilities, |token| representation.allows(state, token));
        predictions.push(probabilities);
        network.advance(&mut states, &[token]);
        state = representation.next(state, token);
    }
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::grid::tests::song_of_tracks;
    use crate::network::Architecture;
    use crate::random::Purpose;
    use crate::representation::RepresentationConfig;
    use crate::representation::voices::VoicesOptions;

    const TUNE: [(u8, u32, u32); 6] =
        [(67, 2, 4), (65, 4, 8), (64, 8, 9), (62, 9, 12), (60, 20, 28), (60, 28, 32)];

    fn network() -> InferenceNetwork {
        let representation = RepresentationConfig::Voices(VoicesOptions::default()).build();
        let architecture =
            Architecture { shape: representation.shape(), layers: 1, units: 12, dense: 8, members: 1 };
        let stream = RandomStream::new(3, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.5 * stream.normal(i) as f32).collect();
        InferenceNetwork::new(representation, architecture, &parameters)
    }

    fn given(network: &InferenceNetwork, voice: usize) -> Box<dyn GivenVoice> {
        let mut song = song_of_tracks(&[&TUNE]);
        let notes = song.instruments.remove(0).notes;
        network.representation().give_voice(&song, notes, voice).unwrap().unwrap()
    }

    const DECODING: Decoding = Decoding::Sampling { temperature: 1.0, top_k: None, top_p: Some(0.9) };

    #[test]
    fn any_voice_is_kept_and_seeds_decide_the_others() {
        let network = network();
        for voice in 0..4 {
            let given = given(&network, voice);
            let compose = |seed| {
                let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
                harmonize(&network, &*given, 8, &DECODING, stream)
            };
            let composition = compose(1);
            let decoded = network.representation().decode(&composition.tokens);
            let found = decoded.instruments[voice].notes.iter();
            // A tick is a 24th of a quarter note there.
            let found: Vec<_> =
                found.map(|note| (note.pitch, note.start_tick / 6, note.end_tick / 6)).collect();
            assert_eq!(found, TUNE);
            assert_eq!(composition.probabilities.len(), composition.tokens.len());
            assert_eq!(compose(1), composition);
            assert_ne!(compose(2).tokens, composition.tokens);
        }
    }

    #[test]
    fn more_particles_find_more_probable_pieces() {
        let network = network();
        let given = given(&network, 0);
        let mean = |particles| {
            let log_prob = |seed| {
                let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
                let found = harmonize(&network, &*given, particles, &DECODING, stream);
                let rows = found.tokens.iter().zip(&found.probabilities);
                rows.map(|(&token, p)| f64::from(p[usize::from(token)]).ln() - total(p).ln()).sum::<f64>()
            };
            (0..8).map(log_prob).sum::<f64>() / 8.0
        };
        let [one, many] = [1, 32].map(mean);
        assert!(many > one + 1.0, "{many} with 32 particles, {one} with one");
    }

    #[test]
    fn particles_are_drawn_in_proportion_to_their_weights() {
        let particle = |weight: f64| Particle {
            tokens: Vec::new(),
            state: network().representation().start(),
            said: 0,
            has_ended: false,
            log_weight: weight.ln(),
            log_prob: 0.0,
        };
        let particles = [1.0, 0.0, 2.0, 1.0].map(particle);
        for uniform in [0.0, 0.5, 0.99] {
            assert_eq!(resample(&particles, uniform), [0, 2, 2, 3]);
        }
        assert!((effective_particles(&particles) - 16.0 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn voices_have_names_and_numbers() {
        let index = |text| parse_voice(text).unwrap().index(4);
        assert_eq!(["soprano", "alto", "tenor", "bass", "3"].map(index), [0, 1, 2, 3, 2].map(Ok));
        assert!(parse_voice("0").is_err() && parse_voice("treble").is_err());
        assert_eq!(index("5"), Err("there is no voice 5 among 4".into()));
    }
}

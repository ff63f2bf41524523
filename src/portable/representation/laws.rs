//! The laws that every representation obeys. A new one calls [`hold`] in its tests.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{NO_FEATURE, Representation, State, Token, View};
use crate::midi::{Instrument, Note, Song};

/// Sequences and pieces of at most this many tokens and notes: enough to reach every state of a grammar a few times.
const MAX_LENGTH: usize = 40;

/// Fails where a representation breaks a law.
pub fn hold(representation: &dyn Representation) {
    the_vocabulary_names_every_token(representation);
    the_end_leads_to_the_start(representation);
    let choices = prop::collection::vec(any::<[prop::sample::Index; 2]>(), 0..MAX_LENGTH);
    check(&choices, |choices| {
        let tokens = walk(representation, &choices);
        incomplete_pieces_are_completed(representation, &tokens)?;
        let tokens = whole(representation, &tokens);
        decoding_is_undone_by_encoding(representation, &tokens)?;
        spelled_notes_are_those_of_the_decoded_song(representation, &tokens)?;
        transposition_moves_every_note(representation, &tokens)?;
        views_have_a_symbol_for_each_note(representation, &tokens)?;
        frames_and_contexts_follow_the_tokens(representation, &tokens)?;
        features_fit_their_shape(representation, &tokens)
    });
    check(&pieces(), |song| {
        encodings_are_grammatical(representation, &song)?;
        prompts_go_on_from_all_notes(representation, &song)
    });
}

fn check<S: Strategy>(strategy: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Clone,
{
    let mut runner = TestRunner::new(bachdist_test_support::properties(256));
    if let Err(error) = runner.run(strategy, law) {
        panic!("{error}");
    }
}

/// A sequence that the grammar allows, by random choices: first among the kinds of tokens, then among those of the kind,
/// so that kinds of few tokens are not rare.
fn walk(representation: &dyn Representation, choices: &[[prop::sample::Index; 2]]) -> Vec<Token> {
    let mut state = representation.start();
    let mut tokens = Vec::new();
    for [kind, token] in choices {
        let mut allowed: BTreeMap<&str, Vec<Token>> = BTreeMap::new();
        for (token, text) in (0..).zip(representation.vocabulary()) {
            if Some(token) != representation.end() && representation.allows(state, token) {
                allowed.entry(text.split(' ').next().unwrap_or_default()).or_default().push(token);
            }
        }
        let kinds: Vec<Vec<Token>> = allowed.into_values().collect();
        let token = *token.get(&kinds[kind.index(kinds.len())]);
        state = representation.next(state, token);
        tokens.push(token);
    }
    tokens
}

/// The longest beginning with which a piece may end.
fn whole(representation: &dyn Representation, tokens: &[Token]) -> Vec<Token> {
    let states = states(representation, tokens);
    let length = states.iter().rposition(|&state| may_end(representation, state));
    tokens[..length.expect("an empty piece may end")].to_vec()
}

fn may_end(representation: &dyn Representation, state: State) -> bool {
    representation.end().is_none_or(|end| representation.allows(state, end))
}

/// Music of up to five instruments, some of them empty or drums: lines of notes and rests on a grid of sixteenths, and
/// notes of any pitches that overlap as they like, at any ticks.
fn pieces() -> impl Strategy<Value = Song> {
    let lines = prop::sample::select(vec![4u16, 24, 480]).prop_flat_map(|resolution| {
        let sixteenth = u32::from(resolution) / 4;
        let steps = prop::collection::vec((0u8..128, 0u32..6, 1u32..9), 0..MAX_LENGTH);
        let line = steps.prop_map(move |steps| {
            let mut now = 0;
            let mut notes = Vec::new();
            for (pitch, rest, length) in steps {
                // Most notes follow at once.
                let start_tick = now + rest.saturating_sub(3) * sixteenth;
                now = start_tick + length * sixteenth;
                notes.push((pitch, start_tick, now));
            }
            notes
        });
        song(resolution, line)
    });
    let wild = prop::sample::select(vec![0u16, 1, 7, 96, 480, 1024, 32767]).prop_flat_map(|resolution| {
        let notes = prop::collection::vec((0u8..128, 0u32..5000, 1u32..3000), 0..MAX_LENGTH);
        let notes = notes.prop_map(|notes| {
            notes.into_iter().map(|(pitch, start, length)| (pitch, start, start + length)).collect()
        });
        song(resolution, notes)
    });
    prop_oneof![lines, wild]
}

/// Instruments with these notes: pitch, first and last tick.
fn song(resolution: u16, notes: impl Strategy<Value = Vec<(u8, u32, u32)>>) -> impl Strategy<Value = Song> {
    let instrument =
        (notes, 0u8..128, prop::bool::weighted(0.1)).prop_map(move |(notes, program, is_drum)| {
            // Half a second a quarter note; without beats, ticks are milliseconds.
            let seconds_per_tick = if resolution == 0 { 0.001 } else { 0.5 / f64::from(resolution) };
            let notes = notes.into_iter().map(|(pitch, start_tick, end_tick)| {
                let [start, end] = [start_tick, end_tick].map(|tick| f64::from(tick) * seconds_per_tick);
                Note { pitch, velocity: 80, start, end, start_tick, end_tick }
            });
            let notes = notes.collect();
            Instrument { program, is_drum, name: String::new(), notes }
        });
    prop::collection::vec(instrument, 0..6)
        .prop_map(move |instruments| Song { resolution, ..Song::in_seconds(instruments) })
}

/// The states before each token, and the last one.
fn states(representation: &dyn Representation, tokens: &[Token]) -> Vec<State> {
    let mut states = vec![representation.start()];
    for &token in tokens {
        states.push(representation.next(states[states.len() - 1], token));
    }
    states
}

fn pitches(song: &Song) -> Vec<i16> {
    song.instruments
        .iter()
        .flat_map(|instrument| &instrument.notes)
        .map(|note| i16::from(note.pitch))
        .collect()
}

fn the_vocabulary_names_every_token(representation: &dyn Representation) {
    let vocabulary = representation.vocabulary();
    assert_eq!(vocabulary.len(), representation.shape().tokens);
    assert!(vocabulary.len() <= usize::from(Token::MAX) + 1, "tokens are 16 bits");
    assert_eq!(vocabulary.iter().collect::<HashSet<_>>().len(), vocabulary.len(), "no two texts are alike");
    assert!(representation.id().contains('/'), "an id has a version");
    assert!(
        !representation.decode(&[]).instruments.is_empty(),
        "an instrument is known before there are notes"
    );
}

/// Between two pieces of a stream the network reads the token that ends one, and it is also what stands before the first.
fn the_end_leads_to_the_start(representation: &dyn Representation) {
    let Some(end) = representation.end() else { return };
    assert_eq!(representation.pitch(end), None);
    assert_eq!(representation.transpose(end, 1), Some(end));
    assert_eq!(representation.next(representation.start(), end), representation.start());
    assert!(representation.allows(representation.start(), end), "a piece may have no notes");
}

/// Every token is said in one frame, frames last, and contexts are of one length.
fn frames_and_contexts_follow_the_tokens(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    if let Some(runs) = representation.frames(tokens) {
        prop_assert_eq!(runs.iter().map(|run| run.tokens).sum::<usize>(), tokens.len());
        prop_assert!(runs.iter().all(|run| run.frames > 0));
    }
    let length = representation.context(representation.start()).len();
    let states = states(representation, tokens);
    prop_assert!(states.iter().all(|&state| representation.context(state).len() == length));
    Ok(())
}

/// What decoding makes of a beginning of a piece has a spelling.
fn incomplete_pieces_are_completed(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    let decoded = representation.decode(tokens);
    let encoded = representation.encode(&decoded, usize::MAX);
    prop_assert!(encoded.problems.is_empty() && encoded.altered == 0 && !encoded.is_drum);
    prop_assert_eq!(representation.decode(&encoded.tokens), decoded);
    Ok(())
}

/// One for each token with a pitch, in its place in time; together they sound as long as the song's notes.
fn spelled_notes_are_those_of_the_decoded_song(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    let (spelled, song) = (representation.spelled_notes(tokens), representation.decode(tokens));
    let found: Vec<_> = spelled.iter().map(|note| (note.token, Some(note.pitch))).collect();
    let pitches = tokens.iter().map(|&token| representation.pitch(token)).enumerate();
    prop_assert_eq!(found, pitches.filter(|(_, pitch)| pitch.is_some()).collect::<Vec<_>>());
    let notes: Vec<&Note> = song.instruments.iter().flat_map(|instrument| &instrument.notes).collect();
    let sounding: u64 = notes.iter().map(|note| u64::from(note.end_tick - note.start_tick)).sum();
    prop_assert_eq!(spelled.iter().map(|note| u64::from(note.end - note.start)).sum::<u64>(), sounding);
    prop_assert_eq!(spelled.iter().filter(|note| !note.is_held).count(), notes.len());
    let (mut state, mut time, mut elapsed) = (representation.start(), 0, vec![0]);
    for &token in tokens {
        time += representation.elapsed(state, token);
        elapsed.push(time);
        state = representation.next(state, token);
    }
    for note in spelled {
        let within = |theirs: &&Note| {
            theirs.pitch == note.pitch && theirs.start_tick <= note.start && note.end <= theirs.end_tick
        };
        prop_assert!(notes.iter().any(within), "{note:?}");
        let begins = elapsed[note.token]..=elapsed[note.token + 1];
        prop_assert!(representation.end().is_none() || begins.contains(&note.start), "{note:?} {begins:?}");
    }
    Ok(())
}

/// A prompt is a beginning that the grammar allows, with the notes of the whole.
fn prompts_go_on_from_all_notes(
    representation: &dyn Representation,
    song: &Song,
) -> Result<(), TestCaseError> {
    let whole = representation.encode(song, usize::MAX);
    let prompt = representation.encode_prompt(song, usize::MAX);
    if !whole.problems.is_empty() {
        // Some are of the end, which a prompt does not say.
        return Ok(());
    }
    prop_assert_eq!((prompt.problems.len(), prompt.altered), (0, whole.altered));
    let notes = |tokens: &[Token]| representation.decode(tokens).instruments;
    prop_assert_eq!(notes(&prompt.tokens), notes(&whole.tokens));
    let states = states(representation, &prompt.tokens);
    for (&state, &token) in states.iter().zip(&prompt.tokens) {
        prop_assert!(representation.allows(state, token), "{token}");
    }
    Ok(())
}

/// Every sequence has exactly one spelling.
fn decoding_is_undone_by_encoding(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    let decoded = representation.decode(tokens);
    let encoded = representation.encode(&decoded, usize::MAX);
    prop_assert_eq!(&encoded.tokens, tokens);
    prop_assert!(encoded.problems.is_empty() && encoded.altered == 0 && !encoded.is_drum);
    let mut spelled: Vec<i16> = super::pitches(representation, tokens).into_iter().map(i16::from).collect();
    let mut decoded = pitches(&decoded);
    // Decoding sorts the notes of several voices into theirs, and what several frames spell may be one held note.
    for pitches in [&mut spelled, &mut decoded] {
        pitches.sort_unstable();
        pitches.dedup();
    }
    prop_assert_eq!(decoded, spelled);
    Ok(())
}

/// Where a whole sequence can be transposed, its notes are moved by that interval, and moving back is the way back.
fn transposition_moves_every_note(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    for semitones in [-13, -1, 0, 1, 12] {
        let moved: Option<Vec<Token>> =
            tokens.iter().map(|&token| representation.transpose(token, semitones)).collect();
        let Some(moved) = moved else { continue };
        prop_assert!(is_grammatical(representation, &moved));
        let back: Option<Vec<Token>> =
            moved.iter().map(|&token| representation.transpose(token, -semitones)).collect();
        prop_assert_eq!(back.as_deref(), Some(tokens));
        let expected: Vec<i16> = pitches(&representation.decode(tokens))
            .iter()
            .map(|pitch| pitch + i16::from(semitones))
            .collect();
        prop_assert_eq!(pitches(&representation.decode(&moved)), expected);
        let views = [tokens, &moved].map(|tokens| representation.view(View::Transposed, tokens));
        prop_assert_eq!(&views[0], &views[1]);
        let views = [tokens, &moved].map(|tokens| representation.view(View::Exact, tokens));
        let has_notes = !views[0].is_empty();
        prop_assert_eq!(views[0] == views[1], semitones == 0 || !has_notes);
    }
    Ok(())
}

fn views_have_a_symbol_for_each_note(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    let notes = tokens.iter().filter(|&&token| representation.pitch(token).is_some()).count();
    for view in [View::Exact, View::Transposed] {
        let symbols = representation.view(view, tokens);
        prop_assert_eq!(symbols.len(), notes.saturating_sub(view.lead()));
        prop_assert!(symbols.iter().all(|&symbol| usize::from(symbol) < representation.symbols(view)));
    }
    Ok(())
}

fn features_fit_their_shape(
    representation: &dyn Representation,
    tokens: &[Token],
) -> Result<(), TestCaseError> {
    let shape = representation.shape();
    prop_assert!(shape.scores >= shape.tokens);
    let (mut active, mut first_scores) = (vec![0; shape.slots], vec![0; shape.relations]);
    let states = states(representation, tokens);
    // A token more: the one that ends the piece.
    let end = representation.end().filter(|_| may_end(representation, states[tokens.len()]));
    let before_a_piece = representation.end().map(|end| (representation.start(), end));
    let read = states.into_iter().zip(tokens.iter().copied().chain(end)).chain(before_a_piece);
    for (state, token) in read {
        representation.activate(state, token, &mut active);
        let present: Vec<u32> = active.iter().copied().filter(|&feature| feature != NO_FEATURE).collect();
        prop_assert!(!present.is_empty() && present.iter().all(|&feature| (feature as usize) < shape.inputs));
        prop_assert_eq!(present.iter().collect::<HashSet<_>>().len(), present.len());
        representation.relate(state, &mut first_scores);
        for &first in first_scores.iter().filter(|&&first| first != NO_FEATURE) {
            prop_assert!(first as usize >= shape.tokens && first as usize + shape.tokens <= shape.scores);
        }
    }
    Ok(())
}

fn is_grammatical(representation: &dyn Representation, tokens: &[Token]) -> bool {
    let states = states(representation, tokens);
    states.iter().zip(tokens).all(|(&state, &token)| representation.allows(state, token))
}

/// Whatever is encoded, the grammar allows it, and encoding again what it decodes to changes nothing.
fn encodings_are_grammatical(representation: &dyn Representation, song: &Song) -> Result<(), TestCaseError> {
    for max_notes in [usize::MAX, MAX_LENGTH, 7] {
        let encoded = representation.encode(song, max_notes);
        prop_assert!(is_grammatical(representation, &encoded.tokens));
        prop_assert_eq!(whole(representation, &encoded.tokens).len(), encoded.tokens.len());
        prop_assert!(
            super::pitches(representation, &encoded.tokens).len() + encoded.problems.len() <= max_notes
        );
        let again = representation.encode(&representation.decode(&encoded.tokens), usize::MAX);
        prop_assert_eq!(&again.tokens, &encoded.tokens);
    }
    Ok(())
}

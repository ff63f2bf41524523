//! The laws that every representation obeys. A new one calls [`hold`] in its tests.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::{NO_FEATURE, Representation, State, Token, View};
use crate::midi::{Instrument, Note};

/// Sequences and pieces of at most this many tokens and notes: enough to reach every state of a grammar a few times.
const MAX_LENGTH: usize = 40;

/// Fails where a representation breaks a law.
pub fn hold(representation: &dyn Representation) {
    the_vocabulary_names_every_token(representation);
    let choices = prop::collection::vec(any::<prop::sample::Index>(), 0..MAX_LENGTH);
    check(&choices, |choices| {
        let tokens = walk(representation, &choices);
        decoding_is_undone_by_encoding(representation, &tokens)?;
        transposition_moves_every_note(representation, &tokens)?;
        views_have_a_symbol_for_each_note(representation, &tokens)?;
        features_fit_their_shape(representation, &tokens)
    });
    check(&pieces(), |instruments| encodings_are_grammatical(representation, &instruments));
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

/// A sequence that the grammar allows, by random choices.
fn walk(representation: &dyn Representation, choices: &[prop::sample::Index]) -> Vec<Token> {
    let mut state = representation.start();
    let mut tokens = Vec::new();
    for choice in choices {
        let allowed: Vec<Token> =
            all_tokens(representation).filter(|&token| representation.allows(state, token)).collect();
        let token = *choice.get(&allowed);
        state = representation.next(state, token);
        tokens.push(token);
    }
    tokens
}

/// Melodies of any pitches, in one to three instruments.
fn pieces() -> impl Strategy<Value = Vec<Instrument>> {
    let instrument = (prop::collection::vec(0u8..128, 0..MAX_LENGTH), 0u8..128, any::<bool>());
    prop::collection::vec(instrument, 1..4).prop_map(|instruments| {
        let instrument = |(pitches, program, is_drum): (Vec<u8>, u8, bool)| {
            let notes = pitches.into_iter().enumerate().map(|(at, pitch)| {
                let start = 0.25 * at as f64;
                Note { pitch, velocity: 80, start, end: start + 0.25 }
            });
            Instrument { program, is_drum, name: String::new(), notes: notes.collect() }
        };
        instruments.into_iter().map(instrument).collect()
    })
}

fn all_tokens(representation: &dyn Representation) -> impl Iterator<Item = Token> + use<> {
    (0..representation.vocabulary().len()).map(|token| token as Token)
}

/// The states before each token, and the last one.
fn states(representation: &dyn Representation, tokens: &[Token]) -> Vec<State> {
    let mut states = vec![representation.start()];
    for &token in tokens {
        states.push(representation.next(states[states.len() - 1], token));
    }
    states
}

fn pitches(instruments: &[Instrument]) -> Vec<i16> {
    instruments.iter().flat_map(|instrument| &instrument.notes).map(|note| i16::from(note.pitch)).collect()
}

fn the_vocabulary_names_every_token(representation: &dyn Representation) {
    let vocabulary = representation.vocabulary();
    assert_eq!(vocabulary.len(), representation.shape().tokens);
    assert!(vocabulary.len() <= usize::from(Token::MAX) + 1, "tokens are 16 bits");
    assert_eq!(vocabulary.iter().collect::<HashSet<_>>().len(), vocabulary.len(), "no two texts are alike");
    assert!(representation.id().contains('/'), "an id has a version");
    assert!(!representation.decode(&[]).is_empty(), "an instrument is known before there are notes");
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
    let spelled: Vec<i16> = super::pitches(representation, tokens).into_iter().map(i16::from).collect();
    prop_assert_eq!(pitches(&decoded), spelled);
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
    for (&state, &token) in states(representation, tokens).iter().zip(tokens) {
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

/// Whatever is encoded, the grammar allows it, and encoding again what it decodes to changes nothing.
fn encodings_are_grammatical(
    representation: &dyn Representation,
    instruments: &[Instrument],
) -> Result<(), TestCaseError> {
    for max_notes in [MAX_LENGTH, 7] {
        let encoded = representation.encode(instruments, max_notes);
        let mut state = representation.start();
        for &token in &encoded.tokens {
            prop_assert!(representation.allows(state, token));
            state = representation.next(state, token);
        }
        prop_assert!(
            super::pitches(representation, &encoded.tokens).len() + encoded.problems.len() <= max_notes
        );
        let again = representation.encode(&representation.decode(&encoded.tokens), usize::MAX);
        prop_assert_eq!(&again.tokens, &encoded.tokens);
    }
    Ok(())
}

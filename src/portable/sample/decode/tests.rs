use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::corpus::Piece;
use crate::network::Architecture;
use crate::random::Purpose;
use crate::representation::pitch::Pitch;

const FREE: Decoding = Decoding::Sampling { temperature: 1.0, top_k: None, top_p: None };

const P: [f32; 4] = [0.1, 0.4, 0.2, 0.3];

fn representation(tokens: usize) -> Arc<Pitch> {
    Arc::new(Pitch::with_tokens(tokens, true))
}

fn frequencies(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> [f64; 4] {
    let decoding = Decoding::Sampling { temperature, top_k, top_p };
    let stream = RandomStream::new(1, Purpose::Sampling, &[]);
    let mut counts = [0.0; 4];
    let n = 20_000;
    for i in 0..n {
        counts[usize::from(decoding.pick(&P, stream.uniform(i)))] += 1.0 / n as f64;
    }
    counts
}

fn near(found: [f64; 4], expected: [f64; 4]) {
    // Five standard deviations of a frequency in 20,000.
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.018), "{found:?} {expected:?}");
}

#[test]
fn frequencies_follow_the_probabilities() {
    near(frequencies(1.0, None, None), [0.1, 0.4, 0.2, 0.3]);
    // Squares: 0.01, 0.16, 0.04, 0.09 of 0.30.
    near(frequencies(0.5, None, None), [1.0 / 30.0, 16.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0]);
    near(frequencies(1.0, Some(2), None), [0.0, 4.0 / 7.0, 0.0, 3.0 / 7.0]);
    near(frequencies(1.0, None, Some(0.71)), [0.0, 4.0 / 9.0, 2.0 / 9.0, 3.0 / 9.0]);
    near(frequencies(1.0, None, Some(0.1)), [0.0, 1.0, 0.0, 0.0]);
    near(frequencies(1e-3, None, None), [0.0, 1.0, 0.0, 0.0]);
    near(frequencies(1e6, None, None), [0.25; 4]);
}

#[test]
fn what_has_no_probability_is_never_picked() {
    // The largest number below 1: rounding may leave a little of it.
    let largest = 1.0 - f64::EPSILON / 2.0;
    for n in 1..60u16 {
        let probabilities: Vec<f32> = (1..=n).map(|i| 0.1 / f32::from(i)).chain([0.0, 0.0]).collect();
        assert!(FREE.pick(&probabilities, largest) < n, "of {n}");
    }
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    assert_eq!(Decoding::Greedy.pick(&[0.2, 0.4, 0.4], 0.9), 1);
}

fn network(tokens: usize, size: f64) -> InferenceNetwork {
    let architecture =
        Architecture { shape: Pitch::shape_of(tokens, true), layers: 1, units: 4, dense: 3, members: 1 };
    let stream = RandomStream::new(9, Purpose::Initialization, &[]);
    let parameters: Vec<f32> =
        (0..architecture.len() as u64).map(|i| (size * stream.normal(i)) as f32).collect();
    InferenceNetwork::new(representation(tokens), architecture, &parameters)
}

fn pieces(tokens: impl IntoIterator<Item = Vec<Token>>) -> Vec<Piece> {
    let piece = |(number, tokens): (usize, Vec<Token>)| Piece { name: number.to_string(), tokens };
    tokens.into_iter().enumerate().map(piece).collect()
}

/// Thirty notes, without or with a limit.
fn composed(
    network: &InferenceNetwork,
    decoding: &Decoding,
    seed: u64,
    limit: Option<(&[Piece], usize)>,
) -> Result<Composition, Failure> {
    let stream = RandomStream::new(seed, Purpose::Sampling, &[]);
    let representation = representation(network.architecture().shape.tokens);
    let index = limit.map(|(pieces, notes)| NGramIndex::new(&*representation, pieces, notes + 1));
    let limit = index.as_ref().map(|index| CopyLimit::new(&*representation, index));
    compose(network, Reading::Window, &[0, 1, 1, 0], Length::Notes(30), decoding, stream, limit)
}

/// By search: whether some n-gram of this many notes is also in a piece, transposed or not.
fn shares(pieces: &[Piece], melody: &[Token], notes: usize) -> bool {
    let shape = |gram: &[Token]| -> Vec<i32> {
        gram.iter().map(|&token| i32::from(token) - i32::from(gram[0])).collect()
    };
    let theirs: Vec<_> = pieces.iter().flat_map(|piece| piece.tokens.windows(notes)).map(shape).collect();
    melody.windows(notes).any(|gram| theirs.contains(&shape(gram)))
}

proptest! {
    #![proptest_config(bachdist_test_support::properties(200))]

    #[test]
    fn no_longer_run_is_shared(
        tokens in prop::collection::vec(prop::collection::vec(0..4u16, 0..25), 0..4),
        notes in 1..6usize,
        seed in any::<u64>(),
        greedy in any::<bool>(),
        size in 0.0..2.0,
    ) {
        let (network, pieces) = (network(4, size), pieces(tokens));
        let decoding = if greedy { Decoding::Greedy } else { FREE };
        let free = composed(&network, &decoding, seed, None).unwrap();
        match composed(&network, &decoding, seed, Some((&pieces, notes))) {
            Ok(kept) => {
                let report = kept.copy_limit.unwrap();
                prop_assert_eq!((kept.tokens.len(), kept.probabilities.len()), (30, 30));
                prop_assert!(!shares(&pieces, &kept.tokens, notes + 1), "{:?}", kept.tokens);
                // A piece that needs no limit is the same under it.
                let needed = shares(&pieces, &free.tokens, notes + 1);
                prop_assert_eq!(report.avoided > 0, needed);
                prop_assert_eq!(kept.tokens != free.tokens, needed);
                let again = composed(&network, &decoding, seed, Some((&pieces, notes))).unwrap();
                prop_assert_eq!(kept, again);
            }
            Err(failure) => {
                prop_assert_eq!(failure.code, ExitCode::Usage);
                prop_assert!(shares(&pieces, &free.tokens, notes + 1));
            }
        }
    }
}

/// Of two tokens, the music has both after a repeated 0, and neither after a repeated 1.
#[test]
fn where_no_token_can_follow_it_steps_back() {
    let pieces = pieces([vec![0, 0, 0], vec![0, 0, 1]]);
    let mut steps = 0;
    for seed in 0..20 {
        let kept = composed(&network(2, 0.0), &FREE, seed, Some((&pieces, 2))).unwrap();
        assert!(!shares(&pieces, &kept.tokens, 3), "{:?}", kept.tokens);
        for (note, row) in kept.probabilities.iter().enumerate() {
            assert_eq!(*row, vec![0.5, 0.5], "note {note}");
        }
        steps += kept.copy_limit.unwrap().steps_back;
    }
    assert!(steps > 0);
}

/// A token is predicted from the window before it, however often tokens in it were taken back.
#[test]
fn after_a_step_back_the_network_reads_the_tokens_that_are_left() {
    let (network, pieces) = (network(2, 1.0), pieces([vec![0, 0, 0], vec![0, 0, 1]]));
    let mut steps = 0;
    for seed in 0..20 {
        let kept = composed(&network, &FREE, seed, Some((&pieces, 2))).unwrap();
        let all: Vec<Token> = [0, 1, 1, 0].into_iter().chain(kept.tokens).collect();
        for (note, row) in kept.probabilities.iter().enumerate() {
            assert_eq!(*row, network.predict(&all[note..note + 4]), "note {note}");
        }
        steps += kept.copy_limit.unwrap().steps_back;
    }
    assert!(steps > 0);
}

#[test]
fn an_impossible_limit_is_an_error_of_one_line() {
    let line = |pieces: &[Piece], notes| {
        let failure = composed(&network(2, 0.0), &FREE, 1, Some((pieces, notes))).unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        failure.message
    };
    let all = pieces([vec![0, 0, 1, 0]]);
    let expected = "--max-copy 1: every possible continuation shares a longer run with the training music; choose a \
                    larger number";
    assert_eq!(line(&all, 1), expected);

    // All melodies of 12 notes: none of 12 is allowed, and there are too many of 11 to try all.
    let all = pieces((0..1u32 << 12).map(|bits| (0..12).map(|i| (bits >> i & 1) as Token).collect()));
    let expected = "--max-copy 11: 1000 steps back did not lead further than note 11 without a longer run \
                    of the training music; choose a larger number";
    assert_eq!(line(&all, 11), expected);
}

#[test]
fn the_report_in_words() {
    let words = |notes, avoided, steps_back| CopyLimitReport { notes, avoided, steps_back }.to_string();
    assert_eq!(words(12, 3, 0), "12 notes: 3 choices avoided, 0 steps back");
    assert_eq!(words(1, 1, 1), "1 note: 1 choice avoided, 1 step back");
}

#[test]
fn every_prediction_reads_its_own_window_from_the_zero_state() {
    let architecture =
        Architecture { shape: Pitch::shape_of(13, true), layers: 2, units: 7, dense: 5, members: 2 };
    let stream = RandomStream::new(3, Purpose::Initialization, &[]);
    let parameters: Vec<f32> = (0..architecture.len() as u64).map(|i| stream.normal(i) as f32).collect();
    let network = InferenceNetwork::new(representation(13), architecture, &parameters);
    let prompt = [1, 5, 12, 0, 7];
    let stream = RandomStream::new(1, Purpose::Sampling, &[]);
    let composed =
        compose(&network, Reading::Window, &prompt, Length::Notes(17), &FREE, stream, None).unwrap();
    let all: Vec<Token> = prompt.iter().chain(&composed.tokens).copied().collect();
    assert_eq!(composed.tokens.len(), 17);
    for (note, probabilities) in composed.probabilities.iter().enumerate() {
        assert_eq!(*probabilities, network.predict(&all[note..note + 5]), "note {note}");
    }
}

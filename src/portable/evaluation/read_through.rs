//! Predictions of a network that reads each piece from its first token, and carries its state along.

use crate::corpus::Piece;
use crate::corpus::windows::windows_of;
use crate::network::inference::InferenceNetwork;
use crate::representation::Token;

/// (windows, C) log-probabilities of the token after each window of these pieces, by a network that has read its piece up to
/// there. Windows are in the order of [`crate::corpus::windows::Windows`].
pub fn read_through(network: &InferenceNetwork, pieces: &[Piece], sequence_length: usize) -> Vec<f32> {
    let tokens = network.architecture().shape.tokens;
    let mut predictions: Vec<Vec<f32>> = pieces
        .iter()
        .map(|piece| Vec::with_capacity(tokens * windows_of(piece.tokens.len(), sequence_length)))
        .collect();
    let longest = pieces.iter().map(|piece| piece.tokens.len()).max().unwrap_or(0);
    let mut states = network.states(pieces.len());
    for time in 0..longest {
        // Pieces that have ended go on with any token: their rows are not read any more.
        let tokens: Vec<Token> =
            pieces.iter().map(|piece| piece.tokens.get(time).copied().unwrap_or(0)).collect();
        network.advance(&mut states, &tokens);
        if time + 1 < sequence_length {
            continue;
        }
        for (row, (piece, predictions)) in pieces.iter().zip(&mut predictions).enumerate() {
            if time + 1 < piece.tokens.len() {
                predictions.extend(network.probabilities(&states, row).iter().map(|p| p.ln()));
            }
        }
    }
    predictions.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Architecture;
    use crate::random::{Purpose, Stream};
    use crate::representation::pitch::Pitch;
    use std::sync::Arc;

    #[test]
    fn each_note_is_predicted_from_all_before_it() {
        let architecture =
            Architecture { shape: Pitch::shape_of(11, true), layers: 2, units: 6, dense: 5, members: 2 };
        let stream = Stream::new(1, Purpose::Initialization, &[]);
        let parameters: Vec<f32> =
            (0..architecture.len() as u64).map(|i| 0.5 * stream.normal(i) as f32).collect();
        let network =
            InferenceNetwork::new(Arc::new(Pitch::with_tokens(11, true)), architecture, &parameters);
        let piece = |name: &str, tokens: &[Token]| Piece { name: name.into(), tokens: tokens.to_vec() };
        let pieces = [piece("a", &[3, 1, 4, 1, 5]), piece("b", &[9]), piece("c", &[2, 6, 5, 3, 5, 8, 9])];
        let found = read_through(&network, &pieces, 2);
        // Three windows of `a`, none of `b`, five of `c`.
        let seen = [&pieces[0].tokens[..2], &pieces[0].tokens[..4], &pieces[2].tokens[..6]];
        for (number, seen) in [0, 2, 7].into_iter().zip(seen) {
            let expected: Vec<f32> = network.predict(seen).iter().map(|p| p.ln()).collect();
            assert_eq!(found[number * 11..][..11], expected, "window {number}");
        }
        assert_eq!(found.len(), 8 * 11);
    }
}

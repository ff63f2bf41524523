//! stub
use crate::midi::Note;
/// a
pub fn piano_roll(_: &[Note], _: &str) -> Vec<u8> {
    vec![]
}
/// b
pub fn probabilities(_: &[Vec<f32>], _: &[u8], _: u8, _: &str) -> Vec<u8> {
    vec![]
}

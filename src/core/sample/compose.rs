//! Composing: the network predicts a note from the last window, which then moves on by one.
//!
//! Every prediction starts from a state that has seen nothing and reads one whole window, as in training. The
//! windows of the next predictions overlap, so they are read together: when a note is known, all windows that
//! it belongs to go on by it, each in a row of its own, instead of each reading it again later.

use super::choose::Choice;
use crate::corpus::pitch_of;
use crate::infer::{Network, States};
use crate::random::Stream;

/// What was composed.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// The notes as classes, without those that it began from.
    pub classes: Vec<u8>,
    /// For each note the probabilities that it was chosen from.
    pub probabilities: Vec<Vec<f32>>,
}

impl Composition {
    /// The notes as pitches.
    pub fn pitches(&self) -> Vec<u8> {
        self.classes.iter().map(|&class| pitch_of(class)).collect()
    }
}

/// The windows that are open at once, one row for each age.
struct OpenWindows<'a> {
    network: &'a Network,
    states: States,
    length: usize,
    /// Notes shown so far.
    shown: usize,
}

impl<'a> OpenWindows<'a> {
    fn new(network: &'a Network, length: usize) -> Self {
        OpenWindows { network, states: network.states(length), length, shown: 0 }
    }

    /// Shows a note to all open windows and opens one that begins with it.
    fn show(&mut self, class: u8) {
        // The row of the window that was finished a note ago is free again.
        self.states.reset(self.shown % self.length);
        self.network.advance(&mut self.states, &vec![class; self.length]);
        self.shown += 1;
    }

    /// Probabilities after the last whole window.
    fn probabilities(&self) -> Vec<f32> {
        // It began with the note whose row is opened next.
        self.network.probabilities(&self.states, self.shown % self.length)
    }
}

/// Composes so many notes after `begin`, whose length is that of a window.
pub fn compose(
    network: &Network,
    begin: &[u8],
    notes: usize,
    choice: &Choice,
    stream: Stream,
) -> Composition {
    let mut windows = OpenWindows::new(network, begin.len());
    begin.iter().for_each(|&class| windows.show(class));
    let mut composition = Composition { classes: Vec::new(), probabilities: Vec::new() };
    for note in 0..notes {
        let probabilities = windows.probabilities();
        // Number 0 chose the window to begin from.
        let class = choice.choose(&probabilities, stream.uniform(note as u64 + 1));
        composition.classes.push(class);
        composition.probabilities.push(probabilities);
        windows.show(class);
    }
    composition
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Architecture;
    use crate::random::Purpose;

    #[test]
    fn every_prediction_reads_its_own_window_from_the_beginning() {
        let architecture = Architecture { classes: 13, intervals: true, layers: 2, units: 7, dense: 5 };
        let stream = Stream::new(3, Purpose::Initialization, &[]);
        let parameters: Vec<f32> = (0..architecture.len() as u64).map(|i| stream.normal(i) as f32).collect();
        let network = Network::new(architecture, &parameters);
        let begin = [1, 5, 12, 0, 7];
        let choice = Choice::Random { temperature: 1.0, top_k: None, top_p: None };
        let composed = compose(&network, &begin, 17, &choice, Stream::new(1, Purpose::Sampling, &[]));
        let all: Vec<u8> = begin.iter().chain(&composed.classes).copied().collect();
        assert_eq!(composed.classes.len(), 17);
        for (note, probabilities) in composed.probabilities.iter().enumerate() {
            assert_eq!(*probabilities, network.predict(&all[note..note + 5]), "note {note}");
        }
    }
}

//! Composing: the network predicts a note from the last window, which then moves on by one.
//!
//! Every prediction starts from a state that has seen nothing and reads one whole window, as in training. The
//! windows of the next predictions overlap, so they are read together: when a note is known, all windows that
//! it belongs to go on by it, each in a row of its own, instead of each reading it again later.

use super::choose::Choice;
use super::limit::{Limit, Report};
use crate::corpus::pitch_of;
use crate::failure::Failure;
use crate::network::inference::{InferenceNetwork, RowStates};
use crate::random::Stream;

/// What was composed.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// The notes as classes, without those that it began from.
    pub classes: Vec<u8>,
    /// For each note the network's probabilities.
    pub probabilities: Vec<Vec<f32>>,
    /// What it took to keep `--max-copy`.
    pub max_copy: Option<Report>,
}

impl Composition {
    /// The notes as pitches.
    pub fn pitches(&self) -> Vec<u8> {
        self.classes.iter().map(|&class| pitch_of(class)).collect()
    }
}

/// The windows that are open at once, one row for each age.
struct OpenWindows<'a> {
    network: &'a InferenceNetwork,
    states: RowStates,
    length: usize,
    /// Notes shown so far.
    shown: usize,
}

impl<'a> OpenWindows<'a> {
    fn new(network: &'a InferenceNetwork, length: usize) -> Self {
        OpenWindows { network, states: network.states(length), length, shown: 0 }
    }

    /// The windows after the last of these notes.
    fn after(network: &'a InferenceNetwork, begin: &[u8], composed: &[u8]) -> Self {
        let mut windows = OpenWindows::new(network, begin.len());
        // One window's notes are enough: those before it are forgotten.
        let notes = begin.iter().chain(composed).skip(composed.len());
        notes.for_each(|&class| windows.show(class));
        windows
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

/// Composes so many notes after `begin`, whose length is that of a window. Fails where no note keeps `limit`.
pub fn compose(
    network: &InferenceNetwork,
    begin: &[u8],
    notes: usize,
    choice: &Choice,
    stream: Stream,
    mut limit: Option<Limit<'_>>,
) -> Result<Composition, Failure> {
    let mut windows = OpenWindows::after(network, begin, &[]);
    let (mut classes, mut rows) = (Vec::new(), Vec::new());
    while classes.len() < notes {
        let probabilities = windows.probabilities();
        // Number 0 chose the window to begin from.
        let number = classes.len() as u64 + 1;
        let class = match &mut limit {
            None => choice.choose(&probabilities, stream.uniform(number)),
            Some(limit) => match limit.choose(choice, &probabilities, stream, number) {
                Some(class) => class,
                None => {
                    limit.step_back()?;
                    classes.pop();
                    rows.pop();
                    windows = OpenWindows::after(network, begin, &classes);
                    continue;
                }
            },
        };
        classes.push(class);
        rows.push(probabilities);
        windows.show(class);
    }
    Ok(Composition { classes, probabilities: rows, max_copy: limit.map(|limit| limit.report()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Architecture;
    use crate::random::Purpose;

    #[test]
    fn every_prediction_reads_its_own_window_from_the_beginning() {
        let architecture =
            Architecture { classes: 13, intervals: true, layers: 2, units: 7, dense: 5, members: 2 };
        let stream = Stream::new(3, Purpose::Initialization, &[]);
        let parameters: Vec<f32> = (0..architecture.len() as u64).map(|i| stream.normal(i) as f32).collect();
        let network = InferenceNetwork::new(architecture, &parameters);
        let begin = [1, 5, 12, 0, 7];
        let choice = Choice::Random { temperature: 1.0, top_k: None, top_p: None };
        let composed =
            compose(&network, &begin, 17, &choice, Stream::new(1, Purpose::Sampling, &[]), None).unwrap();
        let all: Vec<u8> = begin.iter().chain(&composed.classes).copied().collect();
        assert_eq!(composed.classes.len(), 17);
        for (note, probabilities) in composed.probabilities.iter().enumerate() {
            assert_eq!(*probabilities, network.predict(&all[note..note + 5]), "note {note}");
        }
    }
}

//! What a run is about to do, in words: the table of layers that Keras calls a model's summary, and a line for each part of
//! the plan.

use std::fmt::Write;

use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::network::Architecture;
use bachdist_portable::print::count;
use indicatif::HumanCount;

use super::plan::Plan;
use crate::comm::Communicator;

impl Plan {
    /// The layer table, then a line each for data, windows, steps, ranks, device and checkpoints.
    pub fn summary(&self, comm: &dyn Communicator) -> String {
        let Config { train, data, checkpoint, .. } = &self.config;
        let pieces = &self.training.pieces;
        let mut lines = vec![layer_table(&self.config, self.architecture)];
        let mut add = |name: &str, text: String| lines.push(format!("{name:<12} {text}"));
        let held_out = match self.held_out.len() {
            0 => String::new(),
            n => format!("; {n} more held out"),
        };
        add(
            "data",
            format!(
                "{}: {}, {}{held_out}",
                data.midi,
                count(pieces.len() as u64, "piece"),
                count(self.notes() as u64, "note")
            ),
        );
        let batches = self.batches();
        add(
            "windows",
            format!(
                "{} of {} notes; {} per epoch, of up to {}",
                HumanCount(batches.windows),
                self.config.training_length(),
                count(self.steps_per_epoch, "step"),
                train.batch_size
            ),
        );
        add("steps", format!("{} ({})", HumanCount(self.last_step), count(self.epochs(), "epoch")));
        let lanes: Vec<String> =
            (0..comm.size()).map(|rank| self.assignment.lanes_of(rank).len().to_string()).collect();
        add("ranks", format!("{}, with {} of {} lanes", comm.size(), lanes.join(" + "), train.lanes));
        add(
            "device",
            format!(
                "{}, with {} per rank; backend {}",
                self.target.device,
                count(self.threads as u64, "thread"),
                self.target.backend
            ),
        );
        add(
            "checkpoints",
            format!(
                "{}, every {}, about {:.1} MB each",
                self.url,
                count(checkpoint.every_steps, "step"),
                self.checkpoint_bytes() as f64 / 1e6
            ),
        );
        lines.join("\n")
    }

    /// Size of a checkpoint without its header: weights and optimizer in f32, one zero bias per gate, the corpus.
    fn checkpoint_bytes(&self) -> usize {
        let Architecture { layers, units, .. } = self.architecture;
        4 * (2 * self.architecture.len() + layers * 4 * units) + self.notes()
    }
}

/// A line for each layer with its output shape (B is the number of windows) and its parameters.
fn layer_table(config: &Config, architecture: Architecture) -> String {
    let Architecture { shape: features, layers, units, dense, members } = architecture;
    let notes = config.training_length();
    let all_notes = config.train.loss_positions == LossPositions::All;
    // B windows, and what is predicted from: the output at every note, or at the last one.
    let shape_of = |units: usize, all: bool| {
        if all { format!("(B, {notes}, {units})") } else { format!("(B, {units})") }
    };
    let mut rows: Vec<(String, String, usize)> = Vec::new();
    for layer in 0..layers {
        let last = layer + 1 == layers;
        let shape = shape_of(units, !last || all_notes);
        let parameters = 4 * units * (architecture.inputs(layer) + units + 1);
        rows.push((format!("lstm_{} (LSTM)", layer + 1), shape.clone(), parameters));
        if !last {
            rows.push((format!("dropout_{} (Dropout {})", layer + 1, config.model.dropout), shape, 0));
        }
    }
    let shape = shape_of(dense, all_notes);
    rows.push(("dense_1 (Dense, linear)".into(), shape.clone(), dense * (units + 1)));
    rows.push((format!("dropout_{layers} (Dropout {})", config.model.dropout), shape, 0));
    let parameters = features.scores * (dense + 1);
    rows.push(("dense_2 (Dense, softmax)".into(), shape_of(features.tokens, all_notes), parameters));

    let mut table = format!("{:<28} {:<18} {:>12}\n", "Layer (type)", "Output shape", "Parameters");
    let rule = "─".repeat(60);
    let _ = writeln!(table, "{rule}");
    for (name, shape, parameters) in rows {
        let _ = writeln!(table, "{name:<28} {shape:<18} {:>12}", HumanCount(parameters as u64).to_string());
    }
    let _ = writeln!(table, "{rule}");
    if members > 1 {
        let one = HumanCount(architecture.member().len() as u64).to_string();
        let _ = writeln!(
            table,
            "{:<47} {one:>12}",
            format!("Ensemble of {members} networks with this many each")
        );
    }
    let _ = write!(
        table,
        "{:<47} {:>12}",
        "Trainable parameters",
        HumanCount(architecture.len() as u64).to_string()
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_table() {
        let config = Config::default();
        let table =
            layer_table(&config, Architecture::new(&config.model, config.representation.build().shape()));
        for figure in ["344,064", "525,312", "65,792", "20,303", "1,480,783"] {
            assert!(table.contains(figure), "{figure} is missing in\n{table}");
        }
        assert!(table.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn ensemble_members_are_counted() {
        let mut config = Config::default();
        config.model.ensemble_size = 3;
        let table =
            layer_table(&config, Architecture::new(&config.model, config.representation.build().shape()));
        assert!(
            table.contains("Ensemble of 3 networks with this many each") && table.contains("4,442,349"),
            "{table}"
        );
        assert!(table.lines().all(|line| line.chars().count() <= 80));
    }
}

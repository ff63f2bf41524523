//! The table of layers that Keras calls a model's summary.

use std::fmt::Write;

use bachdist_core::config::{Config, LossPositions};
use bachdist_core::network::Architecture;

/// The table: a line for each layer with its output shape (B stands for any number of windows) and parameters.
pub fn table(config: &Config, architecture: Architecture) -> String {
    let Architecture { classes, layers, units, dense, members, .. } = architecture;
    let notes = config.training_length();
    let every = config.train.loss_positions == LossPositions::All;
    // What is predicted from: every note's output, or the last's alone.
    let shape_of = |units: usize, all: bool| {
        if all { format!("(B, {notes}, {units})") } else { format!("(B, {units})") }
    };
    let mut rows: Vec<(String, String, usize)> = Vec::new();
    for layer in 0..layers {
        let last = layer + 1 == layers;
        let shape = shape_of(units, !last || every);
        let parameters = 4 * units * (architecture.inputs(layer) + units + 1);
        rows.push((format!("lstm_{} (LSTM)", layer + 1), shape.clone(), parameters));
        if !last {
            rows.push((format!("dropout_{} (Dropout {})", layer + 1, config.model.dropout), shape, 0));
        }
    }
    let shape = shape_of(dense, every);
    rows.push(("dense_1 (Dense, linear)".into(), shape.clone(), dense * (units + 1)));
    rows.push((format!("dropout_{layers} (Dropout {})", config.model.dropout), shape, 0));
    let parameters = architecture.features() * (dense + 1);
    rows.push(("dense_2 (Dense, softmax)".into(), shape_of(classes, every), parameters));

    let mut table = format!("{:<28} {:<18} {:>12}\n", "Layer (type)", "Output shape", "Parameters");
    let rule = "─".repeat(60);
    let _ = writeln!(table, "{rule}");
    for (name, shape, parameters) in rows {
        let _ = writeln!(table, "{name:<28} {shape:<18} {:>12}", thousands(parameters as u64));
    }
    let _ = writeln!(table, "{rule}");
    if members > 1 {
        let one = thousands(architecture.member().len() as u64);
        let _ = writeln!(table, "{:<47} {one:>12}", format!("{members} members side by side, each of"));
    }
    let _ = write!(table, "{:<47} {:>12}", "Trainable parameters", thousands(architecture.len() as u64));
    table
}

/// Digits in groups of three: 1,480,783.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|g| str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// A number of things: 1 step, 2,000 steps.
pub fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_table() {
        let config = Config::default();
        let table = table(&config, Architecture::new(&config.model, 79));
        for figure in ["344,064", "525,312", "65,792", "20,303", "1,480,783"] {
            assert!(table.contains(figure), "{figure} is missing in\n{table}");
        }
        assert!(table.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn members_are_counted() {
        let mut config = Config::default();
        config.model.ensemble_size = 3;
        let table = table(&config, Architecture::new(&config.model, 79));
        assert!(table.contains("3 members side by side, each of") && table.contains("4,442,349"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn groups_of_three() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn one_of_a_thing_is_singular() {
        assert_eq!([0, 1, 2000].map(|n| count(n, "step")), ["0 steps", "1 step", "2,000 steps"]);
    }
}

//! What a training run would do, worked out before anything starts, and in words: the table of layers that Keras calls a
//! model's summary, and a line for each part of the plan.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use bachdist_portable::checkpoint::TrainingCorpus;
use bachdist_portable::config::{Config, LossPositions, TrainConfig};
use bachdist_portable::corpus::windows::windows_of;
use bachdist_portable::corpus::{Corpus, Piece, fingerprint};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::lanes::LaneAssignment;
use bachdist_portable::network::Architecture;
use bachdist_portable::print::count;
use bachdist_portable::schedule::{Batches, Sequences};
use indicatif::HumanCount;
use sha2::{Digest, Sha256};

use crate::backend::Target;
use crate::comm::Communicator;
use crate::comm::collectives::collective_result;

/// A run, ready to start.
pub struct Plan {
    pub config: Config,
    /// The location of the run: a folder or URL.
    pub url: String,
    /// The location of its last checkpoint, if `url` does not take it.
    pub fallback: String,
    /// The pieces that it trains on.
    pub training: TrainingCorpus,
    /// The pieces that it only validates on.
    pub held_out: Vec<Piece>,
    pub architecture: Architecture,
    pub assignment: LaneAssignment,
    /// What computes the steps of this rank, and where.
    pub target: Target,
    /// Of this rank.
    pub threads: usize,
    pub steps_per_epoch: u64,
    /// The step after which the run is complete.
    pub last_step: u64,
    /// What the user should know about music and settings before the run, one line each.
    pub notes: Vec<String>,
}

/// Which lanes each rank owns, and what computes those of this rank where.
///
/// # Collective
///
/// All ranks call this together.
pub fn assign_lanes_and_target(
    comm: &dyn Communicator,
    train: &TrainConfig,
) -> Result<(LaneAssignment, Target), Failure> {
    // Before any error about lanes, because it is collective.
    let target = Target::select(train, comm);
    let (lanes, ranks) = (train.lanes, comm.size());
    let assignment = LaneAssignment::new(lanes, ranks).ok_or_else(|| {
        let message = format!(
            "{ranks} ranks for {}; start at most {}, or raise train.lanes, which makes it another run",
            count(lanes as u64, "lane"),
            count(lanes as u64, "rank")
        );
        Failure::new(ExitCode::Usage, message)
    })?;
    let target = target.map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))?;
    Ok((assignment, target))
}

/// A run has the name of its configuration file.
pub fn name_of(path: &Path) -> String {
    path.file_stem().map_or("run".into(), |stem| stem.to_string_lossy().into_owned())
}

impl Plan {
    /// The plan for this music.
    pub(super) fn new(
        (assignment, target): (LaneAssignment, Target),
        threads: usize,
        corpus: Corpus,
        path: &Path,
        mut config: Config,
    ) -> Plan {
        // The backend that `auto` resolves to is part of the run's identity.
        config.train.backend = target.backend.into();
        let name = name_of(path);
        let url = config.checkpoint.url.clone().unwrap_or_else(|| format!("runs/{name}"));
        let representation = config.representation.build();
        let fallback = config.checkpoint.fallback.clone().unwrap_or_else(|| format!("runs/{name}.unsaved"));
        let mut plan = Plan {
            url,
            fallback,
            training: TrainingCorpus::new(corpus.training.into()),
            held_out: corpus.held_out,
            architecture: Architecture::new(&config.model, representation.shape()),
            assignment,
            target,
            threads,
            steps_per_epoch: 0,
            last_step: 0,
            notes: corpus.remarks,
            config,
        };
        plan.steps_per_epoch = plan.batches().steps_per_epoch();
        let all = plan.steps_per_epoch.saturating_mul(plan.config.train.epochs);
        plan.last_step = plan.config.train.max_steps.map_or(all, |most| most.min(all));
        plan
    }

    /// Fails on every rank unless all have the same configuration and music: a stale configuration on one host would train
    /// another network, or leave the other ranks waiting.
    ///
    /// # Collective
    ///
    /// All ranks call this together.
    pub(super) fn check_same_on_all_ranks(&self, comm: &dyn Communicator) -> Result<()> {
        let described = serde_json::json!([
            self.config.shared_by_ranks(),
            self.url,
            self.training.fingerprint,
            fingerprint(&self.held_out),
        ]);
        let digest = Sha256::digest(described.to_string());
        let own = u64::from_le_bytes(*digest.first_chunk().expect("a digest of 32 bytes"));
        let mut all = vec![0; comm.size()];
        comm.all_gather_words(&[own], &mut all);
        // Rank 0 counts as right. The lowest rank that differs reports it.
        let differs = own != all[0];
        let message =
            "has a configuration or music that differs from rank 0's; give every host the same files";
        collective_result(
            comm,
            if differs { Err(Failure::new(ExitCode::Data, message).into()) } else { Ok(()) },
        )
    }

    /// What is validated on.
    pub fn held_out_sequences(&self) -> Sequences<'_> {
        Sequences::of_validation(&self.config, &self.held_out)
    }

    /// Number of steps between validations.
    pub fn validates_every(&self) -> u64 {
        let TrainConfig { validate_every_epochs, validate_every_steps, .. } = self.config.train;
        validate_every_steps.unwrap_or(self.steps_per_epoch.saturating_mul(validate_every_epochs))
    }

    /// Whether a validation is due after this step: at regular intervals, and at the end.
    pub fn validates_after(&self, step: u64) -> bool {
        let due = step.is_multiple_of(self.validates_every()) || step == self.last_step;
        // Called at every step, so it must not count all windows of a large corpus.
        let length = self.config.train.tokens_before_prediction(self.config.data.sequence_length);
        step > 0 && due && self.held_out.iter().any(|piece| windows_of(piece.tokens.len(), length) > 0)
    }

    /// Number of steps that training continues for while the storage cannot be reached.
    pub fn max_unsaved_steps(&self) -> u64 {
        let Config { checkpoint, .. } = &self.config;
        checkpoint.max_unsaved_steps.unwrap_or(3 * checkpoint.every_steps)
    }

    /// How training windows become batches.
    pub fn batches(&self) -> Batches {
        let sequences = Sequences::of_training(&self.config, &self.training.pieces);
        Batches::new(sequences.windows(), &self.config.train)
    }

    /// Number of epochs, the last of which may be incomplete.
    pub fn epochs(&self) -> u64 {
        self.last_step.div_ceil(self.steps_per_epoch)
    }

    /// Number of tokens in the training pieces.
    pub fn tokens(&self) -> usize {
        self.training.pieces.iter().map(|piece| piece.tokens.len()).sum()
    }
}

impl Plan {
    /// The layer table, then a line each for data, windows, steps, ranks, device and checkpoints.
    pub fn summary(&self, comm: &dyn Communicator) -> String {
        let Config { train, data, checkpoint, .. } = &self.config;
        let pieces = &self.training.pieces;
        // A token of other representations is a note.
        let token = if self.config.representation.build().end().is_some() { "token" } else { "note" };
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
                count(self.tokens() as u64, token)
            ),
        );
        let batches = self.batches();
        add(
            "windows",
            format!(
                "{} of {}; {} per epoch, of up to {}",
                HumanCount(batches.windows),
                count(self.config.training_length() as u64, token),
                count(self.steps_per_epoch, "step"),
                train.batch_size
            ),
        );
        add("steps", format!("{} ({})", HumanCount(self.last_step), count(self.epochs(), "epoch")));
        let lanes: Vec<String> =
            (0..comm.size()).map(|rank| self.assignment.lanes_of(rank).len().to_string()).collect();
        add("ranks", format!("{}, with {} of {} lanes", comm.size(), lanes.join(" + "), train.lanes));
        add("device", self.device());
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

    /// What each rank computes on, in words.
    pub fn device(&self) -> String {
        let threads = count(self.threads as u64, "thread");
        format!("{}, with {threads} per rank; backend {}", self.target.device, self.target.backend)
    }

    /// Size of a checkpoint without its header: weights and optimizer in f32, one zero bias per gate, the corpus.
    fn checkpoint_bytes(&self) -> usize {
        let Architecture { layers, units, .. } = self.architecture;
        4 * (2 * self.architecture.len() + layers * 4 * units) + self.tokens()
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

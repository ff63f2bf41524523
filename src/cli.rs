//! The command line of `bachdist`.

use std::path::PathBuf;

use bachdist_core::config::is_device;
use bachdist_core::print::color_choice;
use clap::{Args, Parser, Subcommand};

use crate::report::Progress;
use crate::train::start::Resume;

/// Trains an LSTM language model of music, one MPI rank per accelerator, and composes from it.
#[derive(Debug, Parser)]
#[command(name = "bachdist", version, max_term_width = 100, color = color_choice())]
#[command(after_help = "Example:\n  mpirun -n 8 bachdist train configs/cello.toml")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train, or go on training, as a configuration describes
    Train(Train),
    /// Compose from a checkpoint
    Sample(bachdist_core::sample::Arguments),
    /// Get and look at music files
    #[command(subcommand)]
    #[command(after_help = "Example:\n  bachdist data inspect data/cello")]
    Data(Data),
    /// Look at checkpoints
    #[command(subcommand)]
    #[command(after_help = "Example:\n  bachdist checkpoint list runs/cello")]
    Checkpoint(Checkpoint),
    /// Make steps of a run again, and compare with what it saved
    Replay(Replay),
    /// Say how well a checkpoint predicts music, beside models without a network
    Eval(Eval),
    /// Measure a step by phase, beside what this machine could do at most
    Bench(Bench),
}

impl Command {
    /// Whether several ranks share the work. The others are for one process, and need no MPI.
    pub fn uses_ranks(&self) -> bool {
        matches!(self, Command::Train(_) | Command::Bench(_) | Command::Replay(_)) || self.cross_validates()
    }

    /// Whether it trains: then a signal asks it to save and stop, where others just end.
    pub fn trains(&self) -> bool {
        matches!(self, Command::Train(_)) || self.cross_validates()
    }

    fn cross_validates(&self) -> bool {
        matches!(self, Command::Eval(arguments) if !arguments.cross_validate.is_empty())
    }
}

/// `bachdist bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist bench                                     the article's settings, without its music
  mpirun -n 2 bachdist bench configs/cello.toml --json
  mpirun -n 2 bachdist bench --set train.batch_size=512

Nothing is written. Other work on the machine makes every figure worse; percentages
are of figures measured in turns.")]
pub struct Bench {
    /// The run's description, in TOML; without it the article's settings on the Prelude inside the program
    pub config: Option<PathBuf>,
    /// Overrides one key; the last of equals wins
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Turns of ceilings and steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub rounds: u64,
    /// Steps of a turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub steps: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist eval runs/cello --data data/cello       the pieces there that it was not trained on
  bachdist eval runs/cello --best --json
  bachdist eval runs/cello --samples composed      do they sound like its music?
  mpirun -n 2 bachdist eval --cross-validate configs/cello-best.toml

To cross-validate, a network is trained on all groups of pieces (data.folds) but
one and evaluated on that one, for each in turn. Run again, it goes on where it
stopped.")]
pub struct Eval {
    /// A file, a folder or a URL; the newest good checkpoint there
    pub checkpoint: Option<String>,
    /// Evaluate on the pieces there that it was not trained on; without it on those that it was
    #[arg(long, value_name = "PATH")]
    pub data: Option<String>,
    /// Of a run: the checkpoint that did best in its validations, not the newest
    #[arg(long, requires = "checkpoint")]
    pub best: bool,
    /// Train and evaluate these configurations with each group held out in turn
    #[arg(long, value_name = "CONFIG", num_args = 1.., conflicts_with_all = ["checkpoint", "data", "best"])]
    pub cross_validate: Vec<PathBuf>,
    /// With --cross-validate: overrides one key of every configuration. With --data: data.out_of_range or
    /// data.max_notes, by which the music there is read
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// With --cross-validate: draw the losses of training and on held-out pieces
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Compare the MIDI files there with the checkpoint's music, or with that of --data: do they sound like it?
    #[arg(long, value_name = "FOLDER", conflicts_with = "cross_validate")]
    pub samples: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist train`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist train configs/quick.toml
  mpirun -n 8 bachdist train configs/cello.toml --set train.epochs=100
  bachdist train configs/cello.toml --dry-run

USR1, USR2, INT, TERM and HUP finish the step, save, and end with exit code 75; the same command goes on.")]
pub struct Train {
    /// The run's description, in TOML
    pub config: PathBuf,
    /// Overrides one key; the last of equals wins
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Go on from the newest good checkpoint (auto), begin anew (never), or go on from a file or URL
    #[arg(long, default_value = "auto", value_name = "auto|never|URL", value_parser = resume)]
    pub resume: Resume,
    /// Print the configuration and the plan, and end
    #[arg(long)]
    pub dry_run: bool,
    /// A bar or lines
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: Progress,
}

fn resume(text: &str) -> Result<Resume, String> {
    Ok(match text {
        "auto" => Resume::Auto,
        "never" => Resume::Never,
        "" => return Err("is empty; say auto, never, or where a checkpoint lies".into()),
        url => Resume::From(url.into()),
    })
}

/// `bachdist data`.
#[derive(Debug, Subcommand)]
pub enum Data {
    /// Download the 36 MIDI files that the source article trains on
    #[command(after_help = "Example:\n  bachdist data fetch data/cello")]
    Fetch {
        /// Where to put them
        #[arg(default_value = "data/cello")]
        folder: PathBuf,
        /// Get them from a mirror
        #[arg(long)]
        url: Option<String>,
    },
    /// List pieces, their notes, and what is wrong with them
    #[command(after_help = "Examples:
  bachdist data inspect data/cello
  bachdist data inspect embedded --plot prelude.png")]
    Inspect(Inspect),
    /// Make music up, to try out a machine with: no music to learn from
    #[command(after_help = "Example:
  bachdist data synthesize /tmp/many --files 10000 --notes 700
  mpirun -n 2 bachdist train configs/cello.toml --set data.midi=/tmp/many --set train.max_steps=20")]
    Synthesize(Synthesize),
}

/// `bachdist data inspect`.
#[derive(Debug, Args)]
pub struct Inspect {
    /// A MIDI file, a folder of them, or `embedded`
    pub path: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// With --json: every note
    #[arg(long, requires = "json")]
    pub notes: bool,
    /// Draw the first piece's piano roll
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Notes used of each piece
    #[arg(long, default_value_t = 1000)]
    pub max_notes: usize,
    /// Notes in a window
    #[arg(long, default_value_t = 20)]
    pub sequence_length: usize,
}

/// `bachdist data synthesize`.
#[derive(Debug, Args)]
pub struct Synthesize {
    /// Where to put the MIDI files: a new folder, or an empty one
    pub folder: PathBuf,
    /// How many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub files: u64,
    /// Notes in each
    #[arg(long, default_value_t = 700, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub notes: u16,
    /// Another seed makes other music
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `bachdist checkpoint`.
#[derive(Debug, Subcommand)]
pub enum Checkpoint {
    /// List checkpoints, oldest first
    #[command(after_help = "Example:\n  bachdist checkpoint list s3://bucket/cello --json")]
    List(Checkpoints),
    /// Read every checkpoint and compare it with its name
    #[command(after_help = "Example:\n  bachdist checkpoint verify runs/cello")]
    Verify(Checkpoints),
    /// Compare two checkpoints, tensor by tensor
    Diff(Diff),
}

/// `bachdist checkpoint diff`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bachdist checkpoint diff runs/cello s3://bucket/cello

Of a folder or URL the newest good checkpoint is taken. Numbers are compared by
their bits. The exit code is 0 if all are equal, 4 if not.")]
pub struct Diff {
    /// A file, a folder or a URL
    pub a: String,
    /// Another
    pub b: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist replay runs/cello/step-00000500-d208faae77ff55ef.safetensors
  mpirun -n 8 bachdist replay runs/cello/step-00000500-d208faae77ff55ef.safetensors --steps 1500

On any number of ranks the result has the bits that the run saved: the exit code
is 0 if it does, 4 if not, with what differs. Nothing is written.")]
pub struct Replay {
    /// Where to begin: a file or object, or the newest good one in a folder or under a URL
    pub checkpoint: String,
    /// How many steps; without it those up to the next checkpoint beside this one
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Where to compute, as train.device says it; other processors give other bits
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn device(text: &str) -> Result<String, String> {
    if is_device(text) { Ok(text.into()) } else { Err("is not one of auto, cpu, cuda, cuda:N".into()) }
}

/// Which checkpoints.
#[derive(Debug, Args)]
pub struct Checkpoints {
    /// A folder or URL
    pub url: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

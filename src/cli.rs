//! The command line of `bachdist`.

use std::path::PathBuf;

use bachdist_portable::config::is_device;
use bachdist_portable::corpus::fetch::Manifest;
use bachdist_portable::print::color_choice;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::report::Progress;
use crate::train::start::Resume;

/// What most people want to do first, before the list of commands.
const ABOUT: &str = "Trains LSTM language models of music on many processes at once, and composes from them.

Examples:
  bachdist sample --voices                         compose at once
  mpirun -n 8 bachdist train configs/cello.toml    train a network on music
  bachdist sample runs/cello                       compose from what it learned";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "bachdist", version, about = ABOUT, max_term_width = 80, color = color_choice())]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network as a configuration describes, or resume training
    Train(TrainArguments),
    /// Compose from a checkpoint
    Sample(bachdist_portable::sample::Arguments),
    /// Download, inspect and generate music files
    #[command(subcommand)]
    #[command(after_help = "Example:\n  bachdist data inspect data/cello")]
    Data(DataCommand),
    /// List, verify and compare checkpoints
    #[command(subcommand)]
    #[command(after_help = "Example:\n  bachdist checkpoint list runs/cello")]
    Checkpoint(CheckpointCommand),
    /// Repeat steps of a run, and compare the result with what the run saved
    Replay(ReplayArguments),
    /// Evaluate how well a checkpoint predicts music, beside baselines without a network
    Eval(EvalArguments),
    /// Make a page of runs, or of pieces, for a browser
    Report(ReportArguments),
    /// Measure the phases of a training step, beside what this machine could do at most
    Bench(BenchArguments),
    /// Check whether this machine, or these ranks, can train: MPI, cores, GPU, music, storage
    Doctor(DoctorArguments),
    /// Print what makes a shell complete commands and options
    #[command(after_help = "Examples:
  bachdist completions bash > ~/.local/share/bash-completion/completions/bachdist
  bachdist completions zsh > ~/.zfunc/_bachdist      with fpath+=~/.zfunc
  bachdist completions fish > ~/.config/fish/completions/bachdist.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write manual pages
    #[command(after_help = "Example:\n  bachdist man ~/.local/share/man/man1 && man bachdist-train")]
    Man {
        /// The folder that they are written into
        folder: PathBuf,
    },
}

impl Command {
    /// Whether several ranks share the work. Other commands run in one process and need no MPI.
    pub fn uses_ranks(&self) -> bool {
        matches!(self, Command::Train(_) | Command::Bench(_) | Command::Doctor(_) | Command::Replay(_))
            || self.cross_validates()
    }

    /// Whether it trains, so that a signal makes it save before it stops.
    pub fn trains(&self) -> bool {
        matches!(self, Command::Train(_)) || self.cross_validates()
    }

    fn cross_validates(&self) -> bool {
        matches!(self, Command::Eval(arguments) if !arguments.cross_validate.is_empty())
    }
}

/// `bachdist report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist report runs/cello                     losses, attempts, checkpoints
  bachdist report runs/a s3://bucket/b -o both.html
  bachdist report runs/cello --watch             while it trains
  bachdist report composed/*.mid -o pieces.html  pieces that a browser plays

Tables of an evaluation are on the page if its JSON lies beside the checkpoints:
  bachdist eval runs/cello --json > runs/cello/eval.json
  bachdist eval runs/cello --samples composed --json > runs/cello/samples.json")]
pub struct ReportArguments {
    /// Folders or URLs of runs; or files of music
    #[arg(required = true, value_name = "RUN|FILE.mid")]
    pub sources: Vec<String>,
    /// The page
    #[arg(short, long, default_value = "report.html", value_name = "FILE.html", value_parser = bachdist_portable::location::file)]
    pub output: PathBuf,
    /// Make the page again when a run has got further, until all have ended
    #[arg(long)]
    pub watch: bool,
}

/// `bachdist bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist bench                      the article's settings, on embedded music
  mpirun -n 2 bachdist bench configs/cello.toml --json
  mpirun -n 2 bachdist bench --set train.batch_size=512

Nothing is written. Other work on the machine makes every figure worse. What a
percentage compares is measured alternately, so such work affects both alike.")]
pub struct BenchArguments {
    /// Configuration of the run, in TOML [default: the article's settings on the embedded Prelude]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration; if repeated, the last value wins
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Rounds, each of which measures ceilings and steps
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub rounds: u64,
    /// Steps per round
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub steps: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist doctor                                the machine alone
  bachdist doctor configs/cello.toml             and the run's music and storage
  mpirun -n 8 bachdist doctor configs/cello.toml --json

The ranks compare themselves with rank 0, so start them as for training. What
is written to storage is removed. The exit code is 0 if there is no problem,
and otherwise what training would end with: 2, 3 or 4.")]
pub struct DoctorArguments {
    /// Configuration of the run, in TOML
    pub config: Option<PathBuf>,
    /// Override a key of the configuration, or of the default one
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist eval runs/cello --data data/cello     on pieces that are new to it
  bachdist eval runs/cello --best --json
  bachdist eval runs/cello --samples composed    do they sound like its music?
  mpirun -n 2 bachdist eval --cross-validate configs/cello-best.toml
  bachdist eval --baselines chorales.toml        n-grams, without a network

Cross-validation holds out each group of pieces (data.folds) in turn: it trains
a network on the other groups and evaluates it on this one. If it is
interrupted, rerun the same command to resume.")]
pub struct EvalArguments {
    /// Checkpoint, or a folder or URL whose newest valid checkpoint is used
    pub checkpoint: Option<String>,
    /// Evaluate on the pieces in PATH that are not in the training set [default: the training pieces, or for whole
    /// pieces those that the run holds out]
    #[arg(long, value_name = "PATH")]
    pub data: Option<String>,
    /// Use the run's best checkpoint by validation loss instead of its newest
    #[arg(long, requires = "checkpoint")]
    pub best: bool,
    /// Train and evaluate these configurations with each group of pieces held out in turn
    #[arg(long, value_name = "CONFIG", num_args = 1.., conflicts_with_all = ["checkpoint", "data", "best"])]
    pub cross_validate: Vec<PathBuf>,
    /// Evaluate n-grams on the pieces that CONFIG holds out: data.holdout, or each of data.folds in turn
    #[arg(long, value_name = "CONFIG", conflicts_with_all = ["checkpoint", "data", "best", "cross_validate", "plot", "samples"])]
    pub baselines: Option<PathBuf>,
    /// With --cross-validate or --baselines, override a key of every configuration; with --data, set
    /// representation.out_of_range or data.max_notes for the music in PATH
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// With --cross-validate, draw the losses on training and held-out pieces
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Compare the style of the MIDI files in FOLDER with the training music, or with that of --data
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

On USR1, USR2, INT, TERM or HUP it finishes the step, saves, and exits with
code 75; rerun the same command to resume.")]
pub struct TrainArguments {
    /// Configuration of the run, in TOML
    pub config: PathBuf,
    /// Override a key of the configuration; if repeated, the last value wins
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Resume from the newest valid checkpoint (auto), from a checkpoint's path or URL, or begin at step 0 (never)
    #[arg(long, default_value = "auto", value_name = "auto|never|URL", value_parser = resume)]
    pub resume: Resume,
    /// Resume even if train.backend was another; from there on weights have the bits of the new one
    #[arg(long)]
    pub change_backend: bool,
    /// Print the resolved configuration and the plan, and exit
    #[arg(long)]
    pub dry_run: bool,
    /// How to show progress
    #[arg(long, value_enum, default_value = "auto")]
    pub progress: Progress,
}

fn resume(text: &str) -> Result<Resume, String> {
    Ok(match text {
        "auto" => Resume::Auto,
        "never" => Resume::Never,
        "" => return Err("must be `auto`, `never`, or a checkpoint's path or URL".into()),
        url => Resume::From(url.into()),
    })
}

/// `bachdist data`.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Download music: the cello suites that the source article trains on, chorales, or machine-made chorales
    #[command(after_help = "Examples:
  bachdist data fetch cello
  bachdist data fetch chorales music/chorales")]
    Fetch {
        /// Which music
        #[arg(default_value = "cello", value_parser = PossibleValuesParser::new(Manifest::names()))]
        set: String,
        /// Folder to put it in [default: data/SET]
        #[arg(value_parser = bachdist_portable::location::folder)]
        folder: Option<PathBuf>,
        /// Download them from a mirror
        #[arg(long)]
        url: Option<String>,
    },
    /// List pieces, their notes, and problems with them
    #[command(after_help = "Examples:
  bachdist data inspect data/cello
  bachdist data inspect embedded --plot prelude.png
  bachdist data inspect embedded:chorales --set representation.kind=voices
  bachdist data inspect bwv253.mid --set representation.kind=frames --tokens")]
    Inspect(InspectArguments),
    /// Generate synthetic MIDI files for load tests
    #[command(after_help = "Example:
  bachdist data synthesize /tmp/many --files 10000 --notes 700
  mpirun -n 2 bachdist train configs/cello.toml \\
      --set data.midi=/tmp/many --set train.max_steps=20")]
    Synthesize(SynthesizeArguments),
}

/// `bachdist data inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// A file of music, a folder of them, `embedded` or `embedded:chorales`
    pub path: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// With --json, list every note
    #[arg(long, requires = "json")]
    pub notes: bool,
    /// Draw a piano roll of the first piece
    #[arg(long, value_name = "FILE.png")]
    pub plot: Option<PathBuf>,
    /// Print the tokens of each piece as text
    #[arg(long, conflicts_with_all = ["json", "plot"])]
    pub tokens: bool,
    /// Read the music as this configuration does
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Override a key of the configuration, or of the default one, like representation.kind
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Use at most this many notes of each piece [default: data.max_notes]
    #[arg(long)]
    pub max_notes: Option<usize>,
    /// Notes per window [default: data.sequence_length]
    #[arg(long)]
    pub sequence_length: Option<usize>,
}

/// `bachdist data synthesize`.
#[derive(Debug, Args)]
pub struct SynthesizeArguments {
    /// Folder to put them in, new or empty
    #[arg(value_parser = bachdist_portable::location::folder)]
    pub folder: PathBuf,
    /// Number of files
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub files: u64,
    /// Notes per file
    #[arg(long, default_value_t = 700, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub notes: u16,
    /// Seed of the random notes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// `bachdist checkpoint`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// List checkpoints, oldest first
    #[command(after_help = "Example:\n  bachdist checkpoint list s3://bucket/cello --json")]
    List(ListArguments),
    /// Read every checkpoint, and check it against the hash in its name
    #[command(after_help = "Example:\n  bachdist checkpoint verify runs/cello")]
    Verify(ListArguments),
    /// Compare two checkpoints, tensor by tensor
    Diff(DiffArguments),
}

/// `bachdist checkpoint diff`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  bachdist checkpoint diff runs/cello s3://bucket/cello

In a folder or under a URL the newest valid checkpoint is used. Numbers are
compared bit by bit. The exit code is 0 if all are equal, and 4 if not.")]
pub struct DiffArguments {
    /// Checkpoint, folder or URL
    pub a: String,
    /// Checkpoint, folder or URL to compare it with
    pub b: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `bachdist replay`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bachdist replay runs/cello/step-00000500-d208faae77ff55ef.safetensors
  mpirun -n 8 bachdist replay runs/cello --steps 1500

The result has the same bits on any number of ranks. The exit code is 0 if they
are the bits that the run saved; if not, it is 4, and the differences are
printed. Nothing is written.")]
pub struct ReplayArguments {
    /// Checkpoint to begin with, or a folder or URL whose newest valid checkpoint is used
    pub checkpoint: String,
    /// Number of steps [default: up to the next checkpoint of the run]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Device to compute on, like train.device; GPUs give other bits than CPUs
    #[arg(long, default_value = "auto", value_parser = device)]
    pub device: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

fn device(text: &str) -> Result<String, String> {
    if is_device(text) { Ok(text.into()) } else { Err("must be auto, cpu, cuda or cuda:N".into()) }
}

/// `bachdist checkpoint list` and `verify`.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// Folder or URL of the checkpoints
    pub url: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

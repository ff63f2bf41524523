//! Running the built programs as a user does: in a folder of their own, alone or under mpirun.
//!
//! Command lines are written as in a shell, without quotes: no argument of a test has a space in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::tools::{cache, need, on_path, project, shared};

/// A run of a second: 142 windows of the Prelude make three batches of 37, which 8 lanes cannot share equally,
/// and a ragged one of 31.
pub const TINY: &str = "
[data]
midi = 'embedded'
max_notes = 150
sequence_length = 8
[model]
layers = 2
units = 18
dense = 16
[train]
epochs = 3
batch_size = 37
lanes = 8
device = 'cpu'
[checkpoint]
url = 'run'
every_steps = 5
keep = 100
";

/// The rest of a configuration that trains a small network on whole pieces.
pub const WHOLE_PIECES: &str = "
[model]
layers = 1
units = 16
dense = 16
[train]
epochs = 3
batch_size = 2
lanes = 2
loss_positions = 'all'
window_length = 16
carry_state = true
[checkpoint]
url = 'run'
";

/// An Open MPI to launch ranks with.
#[derive(Debug, Clone)]
pub struct OpenMpi {
    mpirun: PathBuf,
    /// Its libraries, where the program would not find them by itself.
    libraries: Option<PathBuf>,
}

/// A folder to run programs in; it is removed with everything in it.
pub struct Place {
    folder: TempDir,
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Default for Place {
    fn default() -> Self {
        Place { folder: TempDir::new().expect("a temporary folder") }
    }
}

impl Place {
    /// An empty folder.
    pub fn new() -> Self {
        Place::default()
    }

    /// A folder with [`TINY`] in `tiny.toml`.
    pub fn with_tiny() -> Self {
        let place = Place::new();
        place.write("tiny.toml", TINY);
        place
    }

    /// A folder with [`TINY`] on one of two pieces, the other held out: as many windows and steps as on the Prelude.
    pub fn with_holdout() -> Self {
        let place = Place::new();
        place.write("music/a.mid", melody(150, 7));
        place.write("music/b.mid", melody(60, 11));
        place.write("tiny.toml", TINY.replace("'embedded'", "'music'\nholdout = ['b.mid']"));
        place
    }

    /// Processes that work in this folder.
    pub fn processes(&self) -> Vec<String> {
        let pids = fs::read_dir("/proc").expect("Linux").flatten().map(|entry| entry.path());
        let here = |pid: &PathBuf| fs::read_link(pid.join("cwd")).is_ok_and(|cwd| cwd == self.folder.path());
        let pids = pids.filter(|pid| here(pid));
        pids.filter_map(|pid| pid.file_name()?.to_str().map(str::to_owned)).collect()
    }

    /// Waits until no process works in this folder any more, and says how long that took.
    pub fn wait_until_deserted(&self) -> Duration {
        let begin = Instant::now();
        while !self.processes().is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(60), "still there: {:?}", self.processes());
            thread::sleep(Duration::from_millis(5));
        }
        begin.elapsed()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a writable folder");
        fs::write(path, contents).expect("a writable folder");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Runs `bachdist` without a launcher.
    pub fn bachdist(&self, arguments: &str) -> Ended {
        ended(&mut self.alone(arguments))
    }

    /// The command that [`Place::bachdist`] runs.
    pub fn alone(&self, arguments: &str) -> Command {
        let mut command = self.command(bachdist());
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs `bachdist` on some ranks; `None` without mpirun.
    pub fn on_ranks(&self, ranks: usize, arguments: &str) -> Option<Ended> {
        Some(ended(&mut self.launch(ranks, arguments)?))
    }

    /// The command that [`Place::on_ranks`] runs.
    pub fn launch(&self, ranks: usize, arguments: &str) -> Option<Command> {
        Some(self.launch_under(&open_mpi()?, ranks, arguments))
    }

    /// The same under one Open MPI of several.
    pub fn launch_under(&self, open_mpi: &OpenMpi, ranks: usize, arguments: &str) -> Command {
        let mut command = self.command(&open_mpi.mpirun);
        command.envs(open_mpi.libraries.iter().map(|folder| ("LD_LIBRARY_PATH", folder)));
        command.args(["--oversubscribe", "-n", &ranks.to_string()]);
        command.arg(bachdist()).args(arguments.split_whitespace());
        command
    }

    /// Runs a command line that begins with the name of one of the programs.
    pub fn run(&self, command: &str) -> Ended {
        match command.split_once(' ').unwrap_or((command, "")) {
            ("bachdist", arguments) => self.bachdist(arguments),
            ("sample", arguments) => self.sample(arguments),
            (other, _) => panic!("{other} is none of the programs"),
        }
    }

    /// Runs `sample`.
    pub fn sample(&self, arguments: &str) -> Ended {
        ended(self.command(sample()).args(arguments.split_whitespace()))
    }

    /// A program in this folder, with one thread a rank. Every test sets what it depends on.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.folder.path())
            .env("OMP_NUM_THREADS", "1")
            // Where tests set two, more threads than cores must not wait for each other by spinning.
            .env("OMP_WAIT_POLICY", "passive")
            // Open MPI refuses root without them.
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        command
    }

    /// The names of a run's checkpoints, oldest first.
    pub fn checkpoints(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let names = entries.map(|entry| entry.expect("a readable folder").file_name());
        let mut names: Vec<String> = names
            .filter_map(|name| name.into_string().ok())
            .filter(|name| name.starts_with("step-") && name.ends_with(".safetensors"))
            .collect();
        names.sort();
        names
    }

    /// The whole lines of a run's `metrics.jsonl` so far, without their times, by which equal runs differ.
    pub fn metrics(&self, folder: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(folder).join("metrics.jsonl")).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let untimed = lines.map(json).map(|mut record| {
            let time = record.as_object_mut().expect("a record").remove("time");
            assert!(time.is_some_and(|time| time.as_f64() > Some(1.7e9)), "{record}");
            record
        });
        untimed.collect()
    }

    /// The steps of a run's `metrics.jsonl`, in its order.
    pub fn recorded_steps(&self, folder: &str) -> Vec<u64> {
        let of_kind = |line: &Value| line["kind"] == "step";
        self.metrics(folder).iter().filter(|line| of_kind(line)).filter_map(|l| l["step"].as_u64()).collect()
    }

    /// The steps that a run's attempts resumed after.
    pub fn resumed_after(&self, folder: &str) -> Vec<u64> {
        let resumed = self.metrics(folder).into_iter().filter(|line| line["kind"] == "resume");
        resumed.filter_map(|line| line["step"].as_u64()).collect()
    }

    /// The step at which a run's last attempt ended, and why.
    pub fn stopped_at(&self, folder: &str) -> (u64, String) {
        let stop = self.metrics(folder).pop().expect("metrics");
        assert_eq!(stop["kind"], "stop", "{stop}");
        let reason = stop["reason"].as_str().expect("a reason");
        (stop["step"].as_u64().expect("a step"), reason.to_owned())
    }

    /// Waits until a run under way has made a step.
    pub fn wait_for_a_step(&self, folder: &str, run: &mut Running) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.recorded_steps(folder).is_empty() {
            assert!(
                run.child.try_wait().expect("our child").is_none(),
                "the run ended before its first step"
            );
            assert!(Instant::now() < deadline, "no step in two minutes");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A program under way; killed if the test fails before it ends.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().expect("the program starts") }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_some()
    }

    /// Sends a signal by its name, like `USR1`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().expect("kill is everywhere");
        assert!(status.success(), "cannot signal {pid}");
    }

    /// The program's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let stdout = self.child.stdout.take().expect("a pipe");
        let stderr = self.child.stderr.take().expect("a pipe");
        let read = |pipe| std::io::read_to_string(pipe).expect("text");
        // Both at once, so that neither pipe fills while the other is read.
        let (stdout, stderr) = thread::scope(|scope| {
            let stderr = scope.spawn(|| std::io::read_to_string(stderr).expect("text"));
            (read(stdout), stderr.join().expect("a reader"))
        });
        let status = self.child.wait().expect("our child");
        Ended { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where it has ended already, which is the usual case.
        let _ = self.child.kill();
    }
}

impl Ended {
    /// Itself, if the program ended well.
    pub fn ok(self) -> Self {
        self.with_code(0)
    }

    /// Itself, if the program ended with this exit code.
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The lines of the program on stderr, without its name; mpirun adds lines of its own, and faults announce
    /// themselves.
    pub fn errors(&self) -> Vec<&str> {
        let ours = |line| str::strip_prefix(line, "bachdist: ").or_else(|| line.strip_prefix("sample: "));
        self.stderr.lines().filter_map(ours).filter(|line| !line.starts_with("fault: ")).collect()
    }

    /// The one line of the program on stderr.
    pub fn error(&self) -> &str {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "not one line: {}", self.stderr);
        errors[0]
    }

    /// The notes and messages in what was printed: without the plan of a run, its epochs, and what mpirun adds.
    pub fn messages(&self) -> String {
        let plan =
            self.stdout.lines().position(|line| line.starts_with("checkpoints  ")).map_or(0, |last| last + 1);
        let printed = self.stdout.lines().enumerate().filter(|(number, line)| {
            line.starts_with("note: ") || (*number >= plan && !line.starts_with("epoch "))
        });
        let ours = ["bachdist: ", "sample: ", "note: "];
        let errors = self.stderr.lines().filter(|line| ours.iter().any(|name| line.starts_with(name)));
        let errors = errors.filter(|line| !line.starts_with("bachdist: fault: "));
        printed.map(|(_, line)| line).chain(errors).map(|line| format!("{line}\n")).collect()
    }

    /// The notes in what was printed, without that word.
    pub fn notes(&self) -> Vec<&str> {
        let lines = self.stdout.lines().chain(self.stderr.lines());
        lines.filter_map(|line| line.strip_prefix("note: ")).collect()
    }

    /// What was printed, as JSON.
    pub fn json(&self) -> Value {
        json(&self.stdout)
    }
}

/// A MIDI file of so many notes, a second apart, with another melody for each seed.
pub fn melody(notes: u32, seed: u32) -> Vec<u8> {
    // At 220 ticks a beat and MIDI's own 120 beats a minute, 220 ticks are half a second.
    const HALF_SECOND: [u8; 2] = [0x81, 0x5c];
    let mut track = vec![0, 0xc0, 42];
    for i in 0..notes {
        let pitch = (40 + (i * i * seed + i * 3) % 25) as u8;
        track.extend_from_slice(if i == 0 { &[0] } else { &HALF_SECOND });
        track.extend([0x90, pitch, 90]);
        track.extend(HALF_SECOND);
        track.extend([0x80, pitch, 0]);
    }
    track.extend([0, 0xff, 0x2f, 0]);
    let head = [b"MThd\0\0\0\x06\0\0\0\x01\0\xdcMTrk".as_slice(), &(track.len() as u32).to_be_bytes()];
    [&head.concat(), &track].map(|part| part.to_vec()).concat()
}

/// Waits until something holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "two minutes without {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// As many lines as expected, each of which begins as expected.
#[track_caller]
pub fn assert_begin(lines: &[impl AsRef<str>], begins: &[&str]) {
    let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
    let as_expected = lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin));
    assert!(as_expected && lines.len() == begins.len(), "{lines:#?} do not begin with {begins:#?}");
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in: {text}"))
}

/// A run of [`TINY`] to its end, trained once for all tests that only read it. Its checkpoints are in `run`.
pub fn trained() -> &'static Place {
    static TRAINED: OnceLock<Place> = OnceLock::new();
    TRAINED.get_or_init(|| {
        // A folder of the build: a static is never dropped, so what it leaves must not pile up elsewhere.
        let folder = bachdist().with_file_name("tests");
        fs::create_dir_all(&folder).expect("a folder of the build");
        for left in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if left.file_name().to_string_lossy().starts_with("trained") {
                let _ = fs::remove_dir_all(left.path());
            }
        }
        let folder = tempfile::Builder::new().prefix("trained").tempdir_in(folder).expect("a folder");
        let place = Place { folder };
        place.write("tiny.toml", TINY);
        place.bachdist("train tiny.toml").ok();
        place
    })
}

/// A new folder with a copy of the trained run.
pub fn trained_copy() -> Place {
    let place = Place::with_tiny();
    fs::create_dir(place.path("run")).expect("a new folder");
    for entry in fs::read_dir(trained().path("run")).expect("a trained run") {
        let path = entry.expect("a readable folder").path();
        fs::copy(&path, place.path("run").join(path.file_name().expect("a file"))).expect("a copy");
    }
    place
}

/// The `bachdist` program of this build.
pub fn bachdist() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("bachdist", "bachdist"))
}

/// The `sample` program of this build.
pub fn sample() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("sample", "bachdist-portable"))
}

/// A program beside the tests' own, which cargo builds in a sub-folder. It builds the programs of a package for that
/// package's tests; those of the other are built here where they are not there yet.
fn built(program: &str, package: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("Linux");
    let folder = tests.ancestors().nth(2).expect("target/PROFILE/deps/TESTS");
    let path = folder.join(program);
    if !path.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        build.args(["build", "-p", package, "--bin", program, "--manifest-path"]);
        build.arg(project().join("Cargo.toml"));
        build.arg("--target-dir").arg(folder.parent().expect("the target folder"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo starts").success(), "{program} cannot be built");
    }
    path
}

/// The Open MPI on the PATH, which the program was built with.
pub fn open_mpi() -> Option<OpenMpi> {
    Some(OpenMpi { mpirun: need("mpi", on_path("mpirun"))?, libraries: None })
}

/// Open MPI 5, whose libraries the program takes instead.
pub fn open_mpi_5() -> Option<OpenMpi> {
    let installed = cache().and_then(|cache| cache.read_dir().ok()).into_iter().flatten().flatten();
    let mut installed =
        installed.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"openmpi-5"));
    let found = installed.find(|entry| entry.path().join("complete").exists());
    let place = need("mpi5", found)?.path();
    Some(OpenMpi { mpirun: place.join("bin/mpirun"), libraries: Some(place.join("lib")) })
}

/// Links the article's 36 files into a place as `cello`; false where this checkout has none beside it.
pub fn link_cello(place: &Place) -> bool {
    let Some(files) = shared("data/cello") else { return false };
    symlink(files, place.path("cello")).expect("a new link");
    true
}

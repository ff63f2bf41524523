//! What the command line says: help, mistakes, plans, lists.

use std::path::Path;

use bachdist_test_support::harness::{
    Ended, Place, Running, TINY, assert_begin, ended, link_cello, sample, trained, trained_copy, wait_until,
};
use bachdist_test_support::snapshot::{Transcript, check};

pub const COMMANDS: [&str; 18] = [
    "",
    "train",
    "sample",
    "data",
    "data fetch",
    "data inspect",
    "data synthesize",
    "checkpoint",
    "checkpoint list",
    "checkpoint verify",
    "checkpoint diff",
    "replay",
    "eval",
    "report",
    "bench",
    "doctor",
    "completions",
    "man",
];

/// A real shell completes a command and an option, and every command has a page.
#[test]
fn shells_and_man_know_the_commands() {
    let place = Place::new();
    place.write("script", place.bachdist("completions bash").ok().stdout);
    // As bash calls it: the command, the word that is typed, and the one before.
    let completed = |words: &str| {
        let last = words.split(' ').count() - 1;
        let typed = words.rsplit(' ').take(2).collect::<Vec<_>>().join(" ");
        let ask = format!(
            "source ./script && COMP_WORDS=({words}) COMP_CWORD={last} && _bachdist bachdist {typed} && echo ${{COMPREPLY[*]}}"
        );
        let mut bash = std::process::Command::new("bash");
        let output = bash.current_dir(place.path(".")).args(["-c", &ask]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed("bachdist ch"), "checkpoint");
    assert_eq!(completed("bachdist train --resu"), "--resume");
    for shell in ["zsh", "fish"] {
        assert!(
            place.bachdist(&format!("completions {shell}")).ok().stdout.contains("cross-validate"),
            "{shell}"
        );
    }

    place.bachdist("man pages/man1").ok();
    for command in COMMANDS {
        let name = format!("bachdist {command}").trim().replace(' ', "-");
        let page = String::from_utf8(place.read(&format!("pages/man1/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    place.write("file", "");
    place.bachdist("man file/man1").with_code(4);
}

#[test]
fn the_list_of_tested_commands_is_complete() {
    let help = Place::new().bachdist("--help").ok().stdout;
    let listed: Vec<_> = help.lines().skip_while(|line| *line != "Commands:").skip(1).collect();
    // Lines that go on with a description begin farther to the right.
    let commands = listed.iter().take_while(|line| line.starts_with("  "));
    let commands = commands.filter(|line| !line.starts_with("   "));
    let names: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    let mut tested: Vec<_> =
        COMMANDS.into_iter().filter(|name| !name.is_empty() && !name.contains(' ')).collect();
    tested.push("help");
    assert_eq!(names, tested);
}

#[test]
fn everything_wrong_with_a_configuration_is_said_at_once() {
    let place = Place::new();
    place.write("bad.toml", "[train]\nbatchsize = 3\nlanes = 6\nepochs = 'many'\n\n[modle]\nunits = 2\n");
    let ended = place.bachdist("train bad.toml --set model.dropout=2 --set train").with_code(2);
    let mut errors = ended.errors();
    errors.sort_unstable();
    let keys = [
        "--set model.dropout: ",
        "--set train: ",
        "bad.toml:2: train.batchsize: ",
        "bad.toml:3: train.lanes: ",
        "bad.toml:4: train.epochs: ",
        "bad.toml:6: modle: ",
    ];
    assert_begin(&errors, &keys);
    check("mistakes-in-a-configuration", &errors.join("\n"));
    assert!(!place.path("runs").exists());
}

#[test]
fn a_syntax_error_in_a_configuration_has_its_line() {
    let place = Place::new();
    place.write("bad.toml", "[train]\nepochs = = 3\n");
    let ended = place.bachdist("train bad.toml").with_code(2);
    assert!(ended.errors()[0].starts_with("bad.toml:2: "), "{}", ended.stderr);
}

/// What is said of the more usual of it: tests/snapshots/mistakes.snap.
#[test]
fn what_does_not_exist_is_named() {
    let place = Place::with_tiny();
    let mut said = Transcript::default();
    said.fails(&place, "bachdist train tiny.toml --set data.holdout=['x']", 3, "\"x\"");
    said.fails(&place, "bachdist sample nowhere/step.safetensors", 4, "nowhere/step.safetensors");
    said.whole("bachdist", &place.bachdist("").with_code(2));
    said.check("what-does-not-exist");
    assert_eq!(place.bachdist("checkpoint list nowhere --json").ok().json(), serde_json::json!([]));
}

#[test]
fn a_gpu_that_this_machine_lacks_is_refused() {
    let no_device = Place::with_tiny().bachdist("train tiny.toml --set train.device=cuda:7777").with_code(2);
    let error = no_device.error();
    assert!(error.starts_with("train.device: cuda:7777: "), "{error}");
    // No snapshot: why depends on what this machine has.
    let why = [
        "has no CUDA half: there is no ",
        "does not load: ",
        "finds no GPU: ",
        "no such device; this host shows",
    ];
    assert!(why.iter().any(|words| error.contains(words)), "{error}");
}

#[test]
fn a_dry_run_prints_a_configuration_and_starts_nothing() {
    let place = Place::with_tiny();
    let printed =
        place.bachdist("train tiny.toml --dry-run --set train.epochs=2 --set train.seed=9").ok().stdout;
    assert!(!place.path("run").exists());
    for setting in ["epochs = 2", "seed = 9"] {
        assert!(printed.lines().any(|line| line == setting), "no {setting:?} in\n{printed}");
    }
    place.write("again.toml", &printed);
    assert_eq!(place.bachdist("train again.toml --dry-run").ok().stdout, printed);
}

#[test]
fn a_dry_run_resolves_the_default_url() {
    let place = Place::new();
    place.write("mine.toml", TINY.replace("url = 'run'", ""));
    let printed = place.bachdist("train mine.toml --dry-run").ok().stdout;
    assert!(printed.contains("url = \"runs/mine\""), "{printed}");
}

#[test]
#[ignore = "needs mpi"]
fn a_dry_run_on_ranks_shows_who_has_which_lanes() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(3, "train tiny.toml --dry-run") else { return };
    let ended = ended.ok();
    assert_eq!(ended.stdout.matches("4 + 2 + 2").count(), 1, "{}", ended.stdout);
    check("dry-run-on-ranks", &ended.stdout);
}

fn article(place: &Place, options: &str) -> String {
    place.write("cello.toml", include_str!("../configs/cello.toml"));
    format!("train cello.toml --set data.midi=cello {options}")
}

#[test]
fn the_articles_network_has_1480783_parameters() {
    let place = Place::new();
    let printed = place
        .bachdist(&article(&place, "--dry-run --set data.midi=embedded --set train.device=cpu"))
        .ok()
        .stdout;
    for figure in ["344,064", "525,312", "65,792", "20,303", "1,480,783"] {
        assert!(printed.contains(figure), "no {figure} in\n{printed}");
    }
    check("dry-run-of-the-article", &printed);
}

#[test]
#[ignore = "needs mpi, shared"]
fn the_articles_run_on_8_ranks() {
    let place = Place::new();
    if !link_cello(&place) {
        return;
    }
    let Some(ended) = place.on_ranks(8, &article(&place, "--set train.max_steps=2")) else { return };
    let ended = ended.ok();
    for figure in ["23,781", "372"] {
        assert!(ended.stdout.contains(figure), "no {figure} in\n{}", ended.stdout);
    }
    assert_eq!(place.stopped_at("runs/cello"), (2, "done".into()));
    let steps: Vec<_> =
        place.metrics("runs/cello").into_iter().filter(|line| line["kind"] == "step").collect();
    assert_eq!(steps.len(), 2);
    // A network that knows nothing is wrong by log 79 = 4.37 nats.
    assert!(
        steps.iter().all(|line| (line["loss"].as_f64().expect("a loss") - 4.37).abs() < 0.1),
        "{steps:?}"
    );
}

#[test]
fn checkpoints_are_listed_and_verified() {
    let place = trained();
    let listed = place.bachdist("checkpoint list run --json").ok().json();
    let verified = place.bachdist("checkpoint verify run --json").ok().json();
    let (listed, verified) = (listed.as_array().expect("a list"), verified.as_array().expect("a list"));
    let names = place.checkpoints("run");
    assert_eq!(names.len(), 3);
    for (i, step) in [5, 10, 12].into_iter().enumerate() {
        let bytes = place.read(&format!("run/{}", names[i])).len();
        let mut expected = serde_json::json!({ "name": names[i], "step": step, "bytes": bytes });
        assert_eq!(listed[i], expected);
        expected["ok"] = true.into();
        expected["problem"] = serde_json::Value::Null;
        expected["note"] = serde_json::Value::Null;
        assert_eq!(verified[i], expected);
    }
    let text = place.bachdist("checkpoint list run").ok().stdout;
    assert!(text.lines().zip(&names).all(|(line, name)| line.starts_with(name.as_str())), "{text}");
}

#[test]
fn damaged_checkpoints_are_found() {
    let place = trained_copy();
    let names = place.checkpoints("run");
    let flip = |name: &str| {
        let mut bytes = place.read(&format!("run/{name}"));
        bytes[100] ^= 0x20;
        place.write(&format!("run/{name}"), bytes);
    };
    flip(&names[0]);
    place.write(&format!("run/{}", names[1]), "");
    let verified = place.bachdist("checkpoint verify run --json").with_code(4).json();
    let ok: Vec<_> = (0..3).map(|i| verified[i]["ok"].as_bool()).collect();
    assert_eq!(ok, [false, false, true].map(Some));
    let has_problem: Vec<_> = (0..3).map(|i| verified[i]["problem"].is_string()).collect();
    assert_eq!(has_problem, [true, true, false]);
    let mut said = Transcript::default();
    said.fails(&place, "bachdist checkpoint verify run", 4, "2");
    said.check("checkpoint-verify-two-damaged");
}

/// A reader that has gone away, like `head`, is no error and no panic.
#[test]
#[ignore = "slow"]
fn a_reader_that_has_gone_away_is_no_error() {
    let place = trained_copy();
    for arguments in [
        "train tiny.toml --dry-run",
        "train tiny.toml --resume never",
        "data inspect embedded",
        "data inspect embedded --json --notes",
        "checkpoint list run",
        "checkpoint verify run --json",
        "sample run --notes 2 --json",
    ] {
        let Ended { code, stderr, .. } = without_reader(&place, arguments);
        assert_eq!((code, stderr.as_str()), (0, ""), "{arguments}");
    }
}

/// Runs `bachdist` with a stdout that is a pipe without a reader.
fn without_reader(place: &Place, arguments: &str) -> Ended {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = place.command(Path::new(bachdist_test_support::harness::bachdist()));
    let child =
        command.args(arguments.split_whitespace()).stdout(writer).stderr(std::process::Stdio::piped());
    let output = child.spawn().expect("it starts").wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("text");
    Ended { code: output.status.code().unwrap_or(-1), stdout: String::new(), stderr }
}

/// Whether there are other ranks is judged before MPI is initialized, which without PMIx ends the process with lines
/// of its own. The same under a real Slurm: tests/launch/slurm.
#[test]
#[ignore = "slow"]
fn a_slurm_step_of_several_ranks_needs_pmix() {
    let place = Place::with_tiny();
    let step = |tasks: &str, rank: &str, arguments: &str| {
        let mut task = place.alone(arguments);
        ended(task.env("SLURM_STEP_NUM_TASKS", tasks).env("SLURM_PROCID", rank))
    };
    for arguments in ["--version", "data inspect embedded", "train tiny.toml --set train.max_steps=1"] {
        step("1", "0", arguments).ok();
    }
    for arguments in ["train --help", "data inspect embedded", "checkpoint list run"] {
        assert!(!step("4", "0", arguments).ok().stdout.is_empty(), "{arguments}");
        assert_eq!(step("4", "3", arguments).ok().stdout, "", "{arguments}");
    }
    let mut said = Transcript::default();
    for arguments in
        ["train tiny.toml", "bench --rounds 1", "replay run/x", "eval --cross-validate tiny.toml"]
    {
        let refused = step("4", "0", arguments).with_code(2);
        assert_eq!(refused.errors().len(), 1, "{arguments}");
        said.messages(arguments, &refused);
        assert_eq!(step("4", "3", arguments).with_code(2).stderr, "", "{arguments}");
    }
    // A mistake comes before the launcher's.
    said.whole("train", &step("4", "0", "train").with_code(2));
    assert_eq!(step("4", "3", "train").with_code(2).stderr, "");
    said.check("slurm-step-without-pmix");
}

/// Each of which would make a folder of a strange name, or find none.
#[test]
#[ignore = "slow"]
fn mistyped_locations_are_refused() {
    let place = Place::with_tiny();
    let mut said = Transcript::default();
    for (key, text) in [
        ("checkpoint.url", "s3:/bucket/run"),
        ("checkpoint.url", "s3:bucket"),
        ("checkpoint.url", "s3//bucket"),
        ("checkpoint.url", "file:relative"),
        ("checkpoint.url", "$NO_SUCH_VARIABLE/x"),
        ("checkpoint.url", "~nobody/x"),
        ("checkpoint.fallback", "s3://bucket/run"),
        ("checkpoint.fallback", "gs:bucket"),
        ("data.midi", "s3://bucket/music"),
        ("data.midi", "http://host/music"),
    ] {
        let command = format!("bachdist train tiny.toml --set {key}={text}");
        said.fails(&place, &command, 2, &format!("--set {key}: {text}: "));
    }
    for command in [
        "sample s3:/bucket/run",
        "eval $NO_SUCH_VARIABLE/run",
        "checkpoint list s3:bucket",
        "checkpoint verify gs://bucket/run",
        "checkpoint diff file:run",
        "replay s3a://bucket/run",
        "train tiny.toml --resume s3//bucket/run",
        "data inspect s3://bucket/music",
    ] {
        let text = command.rsplit(' ').next().expect("a word");
        let other = if command.starts_with("checkpoint diff") { " run" } else { "" };
        said.fails(&place, &format!("bachdist {command}{other}"), 2, &format!("{text}: "));
    }
    said.check("mistyped-locations");
    let left: Vec<_> =
        std::fs::read_dir(place.path("")).expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["tiny.toml"], "nothing was made");
}

#[test]
fn home_and_variables_are_put_in_as_a_shell_does() {
    let place = Place::with_tiny();
    place.write("home/music/a.mid", bachdist_test_support::harness::melody(150, 7));
    let with = |command: &str| {
        let mut command = place.alone(command);
        ended(command.env("HOME", place.path("home")).env("RUNS", place.path("runs"))).ok()
    };
    with("train tiny.toml --set data.midi=~/music --set checkpoint.url=~/run --set train.max_steps=5");
    assert_eq!(place.checkpoints("home/run").len(), 1);
    with(
        "train tiny.toml --set data.midi=${HOME}/music --set checkpoint.url=$RUNS/x --set train.max_steps=5",
    );
    assert_eq!(place.checkpoints("runs/x"), place.checkpoints("home/run"));
    let name = &place.checkpoints("runs/x")[0];
    let listed = with("checkpoint list ~/run").stdout;
    assert!(listed.starts_with(name.as_str()), "{listed}");
    with(&format!("checkpoint diff ~/run/{name} $RUNS/x"));
    let inspected = with("data inspect ~/music --json").json();
    assert_eq!(inspected["pieces"], 1);
}

#[test]
#[ignore = "slow"]
fn threads_are_read_as_openmp_writes_them_and_are_no_more_than_cores() {
    let place = Place::with_tiny();
    let train = |threads: &str| {
        let mut command = place.alone("train tiny.toml --set train.max_steps=5 --resume never");
        ended(command.env("OMP_NUM_THREADS", threads))
    };
    let mut said = Transcript::default();
    for threads in ["0", "abc", "-1", "2,x", "1.5"] {
        // libgomp has lines of its own about some of them.
        let refused = train(threads).with_code(2);
        assert!(
            refused.error().starts_with(&format!("OMP_NUM_THREADS is {threads:?}")),
            "{}",
            refused.stderr
        );
        said.messages(&format!("OMP_NUM_THREADS={threads} bachdist train tiny.toml"), &refused);
        let refused = ended(place.command(sample()).env("OMP_NUM_THREADS", threads)).with_code(2);
        assert!(refused.error().starts_with("OMP_NUM_THREADS is "), "{}", refused.stderr);
    }
    said.check("threads-refused");
    let is_noted = |ended: &Ended| ended.notes().iter().any(|note| note.starts_with("OMP_NUM_THREADS "));
    for threads in ["1", "1,2", " 1 ,1"] {
        let ended = train(threads).ok();
        assert!(ended.stdout.contains("with 1 thread "), "{threads}: {}", ended.stdout);
        assert!(!is_noted(&ended), "{}", ended.stderr);
    }
    for threads in ["", "99999", "99999999999999999999999", "4000,2"] {
        let ended = train(threads).ok();
        let cores = std::thread::available_parallelism().expect("Linux").get().min(8);
        assert!(ended.stdout.contains(&format!("with {cores} thread")), "{threads}: {}", ended.stdout);
        assert_eq!(is_noted(&ended), !threads.is_empty(), "{}", ended.stderr);
    }
    assert_eq!(place.checkpoints("run").len(), 1, "the same bits on any number of threads");
}

#[test]
fn many_threads_asked_for_are_not_started() {
    let place = Place::with_tiny();
    let mut command = place.alone("train tiny.toml --set train.lanes=1024 --set train.batch_size=1024");
    command.env("OMP_NUM_THREADS", "99999").env("BACHDIST_FAULT", "step#2=stop");
    let running = Running::start(&mut command);
    let status = || std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
    wait_until("a halted process", || status().contains("State:\tT"));
    let threads =
        status().lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse::<usize>().ok());
    let cores = std::thread::available_parallelism().expect("Linux").get();
    // Those of a step, of libtorch and OpenMP, of saving and of signals.
    assert!(threads.is_some_and(|threads| threads <= 4 * cores + 8), "{threads:?} threads on {cores} cores");
    running.signal("KILL");
    running.end();
}

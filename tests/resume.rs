//! A run goes on where it stood, to the same bits as one that never stopped; or says why it cannot.

use std::fs;

use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::corpus::windows::Windows;
use bachdist_portable::schedule::WindowAudit;

use bachdist_test_support::harness::{Place, Running, bachdist, melody, trained, trained_copy};
use bachdist_test_support::snapshot::Transcript;
use bachdist_test_support::tools::project;

/// The whole of `TINY` is 12 steps, four an epoch.
const LAST: u64 = 12;

/// The checkpoints of a whole run that never stopped, with one after every step.
fn uninterrupted(place: &Place) -> Vec<String> {
    place.bachdist("train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.url=whole").ok();
    place.checkpoints("whole")
}

fn assert_same_end(place: &Place, folder: &str, whole: &[String]) {
    let name = place.checkpoints(folder).pop().expect("a checkpoint");
    assert_eq!(Some(&name), whole.last(), "{folder}");
    assert_eq!(place.read(&format!("{folder}/{name}")), place.read(&format!("whole/{name}")));
}

/// One line for each step, in order, whatever happened in between.
fn assert_every_step_once(place: &Place, folder: &str) {
    assert_eq!(place.recorded_steps(folder), (1..=LAST).collect::<Vec<_>>());
    let text = place.read(&format!("{folder}/metrics.jsonl"));
    assert_eq!(text.last(), Some(&b'\n'), "a torn line");
}

#[test]
#[ignore = "needs mpi"]
fn a_run_stopped_inside_an_epoch_ends_as_if_it_had_not() {
    let place = Place::with_tiny();
    let whole = uninterrupted(&place);
    // Other options of the attempt must not matter: when it saves, and on how many ranks it runs.
    for (folder, steps, first, second) in [("a", 6, 1, 1), ("b", 7, 1, 3), ("c", 3, 4, 1), ("d", 6, 2, 5)] {
        let run = format!("train tiny.toml --set checkpoint.url={folder}");
        let Some(ended) = place.on_ranks(first, &format!("{run} --set train.max_steps={steps}")) else {
            return;
        };
        ended.ok();
        assert_eq!(place.stopped_at(folder), (steps, "done".into()));
        let name = place.checkpoints("whole")[steps as usize - 1].clone();
        let Some(ended) = place.on_ranks(second, &run) else { return };
        let printed = ended.ok().stdout;
        assert!(printed.lines().any(|line| line == format!("  {folder}/{name}")), "{printed}");
        assert_eq!(place.resumed_after(folder), [steps]);
        assert_same_end(&place, folder, &whole);
        assert_every_step_once(&place, folder);
    }
}

#[test]
#[ignore = "needs mpi"]
fn on_four_ranks_then_on_one_then_on_eight() {
    let place = Place::with_tiny();
    let whole = uninterrupted(&place);
    for (ranks, steps) in [(4, 3), (1, 7), (8, LAST)] {
        let Some(ended) = place.on_ranks(ranks, &format!("train tiny.toml --set train.max_steps={steps}"))
        else {
            return;
        };
        ended.ok();
    }
    assert_same_end(&place, "run", &whole);
    assert_every_step_once(&place, "run");
    place.bachdist("checkpoint verify run").ok();
}

#[test]
fn a_resumed_epoch_has_the_figures_of_the_whole_epoch() {
    let place = Place::with_tiny();
    uninterrupted(&place);
    place.bachdist("train tiny.toml --set train.max_steps=6").ok();
    place.bachdist("train tiny.toml").ok();
    let epochs = |folder: &str| -> Vec<String> {
        let lines = place.metrics(folder).into_iter().filter(|line| line["kind"] == "epoch");
        lines.map(|line| line.to_string()).collect()
    };
    assert_eq!(epochs("run").len(), 3);
    assert_eq!(epochs("run"), epochs("whole"));
}

#[test]
fn more_epochs_continue_a_run_and_an_ended_run_stays_as_it_is() {
    let place = Place::with_tiny();
    let whole = uninterrupted(&place);
    place.bachdist("train tiny.toml --set train.epochs=1").ok();
    let before = place.checkpoints("run");
    place.bachdist("train tiny.toml --set train.epochs=1").ok();
    assert_eq!(place.stopped_at("run"), (4, "done".into()));
    assert_eq!(place.checkpoints("run"), before);
    place.bachdist("train tiny.toml --set train.epochs=3").ok();
    assert_same_end(&place, "run", &whole);
}

#[test]
fn a_run_resumes_from_a_checkpoint_elsewhere() {
    let place = trained_copy();
    let name = trained().checkpoints("run").remove(0);
    let there = format!("run/{name}");
    place.bachdist(&format!("train tiny.toml --set checkpoint.url=new --resume {there}")).ok();
    assert_eq!(place.checkpoints("new"), trained().checkpoints("run")[1..]);
    assert_eq!(place.recorded_steps("new"), (6..=LAST).collect::<Vec<_>>());
}

#[test]
fn resume_never_starts_at_step_0() {
    let place = trained_copy();
    place.bachdist("train tiny.toml --resume never").ok();
    assert_eq!(place.resumed_after("run"), [0; 0]);
    assert_eq!(place.checkpoints("run"), trained().checkpoints("run"));
    assert_every_step_once(&place, "run");
    let kinds: Vec<_> = place.metrics("run").iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "run").count(), 1);
    assert_eq!(place.metrics("run")[0]["attempt"], 2);
}

#[test]
fn metrics_are_cut_back_to_the_step_of_the_checkpoint() {
    let place = trained_copy();
    // As if the run had been killed while it wrote a line, and only its first checkpoint had been safe.
    for name in &place.checkpoints("run")[1..] {
        fs::remove_file(place.path("run").join(name)).expect("a checkpoint");
    }
    let text = String::from_utf8(place.read("run/metrics.jsonl")).expect("text");
    place.write("run/metrics.jsonl", text + "{\"kind\":\"step\",\"st");
    place.bachdist("train tiny.toml").ok();
    assert_every_step_once(&place, "run");
    assert_eq!(place.checkpoints("run"), trained().checkpoints("run"));
    assert_eq!(place.resumed_after("run"), [5]);
    let lines = place.metrics("run").into_iter().filter(|line| line["kind"] == "checkpoint");
    assert_eq!(lines.map(|line| line["step"].as_u64().expect("a step")).collect::<Vec<_>>(), [5, 10, 12]);
    assert_eq!(place.stopped_at("run"), (12, "done".into()));
}

#[test]
fn another_identity_is_refused_by_its_keys() {
    let place = trained_copy();
    let mut said = Transcript::default();
    for resume in ["auto", "never"] {
        let run = "bachdist train tiny.toml --set model.units=19 --set train.seed=4 --resume";
        let ended = said.fails(&place, &format!("{run} {resume}"), 2, "model.units ");
        assert!(
            ended.error().contains("train.seed ") && !ended.error().contains("train.epochs"),
            "{ended:?}"
        );
    }
    said.check("resume-another-identity");
    assert_eq!(place.checkpoints("run"), trained().checkpoints("run"));
}

#[test]
#[ignore = "needs mpi"]
fn other_music_is_refused() {
    let place = trained_copy();
    place.write("music/other.mid", melody(60, 7));
    let mut said = Transcript::default();
    let alone = said.fails(&place, "bachdist train tiny.toml --set data.midi=music", 3, "run");
    said.check("resume-other-music");
    if let Some(ended) = place.on_ranks(2, "train tiny.toml --set data.midi=music") {
        let ended = ended.with_code(3);
        assert!(ended.error().ends_with(alone.error()), "{}", ended.stderr);
    }
}

#[test]
fn a_damaged_newest_checkpoint_is_passed_over() {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    damage(&place, &newest);
    let mut said = Transcript::default();
    let ended = said.ok(&place, "bachdist train tiny.toml");
    let notes = ended.notes();
    assert!(notes.len() == 1 && notes[0].contains(&newest), "{notes:?}");
    said.check("resume-damaged-newest");
    assert_eq!(place.resumed_after("run"), [10]);
    // The same step has the same bytes, so it heals.
    assert_eq!(place.checkpoints("run"), trained().checkpoints("run"));
    assert_eq!(place.read(&format!("run/{newest}")), trained().read(&format!("run/{newest}")));
    assert_every_step_once(&place, "run");
}

#[test]
fn a_window_read_twice_and_another_skipped_are_noticed() {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    let mut checkpoint = Checkpoint::decode(&place.read(&format!("run/{newest}"))).unwrap();
    assert_eq!(Some(checkpoint.audit), checkpoint.expected_windows().unwrap());
    // As a run would have it that took the second window of the music for the first.
    let pieces = checkpoint.corpus.pieces.clone();
    let windows = Windows::new(&pieces, checkpoint.config().unwrap().data.sequence_length);
    let digest = |number: u64| {
        let mut audit = WindowAudit::default();
        audit.record(0, &windows.get(number));
        audit.digest
    };
    checkpoint.audit.digest = checkpoint.audit.digest.wrapping_sub(digest(0)).wrapping_add(digest(1));
    let bytes = checkpoint.encode();
    fs::remove_file(place.path(&format!("run/{newest}"))).unwrap();
    place.write(&format!("run/{}", CheckpointName::of(checkpoint.step, &bytes)), bytes);
    let verified = place.bachdist("checkpoint verify run --json").with_code(4).json();
    let ok: Vec<bool> = (0..3).map(|i| verified[i]["ok"] == true).collect();
    assert_eq!(ok, [true, true, false], "{verified}");
    let mut said = Transcript::default();
    said.fails(&place, "bachdist checkpoint verify run", 4, "1");
    said.check("checkpoint-verify-other-windows");
}

/// Flips a bit in the middle of a checkpoint.
fn damage(place: &Place, name: &str) {
    let mut bytes = place.read(&format!("run/{name}"));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.write(&format!("run/{name}"), bytes);
}

#[test]
fn a_damaged_checkpoint_does_not_count_among_those_kept() {
    let place = trained_copy();
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    damage(&place, &newest);
    let one_more = "--set checkpoint.every_steps=1 --set checkpoint.keep=1 --set train.max_steps=11";
    place.bachdist(&format!("train tiny.toml {one_more}")).ok();
    let left = place.checkpoints("run");
    assert!(left.len() == 2 && left[0].starts_with("step-00000011-") && left[1] == newest, "{left:?}");
}

#[test]
fn what_was_just_saved_is_kept_although_later_steps_are_there() {
    let place = trained_copy();
    let ahead = place.checkpoints("run").pop().expect("a checkpoint");
    let anew = "--resume never --set train.max_steps=3 --set checkpoint.keep=1";
    place.bachdist(&format!("train tiny.toml {anew}")).ok();
    let left = place.checkpoints("run");
    assert!(left[0].starts_with("step-00000003-") && left.contains(&ahead), "{left:?}");
}

#[test]
fn a_run_whose_checkpoints_are_all_damaged_restarts_only_when_asked() {
    let place = trained_copy();
    let names = place.checkpoints("run");
    for name in &names {
        damage(&place, name);
    }
    let mut said = Transcript::default();
    let ended = said.fails(&place, "bachdist train tiny.toml", 4, "--resume never");
    assert!(names.iter().all(|name| ended.error().contains(name)), "{}", ended.stderr);
    said.check("resume-all-damaged");
    place.bachdist("train tiny.toml --resume never").ok();
    assert_eq!(place.checkpoints("run"), trained().checkpoints("run"));
}

#[test]
fn as_many_checkpoints_are_kept_as_asked_for() {
    let place = Place::with_tiny();
    let steps = |folder: &str| -> Vec<String> {
        place.checkpoints(folder).iter().map(|name| name[11..13].to_owned()).collect()
    };
    place.bachdist("train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.keep=2").ok();
    assert_eq!(steps("run"), ["11", "12"]);
    let options =
        "--set checkpoint.every_steps=1 --set checkpoint.keep=1 --set checkpoint.keep_every_steps=5";
    place.write("run2/step-by-step.txt", "not a checkpoint");
    place.bachdist(&format!("train tiny.toml --set checkpoint.url=run2 {options}")).ok();
    let mut kept = steps("run2");
    kept.retain(|step| step.parse::<u64>().is_ok());
    assert_eq!(kept, ["05", "10", "12"]);
    assert!(place.path("run2/step-by-step.txt").exists(), "it was not the run's to delete");
}

/// Stops the run that a command starts by a signal, and compares where it then goes on to with a run that never
/// stopped.
fn stop_and_go_on(place: &Place, mut command: std::process::Command, signal: &str) {
    let mut running = Running::start(&mut command);
    place.wait_for_a_step("run", &mut running);
    running.signal(signal);
    let ended = running.end().with_code(75);
    let (step, reason) = place.stopped_at("run");
    assert_eq!(reason, "signal");
    let line = ended.stdout.lines().last().expect("a line");
    assert!(line.contains(&format!(" {step};")), "{line}");
    let mut said = Transcript::default();
    said.line_without_numbers("signal", line);
    said.check("stopped-by-a-signal");
    let newest = place.checkpoints("run").pop().expect("a checkpoint");
    assert!(newest.starts_with(&format!("step-{step:08}-")), "{newest} is not of step {step}");

    let last = step + 3;
    let run = format!("train tiny.toml --set train.epochs=100000 --set train.max_steps={last}");
    place.bachdist(&run).ok();
    place.bachdist(&format!("{run} --set checkpoint.url=whole")).ok();
    assert_same_end(place, "run", &place.checkpoints("whole"));
    assert_eq!(place.recorded_steps("run"), (1..=last).collect::<Vec<_>>());
}

const LONG: &str = "train tiny.toml --set train.epochs=100000 --set checkpoint.every_steps=1000000";

#[test]
#[ignore = "needs mpi"]
fn usr1_to_mpirun_stops_all_ranks_after_a_checkpoint() {
    let place = Place::with_tiny();
    let Some(command) = place.launch(3, LONG) else { return };
    stop_and_go_on(&place, command, "USR1");
}

#[test]
#[ignore = "slow"]
fn any_stop_signal_stops_a_single_process() {
    for signal in ["USR1", "USR2", "INT", "TERM"] {
        let place = Place::with_tiny();
        let mut command = place.command(bachdist());
        command.args(LONG.split_whitespace());
        stop_and_go_on(&place, command, signal);
    }
}

#[test]
fn the_later_launch_wins() {
    let place = Place::with_tiny();
    let mut command = place.command(bachdist());
    let long = LONG.replace("every_steps=1000000", "every_steps=3");
    let mut running = Running::start(command.args(long.split_whitespace()));
    place.wait_for_a_step("run", &mut running);
    // What another launch would do first.
    place.write("run/attempt-000002", "");
    let ended = running.end().with_code(4);
    assert!(ended.error().contains("attempt 2 "), "{}", ended.stderr);
    let mut said = Transcript::default();
    said.line("a later launch", ended.error());
    said.check("replaced-by-a-launch-without-a-name");
}

#[test]
fn the_configuration_is_in_the_metrics() {
    let lines = trained().metrics("run");
    assert_eq!((&lines[0]["kind"], &lines[0]["ranks"]), (&"run".into(), &1.into()));
    assert_eq!(lines[0]["config"]["model"]["units"], 18);
    let number =
        |line: &serde_json::Value, key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key}: {line}"));
    for line in &lines {
        let fields: &[&str] = match line["kind"].as_str().expect("a kind") {
            "run" | "stop" => &["step"],
            "step" => &["step", "epoch", "loss", "accuracy", "windows_per_second"],
            "epoch" => &["epoch", "loss", "accuracy"],
            "checkpoint" => &["step", "bytes", "pause_seconds", "upload_seconds"],
            other => panic!("{other}"),
        };
        for key in fields {
            assert!(number(line, key) >= 0.0);
        }
    }
    let names: Vec<_> =
        lines.iter().filter(|line| line["kind"] == "checkpoint").map(|line| line["name"].clone()).collect();
    assert_eq!(names, trained().checkpoints("run"));
}

/// `tests/fixtures/format-1` is `TINY` after 5 steps, by the program that wrote format 1.
#[test]
fn a_run_of_format_1_is_read_sampled_and_resumed() {
    let place = Place::with_tiny();
    let fixture = project().join("tests/fixtures/format-1");
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap();
        place.write(&format!("run/{}", file.file_name().display()), fs::read(file.path()).unwrap());
    }
    let old = place.checkpoints("run").pop().expect("a checkpoint");
    assert_eq!(place.bachdist("checkpoint verify run --json").ok().json()[0]["ok"], true);
    // Its attempt names the run by a digest of that time.
    let composed = place.bachdist("sample run --seed 1 --notes 20 --json").ok().json();
    assert!(composed["checkpoint"].as_str().unwrap().ends_with(&old), "{composed}");
    assert_eq!(composed["pieces"][0]["classes"].as_array().map(Vec::len), Some(20));
    let resumed = place.bachdist("train tiny.toml").ok();
    assert_eq!(place.recorded_steps("run"), (6..=LAST).collect::<Vec<_>>(), "{}", resumed.stderr);
    assert_same_end(&place, "run", &uninterrupted(&place));
}

//! Signals that ask a run to stop: to one rank or to mpirun, in every phase. What comes out is what was promised, what
//! was saved is whole, and the run goes on to the bits of one that never stopped.
//!
//! Not every signal in every place: all four are one flag in a rank, so each phase and each receiver is there with
//! some of them, and each of them with some phase and receiver. What passes through mpirun is done under Open MPI 4
//! and 5. `resume` has signals at moments that nobody chose.

use bachdist_test_support::tools::{need, on_path};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, thread};

use bachdist_test_support::harness::{
    OpenMpi, Place, Running, bachdist, ended, open_mpi, open_mpi_5, wait_until,
};

/// A hundred steps, a save every ten and of the best, 25 validations: enough to be stopped in the middle of.
const RUN: &str = "train tiny.toml --set train.epochs=25 --set checkpoint.every_steps=10";

/// The checkpoints and validations of the run that never stopped.
fn whole() -> &'static (Vec<String>, Vec<serde_json::Value>) {
    static WHOLE: OnceLock<(Vec<String>, Vec<serde_json::Value>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let place = Place::with_holdout();
        place.bachdist(RUN).ok();
        (place.checkpoints("run"), validations(&place))
    })
}

fn validations(place: &Place) -> Vec<serde_json::Value> {
    place.metrics("run").into_iter().filter(|line| line["kind"] == "validation").collect()
}

/// Stops a run on three ranks by each of these faults, and resumes it on two.
fn stop_and_resume(open_mpi: &OpenMpi, faults: &[&str], code: i32) {
    for fault in faults {
        stop_at(open_mpi, fault, code);
    }
}

fn stop_at(open_mpi: &OpenMpi, fault: &str, code: i32) {
    let place = Place::with_holdout();
    let mut launch = place.launch_under(open_mpi, 3, RUN);
    let stopped = ended(launch.env("BACHDIST_FAULT", fault));
    place.wait_until_deserted();
    for fault in fault.split(',') {
        assert!(
            stopped.stderr.contains(&format!("fault: {fault}")),
            "{fault} did not happen: {}",
            stopped.stderr
        );
    }
    assert_eq!(stopped.code, code, "{open_mpi:?}: {fault}: {}{}", stopped.stdout, stopped.stderr);
    let saved = place.checkpoints("run");
    if stopped.code == 75 {
        let (step, reason) = place.stopped_at("run");
        assert_eq!(reason, "signal", "{fault}");
        let newest = saved.last().expect("a checkpoint");
        assert!(
            newest.starts_with(&format!("step-{step:08}-")) && step < 100,
            "{fault}: {newest}, step {step}"
        );
    }
    if !saved.is_empty() {
        place.bachdist("checkpoint verify run").ok();
    }
    ended(&mut place.launch_under(open_mpi, 2, RUN)).ok();
    let (checkpoints, figures) = whole();
    assert_eq!(place.checkpoints("run").last(), checkpoints.last(), "{fault}");
    assert_eq!(place.recorded_steps("run"), (1..=100).collect::<Vec<_>>(), "{fault}");
    assert_eq!(validations(&place), *figures, "{fault}");
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_in_training_stops_all_ranks() {
    let Some(open_mpi) = open_mpi() else { return };
    let faults = ["step@1#30=usr1", "exchange@0#44=usr2", "exchanged@2#51=int", "loss@1#3=term"];
    stop_and_resume(&open_mpi, &faults, 75);
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_in_validation_stops_all_ranks() {
    let Some(open_mpi) = open_mpi() else { return };
    stop_and_resume(&open_mpi, &["validate@2#7=usr2", "validate@0#12=term"], 75);
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_during_a_save_stops_all_ranks() {
    let Some(open_mpi) = open_mpi() else { return };
    stop_and_resume(&open_mpi, &["upload@0#2=int", "uploaded@0#1=usr1", "copy@0#3=term"], 75);
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_before_the_first_step_stops_all_ranks() {
    let Some(open_mpi) = open_mpi() else { return };
    stop_and_resume(&open_mpi, &["start@0=int", "start@2=usr1", "claim@0=usr2"], 75);
}

#[test]
#[ignore = "needs mpi"]
fn repeated_signals_within_two_seconds_are_one_request() {
    let Some(open_mpi) = open_mpi() else { return };
    // The save that the first signal asks for comes after those of the steps before it.
    let saved = whole().0.iter().filter(|name| name.as_str() < "step-00000034").count();
    let last = format!("upload@0#{}", saved + 1);
    // However often and whatever, within two seconds it is one request.
    stop_and_resume(&open_mpi, &[&format!("step@0#34=term,{last}=usr1")], 75);
    stop_and_resume(&open_mpi, &["step@1#34=usr1,exchange@1#34=int,exchanged@1#34=term"], 75);
    stop_and_resume(&open_mpi, &[&format!("step@0#34=term,{last}=term")], 75);
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_after_two_seconds_ends_a_rank_that_cannot_stop() {
    let Some(open_mpi) = open_mpi() else { return };
    let place = Place::with_holdout();
    // Rank 0 waits for rank 1, which has halted, and for nothing else.
    let mut launch = place.launch_under(&open_mpi, 2, RUN);
    let run = Running::start(launch.env("BACHDIST_FAULT", "exchange@1#30=stop"));
    wait_until("a rank that waits", || place.recorded_steps("run").len() == 29);
    while place.processes().iter().any(|pid| is_bachdist(pid)) {
        for pid in place.processes().iter().filter(|pid| is_bachdist(pid)) {
            let _ = Command::new("kill").args(["-TERM", pid]).stderr(Stdio::null()).status();
        }
        thread::sleep(Duration::from_millis(50));
    }
    let ended = run.end();
    assert_eq!(ended.code, 128 + 15, "{}{}", ended.stdout, ended.stderr);
}

fn is_bachdist(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "bachdist")
}

/// A signal that arrives before the program does is taken when it listens, where the launcher holds it back.
#[test]
#[ignore = "needs mpi"]
fn a_signal_that_arrives_before_the_program_listens_is_taken() {
    const EARLY: &str = "kill -TERM $$; exec \"$@\"";
    let place = Place::with_holdout();
    let mut early = place.command("env");
    early.args(["--block-signal=TERM", "sh", "-c", EARLY, "sh"]).arg(bachdist()).args(RUN.split_whitespace());
    ended(&mut early).with_code(75);
    assert_eq!(place.recorded_steps("run"), [1]);
    let Some(mpirun) = need("mpi", on_path("mpirun")) else { return };
    let place = Place::with_holdout();
    let mut early = place.command(mpirun);
    early.args(["--oversubscribe", "-n", "2", "env", "--block-signal=TERM", "sh", "-c", EARLY, "sh"]);
    ended(early.arg(bachdist()).args(RUN.split_whitespace())).with_code(75);
    assert_eq!(place.checkpoints("run").len(), 1);
}

#[test]
#[ignore = "needs mpi"]
fn a_signal_after_the_last_step_changes_nothing() {
    let Some(open_mpi) = open_mpi() else { return };
    stop_and_resume(&open_mpi, &["close@1=usr1", "closed@0=int"], 0);
}

/// Through mpirun.
const TOLD: [&str; 4] = [
    "step@1#30=usr1-launcher",
    "validate@0#9=usr2-launcher",
    "upload@0#2=usr1-launcher",
    "start@1=usr2-launcher",
];

/// mpirun kills the ranks a second later, or a quarter of it, and ends with 1 whatever they say.
const CUT_SHORT: [&str; 4] = [
    "step@1#30=term-launcher",
    "validate@0#9=int-launcher",
    "upload@0#2=term-launcher",
    "start@0=int-launcher",
];

#[test]
#[ignore = "needs mpi"]
fn signals_to_mpirun_4_stop_all_ranks() {
    let Some(open_mpi) = open_mpi() else { return };
    stop_and_resume(&open_mpi, &TOLD, 75);
    stop_and_resume(&open_mpi, &["step@1#60=usr1-all"], 75);
    stop_and_resume(&open_mpi, &CUT_SHORT, 1);
}

#[test]
#[ignore = "needs mpi5"]
fn signals_to_mpirun_5_stop_all_ranks() {
    let Some(open_mpi) = open_mpi_5() else { return };
    stop_and_resume(&open_mpi, &TOLD, 75);
    stop_and_resume(&open_mpi, &["step@1#30=usr2", "step@1#60=usr1-all"], 75);
    stop_and_resume(&open_mpi, &CUT_SHORT, 1);
}

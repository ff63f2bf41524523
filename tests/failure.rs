//! One rank fails, and all end: with one line that says which, where, when and why, and nothing left behind.

use bachdist_test_support::harness::{Ended, Place, Running, bachdist, ended};
use bachdist_test_support::snapshot::Transcript;

const EVERY_STEP: &str =
    "train tiny.toml --set checkpoint.every_steps=1 --set train.collective_timeout_seconds=0.5";

/// A run on three ranks with a fault in it.
fn with_fault(place: &Place, fault: &str) -> Option<Ended> {
    let mut launch = place.launch(3, EVERY_STEP)?;
    let ended = ended(launch.env("BACHDIST_FAULT", fault));
    place.wait_until_deserted();
    assert!(ended.stderr.contains(&format!("fault: {fault}")), "it did not happen: {}", ended.stderr);
    Some(ended)
}

/// The same command, without the fault, goes on to the end of a run that never failed.
fn assert_goes_on(place: &Place) {
    place.on_ranks(2, EVERY_STEP).expect("mpirun").ok();
    place.bachdist(&format!("{EVERY_STEP} --set checkpoint.url=whole")).ok();
    assert_eq!(place.checkpoints("run"), place.checkpoints("whole"));
}

/// The one line of a run with a fault.
fn check_line(name: &str, fault: &str, ended: &Ended) {
    let mut said = Transcript::default();
    said.line(fault, ended.error());
    said.check(name);
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux").trim().to_owned()
}

#[test]
#[ignore = "needs mpi"]
fn a_panic_of_a_rank_ends_all() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "step@1#7=panic") else { return };
    let ended = ended.with_code(1);
    assert!(ended.error().starts_with(&format!("rank 1 on {}: step 7: ", host())), "{}", ended.stderr);
    let mut said = Transcript::default();
    // Without the place in the sources.
    let (before, after) = ended.error().split_once(" (src/").expect("a place");
    let (_, after) = after.split_once(')').expect("its end");
    said.line("step@1#7=panic", [before, " (<place>)", after].concat());
    said.check("rank-panics");
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn an_error_of_a_rank_ends_all() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "step@2#5=fail") else { return };
    let ended = ended.with_code(1);
    assert!(ended.error().starts_with(&format!("rank 2 on {}: step 5: ", host())), "{}", ended.stderr);
    check_line("rank-fails", "step@2#5=fail", &ended);
    assert_goes_on(&place);
}

/// libtorch's frames stay out of it.
#[cfg(feature = "torch")]
#[test]
#[ignore = "needs mpi"]
fn an_error_of_libtorch_is_one_line() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "device@1#3=fail") else { return };
    let ended = ended.with_code(1);
    assert!(
        ended.error().starts_with(&format!("rank 1 on {}: step 3: libtorch: ", host())),
        "{}",
        ended.stderr
    );
    check_line("rank-fails-in-libtorch", "device@1#3=fail", &ended);
    assert!(!ended.stderr.contains("frame #"), "{}", ended.stderr);
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn a_killed_rank_ends_all() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "exchange@1#4=kill") else { return };
    ended.with_code(137);
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn a_killed_launcher_ends_all_ranks() {
    let place = Place::with_tiny();
    let Some(mut launch) = place.launch(3, EVERY_STEP) else { return };
    let ended = Running::start(launch.env("BACHDIST_FAULT", "exchanged@1#4=kill-launcher")).end();
    assert_eq!(ended.code, -1, "a signal ended it: {}", ended.stderr);
    place.wait_until_deserted();
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn a_rank_that_hangs_is_named() {
    let mut said = Transcript::default();
    for (fault, phase, rank) in [
        ("step@1#7=stop", "step 7", 1),
        ("exchanged@2#3=stop", "step 4", 2),
        ("exchange@0#3=stop", "step 3", 0),
        ("start@1=stop", "start", 1),
    ] {
        let place = Place::with_tiny();
        let Some(ended) = with_fault(&place, fault) else { return };
        let ended = ended.with_code(5);
        let says = format!("{phase}: rank {rank} on {} ", host());
        assert!(ended.error().starts_with(&says), "{}", ended.stderr);
        said.line_without_numbers(fault, &ended.error().replace(&host(), "<host>"));
        assert_goes_on(&place);
    }
    said.check("rank-hangs");
}

#[test]
#[ignore = "needs mpi"]
fn a_device_that_one_host_lacks_is_refused_there() {
    let place = Place::with_tiny();
    let Some(mut launch) = place.launch(1, "train tiny.toml") else { return };
    launch.args([":", "-n", "1"]).arg(bachdist());
    launch.args(["train", "tiny.toml", "--set", "train.device=cuda:7"]);
    let ended = ended(&mut launch).with_code(2);
    let says = format!("rank 1 on {}: train.device: cuda:7: ", host());
    assert!(ended.error().starts_with(&says), "{}", ended.stderr);
    assert!(place.checkpoints("run").is_empty());
}

#[test]
#[ignore = "needs mpi"]
fn a_loss_that_is_no_number_names_lane_and_windows() {
    let place = Place::with_tiny();
    // Of three ranks the last owns lanes 6 and 7.
    let Some(ended) = with_fault(&place, "loss@2#4=fail") else { return };
    let error = ended.with_code(6).error().to_owned();
    let parts = ["step 4: ", " lane 6 ", "bwv1007-prelude.txt:", " step 3 "];
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    let mut said = Transcript::default();
    said.line("loss@2#4=fail", &error);
    said.check("loss-not-finite");
    let names = place.checkpoints("run");
    assert!(names.len() == 3 && names[2].starts_with("step-00000003-"), "{names:?}");
    assert_goes_on(&place);
}

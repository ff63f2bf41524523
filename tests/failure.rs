//! One rank fails, and all end: with one line that says which, where, when and why, and nothing left behind.

use bachdist_test_support::harness::{Ended, Place, Running, bachdist, ended};

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

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("Linux").trim().to_owned()
}

#[test]
#[ignore = "needs mpi"]
fn a_panic() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "step@1#7=panic") else { return };
    let ended = ended.with_code(1);
    let says = format!("rank 1 on {}: step 7: panicked: ", host());
    assert!(ended.error().starts_with(&says), "{}", ended.stderr);
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn an_error() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "step@2#5=fail") else { return };
    let says = format!("rank 2 on {}: step 5: injected failure", host());
    assert_eq!(ended.with_code(1).error(), says);
    assert_goes_on(&place);
}

/// libtorch's frames stay out of it.
#[cfg(feature = "torch")]
#[test]
#[ignore = "needs mpi"]
fn an_error_of_libtorch() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "device@1#3=fail") else { return };
    let ended = ended.with_code(1);
    let says = "step 3: libtorch: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)";
    assert_eq!(ended.error(), format!("rank 1 on {}: {says}", host()));
    assert!(!ended.stderr.contains("frame #"), "{}", ended.stderr);
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn a_kill() {
    let place = Place::with_tiny();
    let Some(ended) = with_fault(&place, "exchange@1#4=kill") else { return };
    ended.with_code(137);
    assert_goes_on(&place);
}

#[test]
#[ignore = "needs mpi"]
fn a_killed_launcher() {
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
    for (fault, phase, rank) in [
        ("step@1#7=stop", "step 7", 1),
        ("exchanged@2#3=stop", "step 4", 2),
        ("exchange@0#3=stop", "step 3", 0),
        ("start@1=stop", "start", 1),
    ] {
        let place = Place::with_tiny();
        let Some(ended) = with_fault(&place, fault) else { return };
        let ended = ended.with_code(5);
        let says = format!("{phase}: rank {rank} on {} has not reached this collective for ", host());
        assert!(ended.error().starts_with(&says), "{}", ended.stderr);
        assert_goes_on(&place);
    }
}

#[test]
#[ignore = "needs mpi"]
fn a_device_that_one_host_does_not_have() {
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
    assert!(
        error.starts_with("step 4: NaN or infinite loss in lane 6 (windows bwv1007-prelude.txt:"),
        "{error}"
    );
    assert!(error.contains("the weights of step 3 are unharmed"), "{error}");
    let names = place.checkpoints("run");
    assert!(names.len() == 3 && names[2].starts_with("step-00000003-"), "{names:?}");
    assert_goes_on(&place);
}

//! `replay` and `checkpoint diff`: whether a run's steps come out again, and what differs where they do not.

use std::fs;

use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::network::Role;
use serde_json::json;

use bachdist_test_support::harness::{Ended, Place, ended, trained, trained_copy};
use bachdist_test_support::s3::server;

/// The checkpoint of a step in a folder.
fn of_step(place: &Place, folder: &str, step: u64) -> String {
    let begins = format!("step-{step:08}-");
    let name = place.checkpoints(folder).into_iter().find(|name| name.starts_with(&begins));
    format!("{folder}/{}", name.expect("a checkpoint of that step"))
}

fn contents(place: &Place, folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place.path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
#[ignore = "needs mpi"]
fn steps_come_out_again_with_the_same_bits() {
    let place = trained_copy();
    let before = contents(&place, "run");
    let begin = of_step(&place, "run", 5);
    let said = |steps: &str, step: u64| {
        let file = of_step(&place, "run", step);
        format!("replayed steps {steps}: {}, the same bits\n", file.trim_start_matches("run/"))
    };
    // Inside an epoch, and over the end of one.
    assert_eq!(place.bachdist(&format!("replay {begin}")).ok().stdout, said("6 to 10", 10));
    let further = format!("replay {begin} --steps 7 --device cpu");
    assert_eq!(place.bachdist(&further).ok().stdout, said("6 to 12", 12));
    for ranks in [3, 8] {
        let Some(ended) = place.on_ranks(ranks, &further) else { return };
        assert_eq!(ended.ok().stdout, said("6 to 12", 12), "{ranks} ranks");
    }
    let json = place.bachdist(&format!("replay {begin} --json")).ok().json();
    assert_eq!((&json["equal"], &json["replayed"]["last"]), (&json!(true), &json!(10)));
    assert!(contents(&place, "run") == before, "something was written");
}

#[test]
fn a_state_that_was_not_saved_is_named() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml --set train.max_steps=8").ok();
    let whole = "train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.url=whole";
    place.bachdist(whole).ok();
    let ended = place.bachdist(&format!("replay {} --steps 2", of_step(&place, "run", 5))).with_code(4);
    let name = of_step(&place, "whole", 7);
    let expected = format!(
        "run holds no checkpoint of step 7; the replayed state has the name {}",
        name.trim_start_matches("whole/")
    );
    assert!(ended.error().starts_with(&expected), "{}", ended.stderr);

    let ended = place.bachdist("replay run").with_code(4);
    let expected = format!("{} is the last checkpoint there", of_step(&place, "run", 8));
    assert!(ended.error().starts_with(&expected), "{}", ended.stderr);
}

#[test]
#[ignore = "needs s3"]
fn from_a_bucket() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let url = "s3://bachdist/replay";
    let run = |arguments: &str| {
        let mut command = place.alone(arguments);
        ended(command.envs(server.variables(server.endpoint()))).ok()
    };
    run(&format!("train tiny.toml --set checkpoint.url={url} --set train.max_steps=7"));
    place.bachdist("train tiny.toml --set train.max_steps=7").ok();
    let begin = of_step(&place, "run", 5).replace("run/", &format!("{url}/"));
    assert!(run(&format!("replay {begin}")).stdout.starts_with("replayed steps 6 to 7: step-00000007-"));
    assert_eq!(run(&format!("checkpoint diff run {url}")).stdout, "equal bit by bit, after 7 steps\n");
}

/// Alters the checkpoint of a step, under the name that it then has.
fn alter(place: &Place, step: u64, change: impl FnOnce(&mut Checkpoint)) -> String {
    let file = of_step(place, "run", step);
    let mut checkpoint = Checkpoint::decode(&place.read(&file)).unwrap();
    fs::remove_file(place.path(&file)).unwrap();
    change(&mut checkpoint);
    let bytes = checkpoint.encode();
    let file = format!("run/{}", CheckpointName::of(step, &bytes));
    place.write(&file, bytes);
    file
}

fn assert_names_the_weight(ended: &Ended) {
    let line = "dense1.weight: 1 of 288 elements differ, by up to 5.0e-1 at [3, 7]";
    assert!(ended.error().ends_with(&format!(" differ: first in {line}")), "{}", ended.stderr);
}

#[test]
#[ignore = "needs mpi"]
fn a_planted_weight_is_named_with_its_place_and_amount() {
    let place = trained_copy();
    let altered = alter(&place, 10, |checkpoint| {
        let parameters = checkpoint.architecture.parameters();
        let weight = parameters.iter().find(|parameter| parameter.role == Role::DenseKernel).unwrap();
        assert_eq!(weight.shape, [16, 18]);
        let number = &mut checkpoint.parameters[weight.offset + 3 * 18 + 7];
        // Such that the difference is exact.
        *number = if *number < 0.0 { *number + 0.5 } else { *number - 0.5 };
    });
    let right = trained().path(&of_step(trained(), "run", 10)).display().to_string();

    let diff = place.bachdist(&format!("checkpoint diff {right} {altered}")).with_code(4);
    assert_names_the_weight(&diff);
    let rows: Vec<_> = diff.stdout.lines().filter(|line| line.contains("dense1.weight")).collect();
    assert!(rows.len() == 1 && rows[0].starts_with("dense1.weight         [16, 18] "), "{}", diff.stdout);

    let json = place.bachdist(&format!("checkpoint diff {right} {altered} --json")).with_code(4).json();
    assert_eq!(
        (&json["equal"], &json["steps"], &json["differences"]),
        (&json!(false), &json!([10, 10]), &json!([]))
    );
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), 1);
    let expected = json!({
        "name": "dense1.weight", "shape": [16, 18], "differing": 1, "at": [3, 7],
        "largest": tensors[0]["largest"], "values": tensors[0]["values"], "ulps": tensors[0]["ulps"],
    });
    assert_eq!(tensors[0], expected);
    let largest = tensors[0]["largest"].as_f64().unwrap();
    assert!((largest - 0.5).abs() < 1e-7, "{largest}");

    let begin = of_step(&place, "run", 5);
    assert_names_the_weight(&place.bachdist(&format!("replay {begin}")).with_code(4));
    let Some(on_ranks) = place.on_ranks(3, &format!("replay {begin}")) else { return };
    assert_names_the_weight(&on_ranks.with_code(4));
}

#[test]
fn checkpoints_of_other_runs_differ_in_what_they_say() {
    let place = Place::with_tiny();
    let once = "train tiny.toml --set train.max_steps=1";
    place.bachdist(once).ok();
    place
        .bachdist(&format!("{once} --set train.seed=2 --set model.layers=1 --set checkpoint.url=other"))
        .ok();
    let diff = place.bachdist("checkpoint diff run other").with_code(4);
    for line in [
        "model.layers is 2 in a and 1 in b",
        "train.seed is 1 in a and 2 in b",
        "the shape of lstm.weight_hh_l1 is [72,18] in a and absent in b",
    ] {
        assert!(diff.stdout.lines().any(|found| found == line), "no {line:?} in\n{}", diff.stdout);
    }
    assert!(diff.error().contains(" differ: first in lstm.weight_ih_l0: "), "{}", diff.stderr);
}

#[test]
fn a_run_that_read_a_window_twice_is_found_out() {
    let place = Place::with_tiny();
    // The second lane of step 6: eight lanes a step, all on one rank.
    ended(place.alone("train tiny.toml").env("BACHDIST_FAULT", "load@0#42=fail")).ok();
    let verified = place.bachdist("checkpoint verify run").with_code(4);
    let lines: Vec<_> = verified.stdout.lines().collect();
    assert!(lines[0].ends_with("  ok"), "{}", verified.stdout);
    assert!(lines[1..].iter().all(|line| line.contains("windows that are not")), "{}", verified.stdout);
    assert_eq!(lines.len(), 3);

    let replayed = place.bachdist(&format!("replay {}", of_step(&place, "run", 5))).with_code(4);
    assert!(replayed.error().contains(" differ: first in lstm.weight_ih_l0: "), "{}", replayed.stderr);
    assert!(replayed.stdout.contains("seen.digest is "), "{}", replayed.stdout);
    assert!(!replayed.stdout.contains("seen.windows"), "as many were read: {}", replayed.stdout);

    // Where every checkpoint came after it, there is none to replay from.
    let place = Place::with_tiny();
    ended(place.alone("train tiny.toml").env("BACHDIST_FAULT", "load@0#2=fail")).ok();
    let verified = place.bachdist("checkpoint verify run").with_code(4);
    assert!(verified.stdout.lines().all(|line| line.contains("windows that are not")), "{}", verified.stdout);
    let replayed = place.bachdist(&format!("replay {}", of_step(&place, "run", 5))).with_code(4);
    assert!(
        replayed.error().contains("was trained on other windows than its 5 steps"),
        "{}",
        replayed.stderr
    );
}

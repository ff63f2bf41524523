//! `replay` and `checkpoint diff`: whether a run's steps come out again, and what differs where they do not.

use std::fs;

use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::network::Role;
use serde_json::json;

use bachdist_test_support::harness::{Ended, Place, ended, trained, trained_copy};
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;

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
    let mut said = Transcript::default();
    // Inside an epoch, and over the end of one.
    for (options, first, last) in [("", 6, 10), ("--steps 7 --device cpu", 6, 12)] {
        let replay = format!("replay {begin} {options}");
        let alone = said.ok(&place, &format!("bachdist {replay}")).stdout;
        let name = of_step(&place, "run", last);
        assert!(alone.contains(name.trim_start_matches("run/")), "{alone}");
        let json = place.bachdist(&format!("{replay} --json")).ok().json();
        let replayed = &json["replayed"];
        let found = (&json["equal"], &replayed["first"], &replayed["last"]);
        assert_eq!(found, (&json!(true), &json!(first), &json!(last)), "{json}");
        for ranks in [3, 8] {
            let Some(ended) = place.on_ranks(ranks, &replay) else { return };
            assert_eq!(ended.ok().stdout, alone, "{ranks} ranks");
        }
    }
    said.check("replay");
    assert!(contents(&place, "run") == before, "something was written");
}

#[test]
fn a_state_that_was_not_saved_is_named() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml --set train.max_steps=8").ok();
    let whole = "train tiny.toml --set checkpoint.every_steps=1 --set checkpoint.url=whole";
    place.bachdist(whole).ok();
    let mut said = Transcript::default();
    let name = of_step(&place, "whole", 7);
    let replay = format!("bachdist replay {} --steps 2", of_step(&place, "run", 5));
    said.fails(&place, &replay, 4, name.trim_start_matches("whole/"));
    said.fails(&place, "bachdist replay run", 4, &of_step(&place, "run", 8));
    said.check("replay-without-a-checkpoint-to-compare");
}

#[test]
#[ignore = "needs s3"]
fn a_run_in_a_bucket_is_replayed_and_compared() {
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
    let replayed = run(&format!("replay {begin}"));
    let equal = run(&format!("checkpoint diff run {url}"));
    assert_eq!(run(&format!("checkpoint diff run {url} --json")).json()["equal"], true);
    let mut said = Transcript::default();
    said.messages("bachdist replay", &replayed);
    said.messages("bachdist checkpoint diff", &equal);
    said.check("replay-in-a-bucket");
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

/// The weight, its place, and by how much it differs.
fn assert_names_the_weight(ended: &Ended) {
    let error = ended.error();
    let parts = ["dense1.weight", " 288 ", "5.0e-1", "[3, 7]"];
    assert!(parts.iter().all(|part| error.contains(part)), "{}", ended.stderr);
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
    let mut said = Transcript::default();
    said.messages("bachdist checkpoint diff", &diff);

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
    let replayed = place.bachdist(&format!("replay {begin}")).with_code(4);
    assert_names_the_weight(&replayed);
    said.messages("bachdist replay", &replayed);
    said.check("one-weight-differs");
    let Some(on_ranks) = place.on_ranks(3, &format!("replay {begin}")) else { return };
    assert_names_the_weight(&on_ranks.with_code(4));
}

#[test]
fn checkpoints_of_other_runs_differ_in_their_configurations_and_shapes() {
    let place = Place::with_tiny();
    let once = "train tiny.toml --set train.max_steps=1";
    place.bachdist(once).ok();
    place
        .bachdist(&format!("{once} --set train.seed=2 --set model.layers=1 --set checkpoint.url=other"))
        .ok();
    let mut said = Transcript::default();
    let diff = said.fails(&place, "bachdist checkpoint diff run other", 4, "lstm.weight_ih_l0");
    for named in ["model.layers ", "train.seed ", "lstm.weight_hh_l1 "] {
        assert!(diff.stdout.contains(named), "no {named:?} in\n{}", diff.stdout);
    }
    said.check("checkpoint-diff-of-other-runs");
}

#[test]
fn a_run_that_read_a_window_twice_is_found_out() {
    let place = Place::with_tiny();
    // The second lane of step 6: eight lanes a step, all on one rank.
    ended(place.alone("train tiny.toml").env("BACHDIST_FAULT", "load@0#42=fail")).ok();
    let ok = |place: &Place| -> Vec<bool> {
        let verified = place.bachdist("checkpoint verify run --json").with_code(4).json();
        verified.as_array().unwrap().iter().map(|object| object["ok"] == true).collect()
    };
    assert_eq!(ok(&place), [true, false, false]);
    let mut said = Transcript::default();
    said.fails(&place, "bachdist checkpoint verify run", 4, "2");
    let replay = format!("bachdist replay {}", of_step(&place, "run", 5));
    let replayed = said.fails(&place, &replay, 4, "lstm.weight_ih_l0");
    // As many were read, but not the same.
    assert!(replayed.stdout.contains("seen.digest "), "{}", replayed.stdout);
    assert!(!replayed.stdout.contains("seen.windows"), "{}", replayed.stdout);

    // Where every checkpoint came after it, there is none to replay from.
    let place = Place::with_tiny();
    ended(place.alone("train tiny.toml").env("BACHDIST_FAULT", "load@0#2=fail")).ok();
    assert_eq!(ok(&place), [false; 3]);
    let first = of_step(&place, "run", 5);
    said.fails(&place, &format!("bachdist replay {first}"), 4, &first);
    said.check("a-window-read-twice");
}

//! Equal identity means equal checkpoint names: on any number of ranks and threads that lanes can share.
//!
//! A name holds the hash of all weights and of the optimizer's state, so one different bit shows.

use std::fs;
use std::path::Path;

#[cfg(feature = "torch")]
use bachdist_portable::checkpoint::Checkpoint;
use bachdist_test_support::harness::{Place, bachdist, ended, melody, open_mpi_5};
use bachdist_test_support::snapshot::Transcript;

/// A checkpoint after each of six steps, the fourth of which is ragged and ends an epoch.
const EVERY_STEP: &str = "train tiny.toml --set checkpoint.every_steps=1 --set train.max_steps=6";

/// The names that a run has with these options, on some ranks or without a launcher.
fn names(place: &Place, options: &str, threads: usize, ranks: Option<usize>) -> Option<Vec<String>> {
    let letters: String = options.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    let folder = format!("{letters}-{threads}-{}", ranks.unwrap_or(0));
    let arguments = format!("{EVERY_STEP} --set checkpoint.url={folder} {options}");
    let mut command = match ranks {
        Some(ranks) => place.launch(ranks, &arguments)?,
        None => place.alone(&arguments),
    };
    ended(command.env("OMP_NUM_THREADS", threads.to_string())).ok();
    let names = place.checkpoints(&folder);
    assert_eq!(names.len(), 6, "{names:?}");
    Some(names)
}

fn alone(place: &Place, options: &str) -> Vec<String> {
    names(place, options, 1, None).expect("it was run")
}

/// Names as they are on one rank, on each of these numbers of threads and ranks.
fn assert_equal_names(options: &str, threads_and_ranks: &[(usize, &[usize])]) {
    let place = Place::with_tiny();
    let expected = alone(&place, options);
    for &(threads, numbers) in threads_and_ranks {
        for &ranks in numbers {
            let Some(found) = names(&place, options, threads, Some(ranks)) else { return };
            assert_eq!(found, expected, "{ranks} ranks of {threads} threads, {options}");
        }
    }
}

#[test]
#[ignore = "needs mpi"]
fn equal_names_on_any_number_of_ranks_and_threads() {
    let numbers = &[1, 2, 3, 4, 5, 8];
    assert_equal_names("", &[(1, numbers), (2, numbers)]);
}

/// What rows carry from step to step is the same however lanes are shared, and a run that other ranks resume inside a piece
/// goes on as if it had not stopped.
#[test]
#[ignore = "needs mpi"]
fn equal_names_where_state_is_carried() {
    for backend in if cfg!(feature = "torch") { &["native", "torch"][..] } else { &["native"] } {
        let streams = &format!(
            "--set train.carry_state=true --set train.loss_positions=all --set train.window_length=4 \
            --set model.ensemble_size=2 --set train.transpose=3 --set train.backend={backend}"
        );
        assert_equal_names(streams, &[(1, &[1, 2, 3, 8]), (2, &[2, 5])]);

        let place = Place::with_tiny();
        let whole = alone(&place, streams);
        let resumed = format!("{EVERY_STEP} --set checkpoint.url=resumed {streams}");
        ended(&mut place.alone(&format!("{resumed} --set train.max_steps=2"))).ok();
        let Some(mut rest) = place.launch(3, &resumed) else { return };
        ended(&mut rest).ok();
        assert_eq!(place.checkpoints("resumed"), whole, "{backend}");
    }
}

/// The shape of every call to libtorch depends on batch and lanes alone.
#[cfg(feature = "torch")]
#[test]
#[ignore = "needs mpi"]
fn equal_names_on_any_number_of_ranks_by_libtorch() {
    assert_equal_names("--set train.backend=torch", &[(1, &[1, 2, 3, 8]), (2, &[2, 3])]);
}

/// A checkpoint of one backend is another run's for the other.
#[cfg(feature = "torch")]
#[test]
fn a_checkpoint_of_the_other_backend_is_refused() {
    let place = Place::with_tiny();
    place.bachdist(&format!("{EVERY_STEP} --set checkpoint.url=native")).ok();
    let other = format!("{EVERY_STEP} --set checkpoint.url=native --set train.backend=torch");
    let mut said = Transcript::default();
    let refused = said.fails(&place, &format!("bachdist {other}"), 2, "train.backend ");
    assert!(refused.error().contains("--change-backend"), "{}", refused.stderr);
    let other_seed = format!("bachdist {other} --set train.seed=4 --change-backend");
    said.fails(&place, &other_seed, 2, "train.seed");
    said.check("backend-of-another-run");
}

/// From the step of the change on it is a run of the new backend, which leaves the checkpoints of the old one alone.
#[cfg(feature = "torch")]
#[test]
fn a_run_changes_its_backend_when_asked() {
    let place = Place::with_tiny();
    let run =
        "train tiny.toml --set checkpoint.url=run --set checkpoint.every_steps=1 --set checkpoint.keep=2";
    let torch = format!("{run} --set train.backend=torch");
    let state = |name: &str| Checkpoint::decode(&place.read(&format!("run/{name}"))).unwrap();
    place.bachdist(&format!("{run} --set train.max_steps=3")).ok();
    let native = place.checkpoints("run");

    // Nothing is left to train, so the change is all that happens.
    let mut said = Transcript::default();
    let changed = said.ok(&place, &format!("bachdist {torch} --set train.max_steps=3 --change-backend"));
    assert!(changed.notes().iter().any(|note| note.contains("torch")), "{changed:?}");
    let names = place.checkpoints("run");
    let new: Vec<&String> = names.iter().filter(|name| !native.contains(name)).collect();
    let [new] = new[..] else { panic!("{names:?}") };
    let (before, after) = (state(&native[1]), state(new));
    assert_eq!((before.step, after.step), (3, 3));
    assert_ne!(before.identity, after.identity);
    assert!(before.parameters == after.parameters && before.mean_square == after.mean_square);

    // Unasked from now on. Only checkpoints of the new backend are counted and deleted.
    place.bachdist(&torch).ok();
    assert_eq!(place.resumed_after("run").last(), Some(&3));
    let names = place.checkpoints("run");
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(native.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(names[2..].iter().all(|name| state(name).identity == after.identity));
    assert_eq!(place.recorded_steps("run"), (1..=12).collect::<Vec<_>>());
    place.bachdist("checkpoint verify run").ok();

    // As a run of the old backend it would fork at its older checkpoint.
    let refused = said.fails(&place, &format!("bachdist {run}"), 2, &names[3]);
    let error = refused.error();
    assert!(error.contains("train.backend ") && error.contains("--change-backend"), "{error}");
    said.check("backend-changed");
    assert_eq!(place.checkpoints("run"), names);
}

#[test]
#[ignore = "needs mpi, mpi5"]
fn equal_names_under_open_mpi_5() {
    let Some(open_mpi) = open_mpi_5() else { return };
    let place = Place::with_tiny();
    let expected = alone(&place, "");
    for ranks in [2, 3] {
        let folder = format!("{ranks}-ranks");
        let run = format!("{EVERY_STEP} --set checkpoint.url={folder}");
        ended(&mut place.launch_under(&open_mpi, ranks, &run)).ok();
        assert_eq!(place.checkpoints(&folder), expected, "{folder}");
    }
}

#[test]
#[ignore = "needs mpi"]
fn equal_names_where_most_lanes_of_the_ragged_batch_are_empty() {
    // 115 windows: three batches of 37 and one of 4, which one lane takes alone.
    assert_equal_names("--set data.max_notes=123", &[(1, &[3, 8])]);
}

#[test]
#[ignore = "needs mpi"]
fn equal_names_with_batches_smaller_than_the_lanes() {
    assert_equal_names("--set train.batch_size=3 --set train.lanes=4", &[(1, &[4])]);
    assert_equal_names("--set train.batch_size=1", &[(1, &[3, 8]), (2, &[1, 2])]);
}

/// Neither a power of two nor a multiple of what a processor takes at a time.
#[test]
#[ignore = "needs mpi"]
fn equal_names_of_networks_of_other_widths() {
    let options = "--set model.units=100 --set model.dense=37 --set model.layers=3";
    assert_equal_names(options, &[(1, &[2, 3, 8]), (2, &[1, 2, 5])]);
}

/// Everything that a configuration can add to the article's step.
const EVERYTHING: [&str; 9] = [
    "--set train.loss_positions=all",
    "--set train.transpose=5",
    "--set representation.intervals=true",
    "--set model.weight_drop=0.4",
    "--set model.input_dropout=0.2",
    "--set model.ensemble_size=2",
    "--set optimizer.clip_norm=0.1",
    "--set optimizer.warmup_steps=3",
    "--set optimizer.decay_steps=9",
];

#[test]
#[ignore = "needs mpi"]
fn equal_names_with_everything_that_a_step_can_have() {
    let options = format!("{} --set train.window_length=12", EVERYTHING.join(" "));
    assert_equal_names(&options, &[(1, &[1, 2, 3, 5, 8]), (2, &[1, 2, 3])]);
}

#[test]
#[ignore = "needs mpi"]
fn each_option_of_a_step_changes_the_weights() {
    let place = Place::with_tiny();
    let plain = alone(&place, "");
    for option in EVERYTHING {
        assert_ne!(alone(&place, option)[0], plain[0], "{option}");
    }
}

/// Each number of lanes is a run of its own, with one name on all numbers of ranks up to it.
#[test]
#[ignore = "needs mpi"]
fn equal_names_for_any_number_of_lanes() {
    for (lanes, numbers) in [(1, &[1][..]), (2, &[2]), (4, &[2, 3, 4]), (16, &[2, 7, 16])] {
        assert_equal_names(&format!("--set train.lanes={lanes}"), &[(1, numbers), (2, &numbers[..1])]);
    }
}

/// Large products take other paths through libtorch than small ones.
#[test]
#[ignore = "needs mpi; slow"]
fn equal_names_of_the_articles_network() {
    let place = Place::new();
    place.write("cello.toml", include_str!("../configs/cello.toml"));
    let run = |folder: &str| {
        format!(
            "train cello.toml --set data.midi=embedded --set train.max_steps=2 --set checkpoint.url={folder}"
        )
    };
    ended(place.alone(&run("alone")).env("OMP_NUM_THREADS", "2")).ok();
    for ranks in [2, 8] {
        let folder = format!("{ranks}-ranks");
        let Some(ended) = place.on_ranks(ranks, &run(&folder)) else { return };
        ended.ok();
        assert_eq!(place.checkpoints(&folder), place.checkpoints("alone"), "{folder}");
    }
}

#[test]
#[ignore = "needs mpi"]
fn another_seed_gives_other_names() {
    let place = Place::with_tiny();
    let (one, two) = (alone(&place, ""), alone(&place, "--set train.seed=2"));
    assert!(one.iter().zip(&two).all(|(a, b)| a != b), "{one:?} {two:?}");
}

#[test]
fn place_and_length_of_a_run_are_not_in_the_names() {
    let place = Place::with_tiny();
    place.write("moved/other.toml", bachdist_test_support::harness::TINY.replace("epochs = 3", "epochs = 2"));
    place.bachdist("train tiny.toml --set checkpoint.url=a --set train.max_steps=3").ok();
    place.bachdist("train moved/other.toml --set checkpoint.url=b --set checkpoint.every_steps=3").ok();
    assert_eq!(place.checkpoints("a")[0], place.checkpoints("b")[0]);
}

#[test]
#[ignore = "needs mpi"]
fn more_ranks_than_lanes_is_one_line() {
    let place = Place::with_tiny();
    let Some(ended) = place.on_ranks(3, "train tiny.toml --set train.lanes=2") else { return };
    let ended = ended.with_code(2);
    assert!(ended.error().starts_with("3 ranks "), "{}", ended.stderr);
    let mut said = Transcript::default();
    said.messages("mpirun -n 3 bachdist train tiny.toml --set train.lanes=2", &ended);
    said.check("more-ranks-than-lanes");
    assert!(place.checkpoints("run").is_empty());
}

#[test]
#[ignore = "needs mpi"]
fn ranks_with_other_music_are_found_before_the_first_step() {
    let place = Place::with_tiny();
    place.write("other.mid", melody(60, 7));
    let Some(mut launch) = place.launch(1, "train tiny.toml") else { return };
    let other = ["train", "tiny.toml", "--set", "data.midi=other.mid"];
    launch.args([":", "-n", "1"]).arg(bachdist()).args(other);
    let ended = ended(&mut launch).with_code(3);
    assert!(ended.error().starts_with("rank 1 on "), "{}", ended.stderr);
    let mut said = Transcript::default();
    said.messages(
        "mpirun -n 1 bachdist train tiny.toml : -n 1 bachdist train ... data.midi=other.mid",
        &ended,
    );
    said.check("ranks-with-other-music");
    assert!(place.checkpoints("run").is_empty());
}

#[test]
#[ignore = "needs mpi"]
fn what_is_wrong_everywhere_is_said_once() {
    let place = Place::with_tiny();
    for (command, code) in
        [("train tiny.toml --set train.epoch=2", 2), ("train tiny.toml --set data.midi=nowhere", 3)]
    {
        let alone = place.bachdist(command).with_code(code);
        let Some(ended) = place.on_ranks(3, command) else { return };
        assert_eq!(ended.with_code(code).error(), alone.error());
    }
    let alone = place.bachdist("trian tiny.toml").with_code(2).stderr;
    let Some(ended) = place.on_ranks(2, "trian tiny.toml") else { return };
    let ended = ended.with_code(2);
    assert_eq!(ended.stderr.matches(alone.trim_end()).count(), 1, "{}", ended.stderr);
}

#[test]
#[ignore = "needs mpi"]
fn a_loss_that_is_not_finite_ends_all_ranks() {
    let place = Place::with_tiny();
    let run = "train tiny.toml --set optimizer.learning_rate=1e30 --set checkpoint.every_steps=1";
    let alone = place.bachdist(run).with_code(6);
    let mut said = Transcript::default();
    said.line(run, alone.error());
    said.check("training-diverges");
    let Some(ended) = place.on_ranks(3, &format!("{run} --set checkpoint.url=3-ranks")) else { return };
    assert_eq!(ended.with_code(6).error(), alone.error());
    assert_eq!(place.checkpoints("3-ranks"), place.checkpoints("run"));
}

#[test]
#[ignore = "slow"]
fn the_networks_inside_the_program_are_what_their_configs_train_on_any_processor() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["prelude", "voices"] {
        let (place, config) = (Place::new(), project.join(format!("configs/{name}.toml")));
        place.bachdist(&format!("train {} --set checkpoint.url=run", config.display())).ok();
        let checkpoint = place.checkpoints("run").pop().expect("a checkpoint");
        let inside = fs::read(project.join(format!("data/{name}.safetensors"))).expect("it is there");
        assert!(
            place.read(&format!("run/{checkpoint}")) == inside,
            "data/README.md says how to make {checkpoint} the one inside"
        );
    }
}

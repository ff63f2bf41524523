//! Whatever happens to stored checkpoints: it is detected and named, recovery takes the newest good one of the
//! run, and verify says which are bad and why.

use crate::scene::{Scene, checkpoint, config, origin, stored};
use bachdist_portable::checkpoint::identity::CheckpointFilter;
use bachdist_portable::checkpoint::read::{CheckpointProblem, ObjectVerdict, recover};
use bachdist_portable::checkpoint::{Checkpoint, CheckpointName};
use bachdist_portable::config::BackendChoice;
use bachdist_portable::failure::ExitCode;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::store::{RetryPolicy, Store};
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;
use std::fs;

/// Damage that is drawn by chance is drawn from this seed.
const SEED: u64 = 6;

fn memory() -> Store {
    Store::open("memory:").unwrap()
}

fn folder() -> (tempfile::TempDir, Store) {
    let temporary = tempfile::tempdir().unwrap();
    let store = Store::open(temporary.path().join("run").to_str().unwrap()).unwrap();
    (temporary, store)
}

/// So many places below a limit.
fn places(count: u64, below: usize) -> impl Iterator<Item = usize> {
    let stream = RandomStream::new(SEED, Purpose::Order, &[count]);
    (0..count).map(move |index| (stream.bits(index) % below as u64) as usize)
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[test]
fn a_bit_flipped_anywhere_is_noticed() {
    let scene = Scene::new(memory());
    let bytes = scene.bytes(2);
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    // Half of them in the header, which is a small part of the whole and says most about it.
    let bits = places(500, 8 * bytes.len()).chain(places(500, 8 * header));
    let mut kinds = std::collections::BTreeMap::new();
    for (number, bit) in bits.enumerate() {
        println!("seed {SEED}, number {number}: bit {bit} of {}", 8 * bytes.len());
        scene.put(scene.name(2), &flipped(&bytes, bit));
        let recovery = scene.recover();
        assert_eq!(recovery.newest.as_ref().map(|(name, _)| name), Some(scene.name(1)));
        let (name, problem) = &recovery.skipped[0];
        assert_eq!((name, recovery.skipped.len()), (scene.name(2), 1));
        use CheckpointProblem::{Damaged, NoHeader, Renamed, TooLong};
        let of_bytes = matches!(problem, Damaged | NoHeader { .. } | TooLong { .. } | Renamed(_));
        assert!(of_bytes, "{problem:?}");
        if number % 20 == 0 {
            scene.expect(&[(scene.name(2), problem.clone())], 1);
        }
        *kinds.entry(problem.to_string()).or_insert(0) += 1;
    }
    println!("bits flipped, and as what each was found: {kinds:?}");
}

#[test]
fn a_cut_anywhere_is_noticed_and_measured() {
    let scene = Scene::new(memory());
    let bytes = scene.bytes(2);
    let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    for length in places(98, bytes.len()).chain([0, 7, 8, header - 1, header, bytes.len() - 1]) {
        println!("seed {SEED}: {length} of {} bytes", bytes.len());
        scene.put(scene.name(2), &bytes[..length]);
        let has = length as u64;
        let problem = match length {
            0 => CheckpointProblem::Empty,
            _ if length < header => CheckpointProblem::NoHeader { has },
            _ => CheckpointProblem::CutShort { has, of: bytes.len() as u64 },
        };
        scene.expect(&[(scene.name(2), problem)], 1);
    }
}

/// One of each kind, on any store; it ends as it began.
fn damage_of_every_kind(scene: &Scene) {
    let [oldest, middle, newest] = [0, 1, 2].map(|index| scene.name(index));
    let bytes = scene.bytes(2);
    let of = bytes.len() as u64;
    let mut said = Transcript::default();
    let mut expect = |what: &str, bad: &[(&CheckpointName, CheckpointProblem)], newest: usize| {
        scene.expect(bad, newest);
        said.notes(what, &notes(scene));
    };

    let cut = [
        ("empty", vec![], CheckpointProblem::Empty),
        ("half", bytes[..bytes.len() / 2].to_vec(), CheckpointProblem::CutShort { has: of / 2, of }),
        ("a part of the header", bytes[..100].to_vec(), CheckpointProblem::NoHeader { has: 100 }),
        ("a flipped bit", flipped(&bytes, 4 * bytes.len()), CheckpointProblem::Damaged),
        ("more", [&bytes[..], b"more"].concat(), CheckpointProblem::TooLong { has: of + 4, of }),
    ];
    for (what, bytes, problem) in cut {
        scene.put(newest, &bytes);
        expect(what, &[(newest, problem)], 1);
    }

    scene.put(newest, &scene.bytes(1));
    scene.put(middle, &bytes);
    let exchanged = [(newest, CheckpointProblem::Renamed(4)), (middle, CheckpointProblem::Renamed(6))];
    expect("two that have each other's names", &exchanged, 0);
    scene.restore();

    let renamed = CheckpointName { step: 9, hash: newest.hash.clone() };
    scene.put(&renamed, &bytes);
    expect("the right hash under another step", &[(&renamed, CheckpointProblem::Step(6))], 2);
    scene.store.delete(&renamed.to_string()).unwrap();

    let other = CheckpointName::of(9, b"not a checkpoint");
    scene.put(&other, b"not a checkpoint");
    let problem = scene.recover().skipped[0].1.clone();
    assert!(matches!(problem, CheckpointProblem::Format(_)), "{problem:?}");
    expect("another format under its own hash", &[(&other, problem)], 2);
    scene.store.delete(&other.to_string()).unwrap();

    scene.put(middle, &[]);
    scene.put(newest, &bytes[..100]);
    let bad = [(middle, CheckpointProblem::Empty), (newest, CheckpointProblem::NoHeader { has: 100 })];
    expect("all but the oldest", &bad, 0);
    scene.put(oldest, &[]);
    let recovery = scene.recover();
    assert!(recovery.newest.is_none() && recovery.refusal(&scene.store).is_none());
    assert_eq!(recovery.skipped.len(), 3);
    scene.restore();

    another_runs_checkpoint(scene, &mut said);
    said.check("damaged-checkpoints");
}

/// The notes of recovery, which name the same places for every store.
fn notes(scene: &Scene) -> Vec<String> {
    let notes = scene.recover().notes(&scene.store);
    notes.iter().map(|note| note.replace(scene.store.url(), "<url>")).collect()
}

fn another_runs_checkpoint(scene: &Scene, said: &mut Transcript) {
    let (foreign, bytes) = stored(2, 8);
    scene.put(&foreign, &bytes);
    let recovery = scene.recover();
    assert_eq!(recovery.newest.as_ref().map(|(name, _)| name), Some(scene.name(2)));
    assert_eq!(recovery.refusal(&scene.store), None);
    let [(name, CheckpointProblem::Foreign(_))] = &recovery.skipped[..] else { panic!("{recovery:?}") };
    assert_eq!(name, &foreign);
    said.notes("another run's", &notes(scene));
    // Verify has no configuration, but an attempt that says whose prefix it is.
    let verdicts: Vec<_> = scene.verify().into_iter().map(|found| found.verdict).collect();
    let [ObjectVerdict::Valid, ObjectVerdict::Valid, ObjectVerdict::Valid, ObjectVerdict::Invalid(problem)] =
        &verdicts[..]
    else {
        panic!("{verdicts:?}")
    };
    said.line("another run's, to verify", problem);
    // So have those that only want the newest.
    let newest = |whose: &CheckpointFilter| recover(&scene.store, whose).unwrap().newest.unwrap().0;
    assert_eq!(&newest(&CheckpointFilter::last_attempted(&scene.store).unwrap()), scene.name(2));
    // An attempt of a version before says nothing, and then nobody knows.
    scene.store.put("attempt-000002", "").unwrap();
    assert_eq!(newest(&CheckpointFilter::last_attempted(&scene.store).unwrap()), foreign);
    assert!(scene.verify().iter().all(|found| found.verdict == ObjectVerdict::Valid));
    scene.store.delete("attempt-000002").unwrap();
    scene.store.delete(&foreign.to_string()).unwrap();
    scene.expect(&[], 2);
}

#[test]
fn every_kind_of_damage_is_noticed_in_memory() {
    damage_of_every_kind(&Scene::new(memory()));
}

#[test]
fn every_kind_of_damage_is_noticed_in_a_folder() {
    let (_temporary, store) = folder();
    damage_of_every_kind(&Scene::new(store));
}

#[test]
#[ignore = "needs s3"]
fn every_kind_of_damage_is_noticed_in_a_bucket() {
    let Some(server) = server() else { return };
    let variables = server.variables(server.endpoint());
    let store = Store::open_with("s3://bachdist/damage/kinds", RetryPolicy::default(), variables).unwrap();
    damage_of_every_kind(&Scene::new(store));
}

#[test]
fn newer_checkpoints_of_the_other_backend_are_refused() {
    let store = memory();
    let (name, bytes) = stored(1, 4);
    store.put(&name.to_string(), bytes).unwrap();
    let run = CheckpointFilter::Run(origin(1));
    let torch = |step| {
        let mut config = config(1);
        config.train.backend = BackendChoice::Torch;
        let bytes = Checkpoint { identity: config.identity(), ..checkpoint(1, step) }.encode();
        (CheckpointName::of(step, &bytes), bytes)
    };
    // An older one is what the run was before it changed to this backend.
    for (step, is_refused) in [(2, false), (6, true)] {
        let (name, bytes) = torch(step);
        store.put(&name.to_string(), bytes).unwrap();
        let refusal = recover(&store, &run).unwrap().refusal(&store);
        assert_eq!(refusal.as_ref().is_some_and(|it| it.message.contains(&name.to_string())), is_refused);
        assert!(
            refusal.is_none_or(|it| it.code == ExitCode::Usage && it.message.contains("--change-backend"))
        );
    }
}

#[test]
fn other_runs_alone_are_refused_by_their_keys() {
    let store = memory();
    for (seed, step) in [(2, 4), (3, 6)] {
        let (name, bytes) = stored(seed, step);
        store.put(&name.to_string(), bytes).unwrap();
    }
    let (damaged, bytes) = stored(1, 8);
    store.put(&damaged.to_string(), bytes[..1000].to_vec()).unwrap();
    let recovery = recover(&store, &CheckpointFilter::Run(origin(1))).unwrap();
    let refusal = recovery.refusal(&store).unwrap();
    // The newest of them.
    assert!(refusal.message.contains("step-00000006-"), "{refusal}");
    assert!(refusal.message.contains("train.seed ") && !refusal.message.contains("model."), "{refusal}");
    let mut said = Transcript::default();
    said.line("other runs' checkpoints alone", &refusal.message);
    said.check("only-other-runs-checkpoints");
}

#[test]
fn what_only_looks_like_a_checkpoint_is_named() {
    let (temporary, store) = folder();
    let scene = Scene::new(store);
    let path = |name: &str| temporary.path().join("run").join(name);
    let half = &scene.bytes(2)[..500];
    let aside = "step-00000008-0123456789abcdef.safetensors#1";
    fs::write(path(aside), half).unwrap();
    fs::write(path("step-00000008.safetensors"), half).unwrap();
    fs::write(path("step-by-step.txt"), "mine").unwrap();
    fs::write(path("notes.txt"), "mine").unwrap();
    assert!(scene.recover().skipped.is_empty());
    let verified = scene.verify();
    let found: Vec<_> = verified.iter().skip(3).map(|found| (found.name.as_str(), &found.verdict)).collect();
    let [
        (misnamed, ObjectVerdict::Invalid(a)),
        (text, ObjectVerdict::Note(b)),
        (half_written, ObjectVerdict::Note(c)),
    ] = found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!([misnamed, text, half_written], ["step-00000008.safetensors", "step-by-step.txt", aside]);
    let mut said = Transcript::default();
    for (name, verdict) in [(misnamed, a), (text, b), (half_written, c)] {
        said.line(name, verdict);
    }
    said.check("misnamed-checkpoints");
    assert_eq!(verified.last().map(|found| (found.step, found.bytes)), Some((None, 500)));
}

//! PyTorch loads a checkpoint in two lines.

use bachdist_test_support::tools::need;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bachdist_portable::checkpoint::{Checkpoint, TrainingCorpus};
use bachdist_portable::config::Config;
use bachdist_portable::corpus::Piece;
use bachdist_portable::network::batch::EpochSums;
use bachdist_portable::schedule::WindowAudit;

use serde_json::{Value, json};

use super::case::{self, Case};
use super::floats;
use super::peers::agree;

/// A checkpoint of a case's network, in a file.
fn save(case: &Case, path: &Path) {
    let architecture = case.architecture();
    let mut config = Config::default();
    (config.model.layers, config.model.units, config.model.dense) =
        (architecture.layers, architecture.units, architecture.dense);
    let checkpoint = Checkpoint {
        step: 3,
        identity: config.identity(),
        representation: config.representation,
        run_of_format_1: None,
        architecture,
        parameters: case.flat(""),
        mean_square: vec![0.5; architecture.len()],
        carried: Vec::new(),
        epoch: EpochSums::default(),
        audit: WindowAudit::default(),
        corpus: TrainingCorpus::new([Piece { name: "piece.mid".into(), tokens: vec![1, 2, 3] }].into()),
    };
    std::fs::write(path, checkpoint.encode()).unwrap();
}

/// Everything in PyTorch's state_dict is in a checkpoint, and nothing else looks as if it were.
#[test]
fn a_checkpoint_holds_pytorchs_state_dict() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    for name in ["one-layer", "stacked"] {
        let case = Case::open(name);
        save(&case, &path);
        let file = std::fs::read(&path).unwrap();
        let (length, rest) = file.split_first_chunk().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut saved: BTreeMap<String, Value> = serde_json::from_slice(header).unwrap();
        let own = |name: &str| name.starts_with("lstm.") || name.starts_with("dense");
        for (name, theirs) in case.0.iter().filter(|(name, _)| own(name)) {
            let ours = saved.remove(name).unwrap_or_else(|| panic!("no {name} in the checkpoint"));
            assert_eq!((&ours["dtype"], &ours["shape"]), (&json!("F32"), &json!(theirs.size())), "{name}");
            let [from, to] = [0, 1].map(|end| ours["data_offsets"][end].as_u64().unwrap() as usize);
            let ours = data[from..to].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            assert!(ours.eq(floats(theirs)), "{name}");
        }
        assert!(!saved.is_empty() && !saved.keys().any(|name| own(name)), "{saved:?}");
    }
}

/// The package itself, where there is one. It is large, so `launch/setup --tests` does not install it.
#[test]
#[ignore = "needs torch"]
fn pytorch_loads_a_checkpoint() {
    let Some(python) = need("torch", std::env::var_os("BACHDIST_TORCH_PYTHON")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let [checkpoint, output] = ["checkpoint", "output"].map(|name| folder.path().join(name));
    let case = Case::open("stacked");
    save(&case, &checkpoint);
    let script = case::folder().join("load.py");
    let status = Command::new(python)
        .arg("-B")
        .arg(script)
        .args([&checkpoint, &case::path("stacked"), &output])
        .status();
    assert!(status.unwrap().success());
    let theirs = Case::read(&output).floats("log_probabilities");
    agree("what PyTorch predicts from a checkpoint", &case.floats("log_probabilities"), &theirs);
}

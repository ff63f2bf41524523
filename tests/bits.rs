//! The weights of every configuration have the bits that they had: hashes that were recorded once, and that no change of
//! the code's shape may change. A change that is meant to change them says so in the changelog.
//!
//! Hashes are of weights and optimizer state, not of the corpus, whose tensor follows the checkpoint's format. They were
//! recorded with the program before format 2, whose hashes of all tensors were those that this test had then.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use bachdist_test_support::harness::Place;
use bachdist_test_support::tools::shared;

/// Each configuration, its music in the folder of shared data (`None`: its own), steps, and the first 16 digits of the hash of
/// its tensors after them.
const RECORDED: [(&str, Option<&str>, u64, &str); 8] = [
    ("quick", None, 40, "a6478adbcbf8a36f"),
    ("prelude", None, 40, "37b3e040d38b70d3"),
    ("cello", Some("data/cello"), 4, "a7eb5b58debfcdd3"),
    ("cello-best", Some("data/cello"), 4, "591b501d3f4dbb8c"),
    ("chorales", None, 4, "83411bb7e55e9366"),
    ("voices", None, 4, "51a083c466d0fcb1"),
    ("cello-notes", Some("data/cello"), 2, "776c2a1e8fbbbe95"),
    ("jsb-quarter", Some("data/jsb/jsb_quarter.json"), 2, "b98821c75c7c535c"),
];

#[test]
#[ignore = "needs shared; slow"]
fn weights_have_the_bits_that_were_recorded() {
    let place = Place::new();
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut found = Vec::new();
    for (name, music, steps, recorded) in RECORDED {
        let mut options = format!("--set train.max_steps={steps} --set checkpoint.url=runs/{name}");
        if let Some(music) = music {
            let Some(music) = shared(music) else { continue };
            options += &format!(" --set data.midi={}", music.display());
        }
        let config = configs.join(name).with_extension("toml");
        place.bachdist(&format!("train {} {options}", config.display())).ok();
        let folder = format!("runs/{name}");
        let last = place.checkpoints(&folder).pop().expect("a checkpoint");
        let hash = hash_of_tensors(&place.read(&format!("{folder}/{last}")));
        if hash != recorded {
            found.push(format!("{name} after {steps} steps: {hash}, recorded {recorded}"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Names, types, shapes and contents of a checkpoint's tensors but those of its corpus, in the order of their names.
fn hash_of_tensors(file: &[u8]) -> String {
    let (length, rest) = file.split_first_chunk().expect("a header's length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header).expect("a header");
    let mut hash = Sha256::new();
    let entries = header.as_object().expect("an object").iter();
    let tensors = entries.filter(|(name, _)| *name != "__metadata__" && !name.starts_with("corpus."));
    // A map of JSON is sorted by name.
    for (name, tensor) in tensors {
        let offset = |index: usize| tensor["data_offsets"][index].as_u64().expect("an offset") as usize;
        hash.update(format!("{name} {} {}\n", tensor["dtype"], tensor["shape"]));
        hash.update(&data[offset(0)..offset(1)]);
    }
    let digest = hash.finalize();
    digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

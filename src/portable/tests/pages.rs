//! The page of a piece, as a browser shows and plays it.

use std::fs;
use std::path::Path;
use std::process::Command;

use bachdist_portable::midi::{self, Instrument, Note, Song};
use bachdist_test_support::browser;
use serde_json::{Value, json};

/// What a browser finds on a piece's page.
fn look(folder: &Path, page: &str) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages/piece.js");
    browser::look(&folder.join(page), &script)
}

/// A piece's page and what `sample --json` says of it.
fn compose(folder: &Path, options: &str) -> Value {
    let mut sample = Command::new(env!("CARGO_BIN_EXE_sample"));
    let options = format!("--json --only midi,page {options}");
    let output = sample.current_dir(folder).args(options.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["pieces"][0].clone()
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_and_plays_a_piece() {
    for (options, copied) in
        [("--voices --seed 3 --beats 12", false), ("--seed 2 --greedy --start 432 --notes 60", true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let piece = compose(folder.path(), options);
        let page = piece["page"].as_str().unwrap();
        let Some(found) = look(folder.path(), page) else { return };
        assert_eq!(found["errors"], json!([]), "{options}");
        assert_eq!(found["axe"], json!([]), "{options}");
        // Nothing from elsewhere, and no wider than the window.
        assert_eq!(found["requests"], json!(["file"]), "{options}");
        assert_eq!(found["widths"], json!({ "1280": 1280, "390": 390 }), "{options}");

        let pitches: Vec<u64> =
            piece["pitches"].as_array().unwrap().iter().map(|p| p.as_u64().unwrap()).collect();
        assert_eq!(found["drawn"], pitches.len(), "{options}");
        assert_eq!(found["verdict"], piece["certificate"]["verdict"], "{options}");
        assert_eq!(found["shared"].as_u64() > Some(0), copied, "{options}");
        // The file that it offers is the one beside it.
        let midi = fs::read(folder.path().join(piece["midi"].as_str().unwrap())).unwrap();
        assert_eq!(found["midi"], base64(&midi), "{options}");

        assert_eq!(found["marked"], 1, "{options}");
        assert!(found["choices"].as_str().unwrap().contains('%'), "{options}: {}", found["choices"]);
        // What sounded are notes of the piece and their octaves.
        let struck = found["struck"].as_array().unwrap();
        assert!(!struck.is_empty());
        for frequency in struck {
            let pitch = 69.0 + 12.0 * (frequency.as_f64().unwrap() / 440.0).log2();
            let key = pitch.round() as u64;
            assert!((pitch - pitch.round()).abs() < 1e-3, "{options}: {frequency}");
            assert!(pitches.contains(&key) || pitches.contains(&(key - 12)), "{options}: {frequency}");
        }
        assert_eq!(
            (found["button"].as_str(), found["silent"].as_f64()),
            (Some("Play"), Some(0.0)),
            "{options}"
        );
        let wav = |key: &str| found["wav"][key].as_f64().unwrap();
        assert!(
            wav("seconds") > 5.0 && wav("peak") > 0.1 && wav("peak") < 1.0,
            "{options}: {}",
            found["wav"]
        );
    }
}

/// A melody that was given is there, and pale.
#[test]
#[ignore = "needs chromium"]
fn a_given_voice_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let notes =
        (0..8u32).map(|beat| Note::in_ticks(67 + (beat * beat % 5) as u8, 80, 4 * beat, 4 * beat + 4));
    let melody = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.collect() };
    fs::write(folder.path().join("tune.mid"), midi::write(&Song::at_tempo(vec![melody], 4, 500_000), &[]))
        .unwrap();
    let piece = compose(folder.path(), "--melody tune.mid --seed 1 --particles 4");
    let Some(found) = look(folder.path(), piece["page"].as_str().unwrap()) else { return };
    assert_eq!((&found["errors"], &found["given"]), (&json!([]), &json!(8)));
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

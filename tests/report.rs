//! `bachdist report`: the page of runs and that of pieces, in a browser.

use std::fs;

use bachdist_test_support::browser;
use bachdist_test_support::harness::{Place, Running, ended};
use bachdist_test_support::s3::server;
use bachdist_test_support::tools::project;
use serde_json::{Value, json};

/// The rows of the table that begins with this cell.
fn table<'a>(found: &'a Value, first: &str) -> &'a Vec<Value> {
    let tables = found["tables"].as_array().unwrap().iter();
    let mut tables = tables.map(|table| table.as_array().unwrap());
    tables.find(|rows| rows[0][0] == first).unwrap_or_else(|| panic!("no table {first}: {found}"))
}

fn looks_well(found: &Value) {
    assert_eq!((&found["errors"], &found["axe"]), (&json!([]), &json!([])));
    assert_eq!(found["requests"], json!(["file"]));
    assert_eq!(found["widths"], json!({ "1280": 1280, "390": 390 }));
}

/// A run that was killed, went on on two ranks, and ended; beside one of another seed.
#[test]
#[ignore = "needs mpi, chromium"]
fn a_browser_shows_runs() {
    let place = Place::with_holdout();
    // Step 5 is saved, and the checkpoint of the last step is not.
    let mut killed = place.alone("train tiny.toml --set train.max_steps=8");
    Running::start(killed.env("BACHDIST_FAULT", "upload@0#2=kill")).end();
    let Some(resumed) = place.on_ranks(2, "train tiny.toml --set train.max_steps=8") else { return };
    resumed.ok();
    place
        .bachdist("train tiny.toml --set train.max_steps=6 --set train.seed=2 --set checkpoint.url=other")
        .ok();
    let evaluated = place.bachdist("eval run --json").ok();
    place.write("run/eval.json", &evaluated.stdout);

    let said = place.bachdist("report run other -o both.html").ok();
    assert_eq!(said.stdout, "wrote both.html\n");
    let Some(found) = browser::look(&place.path("both.html"), &project().join("tests/report/runs.js")) else {
        return;
    };
    looks_well(&found);
    assert_eq!(found["title"], "2 runs");
    assert_eq!(found["state"], "run: step 8, done; other: step 6, done");
    // Loss and accuracy with what is held out, throughput without; every step is a point.
    let steps: Vec<u64> = found["curves"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|curve| curve["held"] == false)
        .map(|curve| curve["points"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [8, 6, 8, 6, 8, 6]);
    let held = found["curves"].as_array().unwrap().iter().filter(|curve| curve["held"] == true);
    assert_eq!(held.count(), 4);
    assert!(found["read"].as_str().unwrap().contains("run, step 8: "), "{}", found["read"]);
    assert_eq!((&found["hasTimeAxis"], &found["axis"]), (&json!(true), &json!("trained")));
    assert_eq!(found["curvesOfOthers"].as_array().unwrap().len(), 5);

    let differences = table(&found, "setting");
    let expected = json!([
        ["setting", "run", "other"],
        ["checkpoint.url", "\"run\"", "\"other\""],
        ["train.max_steps", "8", "6"],
        ["train.seed", "1", "2"]
    ]);
    assert_eq!(json!(differences), expected);
    let attempts = table(&found, "attempt");
    assert_eq!(attempts.len(), 3);
    assert_eq!((&attempts[1][1], &attempts[2][1]), (&json!("1"), &json!("2")));
    assert_eq!(attempts[1][6], "killed, or steps after its last checkpoint were lost");
    assert_eq!(attempts[2][6], "done");
    let newest = place.checkpoints("run").pop().unwrap();
    let facts = table(&found, "location");
    assert!(facts.contains(&json!(["newest checkpoint", newest])), "{facts:?}");
    assert!(facts.contains(&json!(["to repeat it", "mpirun -n 2 bachdist train run.toml"])), "{facts:?}");
    assert_eq!(table(&found, "figure")[0][1], "network");

    // What it offers to repeat the run is the run.
    place.write("again.toml", found["toml"].as_str().unwrap());
    place.bachdist("train again.toml --set checkpoint.url=again").ok();
    assert_eq!(place.checkpoints("again").pop(), Some(newest));
}

/// All that is known of a run in a bucket is known of it there.
#[test]
#[ignore = "needs s3"]
fn a_run_in_a_bucket_has_a_page() {
    let Some(server) = server() else { return };
    let place = Place::with_tiny();
    let url = "s3://bachdist/report/run";
    let bachdist = |arguments: &str| {
        let mut command = place.alone(arguments);
        ended(command.envs(server.variables(server.endpoint()))).ok()
    };
    bachdist(&format!("train tiny.toml --set checkpoint.url={url}"));
    let listed = bachdist(&format!("checkpoint list {url}")).stdout;
    bachdist(&format!("report {url}"));
    let page = String::from_utf8(place.read("report.html")).unwrap();
    assert_eq!(listed.lines().count(), page.matches("\"is_there\":true").count());
    let newest = listed.lines().last().unwrap().split(' ').next().unwrap();
    assert!(page.contains(newest) && page.contains("\"stop\":\"done\""), "{page}");
}

#[test]
#[ignore = "needs chromium"]
fn a_browser_shows_pieces() {
    let place = Place::new();
    let composed = place.sample("--voices -n 2 --seed 1 --beats 8 --only midi --json").ok();
    let composed: Value = serde_json::from_str(&composed.stdout).unwrap();
    let pieces = composed["pieces"].as_array().unwrap().iter();
    let notes: Vec<usize> = pieces.map(|piece| piece["pitches"].as_array().unwrap().len()).collect();
    place.bachdist("report composed/1-1.mid composed/1-2.mid -o pieces.html").ok();
    let Some(found) = browser::look(&place.path("pieces.html"), &project().join("tests/report/pieces.js"))
    else {
        return;
    };
    looks_well(&found);
    assert_eq!((&found["titles"], &found["second"]), (&json!(["1-1", "1-2"]), &json!("1-2")));
    assert_eq!(found["hasCertificate"], false);
    assert_eq!(found["drawn"], json!(notes));
}

#[test]
fn what_is_no_run_and_no_piece_is_refused() {
    let place = Place::with_tiny();
    place.bachdist("train tiny.toml --set train.max_steps=1").ok();
    fs::create_dir(place.path("empty")).unwrap();
    for (arguments, code, reason) in [
        ("empty", 3, "empty: no metrics.jsonl; a report is of a run's folder or URL, or of MIDI files"),
        ("run tiny.toml", 2, "a report is of runs or of pieces: tiny.toml is a piece, run is a run"),
        ("tiny.toml --watch", 2, "--watch is for runs; a piece does not change"),
    ] {
        let said = place.bachdist(&format!("report {arguments}")).with_code(code);
        assert!(said.error().ends_with(reason), "{}", said.error());
        assert!(!place.path("report.html").exists());
    }
}

#[test]
fn a_run_is_watched_until_it_ends() {
    let place = Place::with_tiny();
    let mut run = Running::start(&mut place.alone("train tiny.toml --set train.epochs=1000000"));
    place.wait_for_a_step("run", &mut run);
    place.bachdist("report run -o early.html").ok();
    let watch = Running::start(&mut place.alone("report run --watch"));
    run.signal("TERM");
    run.end().with_code(75);
    watch.end().ok();
    let page = |name: &str| String::from_utf8(place.read(name)).unwrap();
    assert!(page("early.html").contains("\"stop\":null"));
    let last = page("report.html");
    assert!(last.contains("\"stop\":\"signal\"") && last.contains("\"is_watched\":false"), "{last}");
    assert!(last.len() < 200_000);
}

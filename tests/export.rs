//! What other programs read of a run: TensorBoard and Prometheus' own parser find the numbers of `metrics.jsonl`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bachdist_portable::process::host_name;
use bachdist_portable::store::{RetryPolicy, Store};
use serde_json::Value;

use bachdist_test_support::harness::{Place, bachdist, ended};
use bachdist_test_support::s3::server;
use bachdist_test_support::snapshot::Transcript;
use bachdist_test_support::tools::tensorboard_python;

/// Twelve steps, with validations after steps 4, 8 and 12.
const RUN: &str = "train tiny.toml --set train.log=[\"tensorboard\"]";

/// Prints what is read from a folder: by the reader of event files, and by the server from which a browser gets it.
const READER: &str = r#"
import io, json, re, subprocess, sys, time, urllib.parse, urllib.request, wave
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

folder, last_step = sys.argv[1], int(sys.argv[2])
read = EventAccumulator(folder, size_guidance={"scalars": 0, "images": 0, "audio": 0})
read.Reload()
scalars = {tag: [[e.step, e.value] for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
rolls = []
for e in read.Images("sample/roll"):
    picture = Image.open(io.BytesIO(e.encoded_image_string))
    picture.load()
    assert picture.size == (e.width, e.height) and picture.mode == "RGB", (picture, e.width, e.height)
    rolls.append(e.step)
sounds = []
for e in read.Audio("sample/sound"):
    sound = wave.open(io.BytesIO(e.encoded_audio_string))
    assert (sound.getframerate(), sound.getnframes()) == (e.sample_rate, e.length_frames)
    assert sound.getnchannels() == 1 and any(sound.readframes(22050))
    sounds.append(e.step)

server = subprocess.Popen(
    [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--port", "0"], stderr=subprocess.PIPE, text=True)
try:
    address = next(found[1] for line in server.stderr if (found := re.search(r"at (http://\S+/)", line)))

    def get(path, query):
        with urllib.request.urlopen(address + "data/plugin/" + path + "?" + query) as answer:
            return answer.headers["content-type"], answer.read()

    def get_json(path, **query):
        return json.loads(get(path, urllib.parse.urlencode(query))[1])

    def served(tag):
        try:
            points = get_json("scalars/scalars", run=".", tag=tag)
        except urllib.error.HTTPError:
            return []
        return [[int(step), value] for _, step, value in points]

    # It loads beside answering.
    deadline = time.monotonic() + 60
    while [step for step, _ in served("step/loss")][-1:] != [last_step]:
        assert time.monotonic() < deadline, "the last step is not served"
        time.sleep(0.05)
    served_scalars = {tag: served(tag) for tag in get_json("scalars/tags")["."]}
    roll = get_json("images/images", run=".", tag="sample/roll", sample=0)[0]["query"]
    sound = get_json("audio/audio", run=".", tag="sample/sound", sample=0)[0]["query"]
    kinds = [get("images/individualImage", roll)[0], get("audio/individualAudio", sound)[0]]
finally:
    server.terminate()
    server.wait()
print(json.dumps({"scalars": scalars, "rolls": rolls, "sounds": sounds, "served": served_scalars, "kinds": kinds}))
"#;

/// Points by tag, without what differs from run to run.
type Scalars = BTreeMap<String, Vec<(u64, f32)>>;

/// The numbers of `metrics.jsonl`, as TensorBoard should have them.
fn expected(metrics: &[Value]) -> Scalars {
    let mut scalars = Scalars::new();
    for record in metrics {
        let kind = record["kind"].as_str().unwrap();
        if !["step", "epoch", "validation", "checkpoint"].contains(&kind) {
            continue;
        }
        for (name, value) in record.as_object().unwrap() {
            if let Some(value) =
                value.as_f64().filter(|_| !["step", "epoch", "time"].contains(&name.as_str()))
            {
                let points = scalars.entry(format!("{kind}/{name}")).or_default();
                points.push((record["step"].as_u64().unwrap(), value as f32));
            }
        }
    }
    scalars
}

fn scalars(read: &Value) -> Scalars {
    let point = |point: &Value| (point[0].as_u64().unwrap(), point[1].as_f64().unwrap() as f32);
    let points = |points: &Value| points.as_array().unwrap().iter().map(point).collect();
    read.as_object().unwrap().iter().map(|(tag, all)| (tag.clone(), points(all))).collect()
}

/// Reads a folder of event files and compares all that is in it with the metrics.
fn compare(place: &Place, python: &Path, folder: &str, metrics: &[Value]) {
    let read = ended(place.command(python).args(["-c", READER, folder, "12"])).ok().json();
    let expected = expected(metrics);
    assert_eq!(expected["step/loss"].len(), 12);
    assert_eq!(expected["validation/loss"].len(), 3);
    assert_eq!(scalars(&read["scalars"]), expected);
    assert_eq!(scalars(&read["served"]), expected);
    assert_eq!(read["kinds"], serde_json::json!(["image/png", "audio/wav"]));
    // The first one of each attempt is always composed, and later ones if that is done by then.
    let steps: Vec<u64> =
        read["rolls"].as_array().unwrap().iter().map(|step| step.as_u64().unwrap()).collect();
    assert!(steps.starts_with(&[4, 8]) && steps.iter().all(|step| [4, 8, 12].contains(step)), "{steps:?}");
    assert_eq!(read["sounds"], read["rolls"]);
}

/// Makes a run forget its checkpoints after step 5.
fn forget(place: &Place, folder: &str) {
    for name in place.checkpoints(folder).iter().filter(|name| name.as_str() > "step-00000006") {
        fs::remove_file(place.path(folder).join(name)).unwrap();
    }
}

#[test]
#[ignore = "needs tensorboard"]
fn tensorboard_shows_the_metrics_of_a_run_that_was_resumed() {
    let Some(python) = tensorboard_python() else { return };
    let place = Place::with_holdout();
    place.bachdist(&format!("{RUN} --set train.max_steps=9")).ok();
    forget(&place, "run");
    // Steps 6 to 9 are made twice.
    place.bachdist(RUN).ok();
    assert_eq!(place.resumed_after("run"), [5]);
    compare(&place, &python, "run", &place.metrics("run"));

    // The log changes no bit.
    place.bachdist("train tiny.toml --set checkpoint.url=plain").ok();
    assert_eq!(place.checkpoints("run").last(), place.checkpoints("plain").last());
}

#[test]
#[ignore = "needs s3, tensorboard"]
fn tensorboard_shows_what_was_uploaded_to_a_bucket() {
    let (Some(server), Some(python)) = (server(), tensorboard_python()) else { return };
    let place = Place::with_holdout();
    let url = "s3://bachdist/export/tensorboard";
    for steps in [6, 12] {
        let run = format!("{RUN} --set checkpoint.url={url} --set train.max_steps={steps}");
        let mut command = place.command(bachdist());
        ended(command.args(run.split_whitespace()).envs(server.variables(server.endpoint()))).ok();
    }
    let store = Store::open_with(url, RetryPolicy::default(), server.variables(server.endpoint())).unwrap();
    for object in store.list("events.").unwrap() {
        place.write(&format!("copy/{}", object.name), store.get(&object.name).unwrap());
    }
    place.write("copy/metrics.jsonl", store.get("metrics.jsonl").unwrap());
    let metrics: Vec<Value> = place.metrics("copy");
    let read = ended(place.command(&python).args(["-c", READER, "copy", "12"])).ok().json();
    for of in ["scalars", "served"] {
        let mut scalars = scalars(&read[of]);
        // The second attempt does not make the last validation of the first, and cuts it off from its metrics.
        for (_, points) in scalars.iter_mut().filter(|(tag, _)| tag.starts_with("validation/")) {
            points.retain(|(step, _)| *step != 6);
        }
        assert_eq!(scalars, expected(&metrics), "{of}");
    }
    assert_eq!(read["rolls"][0], 4);
}

/// Prints the samples of a file, by name, and whether each has the label of the run.
const PARSER: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families
families = list(text_string_to_metric_families(open(sys.argv[1]).read()))
assert all(family.documentation and family.type in ("counter", "gauge") for family in families)
samples = [sample for family in families for sample in family.samples]
assert all(sample.labels == {"run": sys.argv[2]} for sample in samples), samples
print(json.dumps({sample.name: sample.value for sample in samples}))
"#;

#[test]
#[ignore = "needs tensorboard"]
fn prometheus_reads_the_newest_figures() {
    let Some(python) = tensorboard_python() else { return };
    let place = Place::with_holdout();
    let url = r#"a"b\c"#;
    place
        .bachdist(&format!("train tiny.toml --set checkpoint.url={url} --set train.metrics_file=x.prom"))
        .ok();
    let mut parse = place.command(&python);
    let read = ended(parse.args(["-c", PARSER, "x.prom", url])).ok().json();
    let metrics = place.metrics(url);
    let last = |kind: &str| metrics.iter().rfind(|record| record["kind"] == kind).unwrap();
    for (name, kind, field) in [
        ("steps_total", "step", "step"),
        ("epoch", "step", "epoch"),
        ("loss_nats", "step", "loss"),
        ("accuracy_ratio", "step", "accuracy"),
        ("windows_per_second", "step", "windows_per_second"),
        ("validation_loss_nats", "validation", "loss"),
        ("validation_accuracy_ratio", "validation", "accuracy"),
        ("checkpoint_step", "checkpoint", "step"),
        ("checkpoint_size_bytes", "checkpoint", "bytes"),
        ("checkpoint_pause_seconds", "checkpoint", "pause_seconds"),
        ("attempt", "run", "attempt"),
        ("ranks", "run", "ranks"),
    ] {
        let read = read[format!("bachdist_{name}")].as_f64().unwrap();
        assert_eq!(read, last(kind)[field].as_f64().unwrap(), "{name}");
    }
    for name in ["running", "storage_outage", "storage_retries_total"] {
        assert_eq!(read[format!("bachdist_{name}")].as_f64(), Some(0.0), "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_noted_once_and_stops_nothing() {
    let place = Place::with_holdout();
    let events = format!("events.out.tfevents.000001.{}", host_name());
    // A folder is where the file should be.
    place.write(&format!("run/{events}/x"), "");
    let ended = place.bachdist(&format!("{RUN} --set train.metrics_file=nowhere/x.prom")).ok();
    let mut said = Transcript::default();
    let mut notes = ended.notes();
    notes.sort_unstable();
    for note in &notes {
        said.line(
            "train",
            note.replace(&place.path("run").display().to_string(), "run").replace(&host_name(), "HOST"),
        );
    }
    assert_eq!(notes.len(), 2, "{notes:?}");
    said.check("export-cannot-be-written");
    assert_eq!(place.stopped_at("run"), (12, "done".into()));
}

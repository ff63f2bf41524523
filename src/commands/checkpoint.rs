//! `bachdist checkpoint list`, `verify` and `diff`: what is under a URL, whether it is intact, and how two checkpoints differ.

use anyhow::Result;
use bachdist_portable::checkpoint::diff::{CheckpointDiff, TensorDifference};
use bachdist_portable::checkpoint::read::{ObjectVerdict, VerifiedObject, open, verify};
use bachdist_portable::checkpoint::{CheckpointEntry, list};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::print::{count, eprint_line, print_line};
use bachdist_portable::store::Store;
use indicatif::HumanCount;
use serde_json::{Value, json};

use crate::cli::{CheckpointCommand, DiffArguments, ListArguments};

pub fn run(command: &CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::List(arguments) => list_all(arguments),
        CheckpointCommand::Verify(arguments) => verify_all(arguments),
        CheckpointCommand::Diff(arguments) => diff(arguments),
    }
}

fn list_all(arguments: &ListArguments) -> Result<()> {
    let listed = list(&Store::open(&arguments.url)?)?;
    if arguments.json {
        let objects: Vec<_> = listed.iter().map(describe).collect();
        print_line(serde_json::Value::from(objects))?;
    } else if listed.is_empty() {
        print_line(format_args!("{}: no checkpoints", arguments.url))?;
    } else {
        for CheckpointEntry { name, bytes } in &listed {
            print_line(format_args!("{name}  {bytes:>12} bytes"))?;
        }
    }
    Ok(())
}

fn describe(listed: &CheckpointEntry) -> serde_json::Value {
    json!({ "name": listed.name.to_string(), "step": listed.name.step, "bytes": listed.bytes })
}

fn verify_all(arguments: &ListArguments) -> Result<()> {
    let store = Store::open(&arguments.url)?;
    let (mut objects, mut checkpoints, mut bad) = (Vec::new(), 0, 0);
    verify(&store, |object| {
        checkpoints += usize::from(object.step.is_some());
        bad += u64::from(matches!(object.verdict, ObjectVerdict::Invalid(_)));
        if arguments.json {
            objects.push(describe_verified(&object));
            return Ok(());
        }
        let (mark, text) = match &object.verdict {
            ObjectVerdict::Valid => ("", "ok"),
            ObjectVerdict::Invalid(problem) => ("", problem.as_str()),
            ObjectVerdict::Note(note) => ("note: ", note.as_str()),
        };
        print_line(format_args!("{mark}{}  {text}", object.name)).map_err(anyhow::Error::from)
    })?;
    if arguments.json {
        print_line(serde_json::Value::from(objects))?;
    }
    let url = &arguments.url;
    let message = match (checkpoints, bad) {
        (1.., 0) => return Ok(()),
        // An error, because a wrong URL is more likely than a run without checkpoints.
        (0, 0) => format!("{url}: no checkpoints to verify"),
        _ => format!("{url}: {}", count(bad, "bad checkpoint")),
    };
    Err(Failure::new(ExitCode::Storage, message).into())
}

/// `problem` is what is wrong with a checkpoint; `note` is about an object that is not a checkpoint and does no harm, so it
/// is `ok`.
fn describe_verified(object: &VerifiedObject) -> serde_json::Value {
    let VerifiedObject { name, step, bytes, verdict } = object;
    let (problem, note) = match verdict {
        ObjectVerdict::Valid => (None, None),
        ObjectVerdict::Invalid(problem) => (Some(problem), None),
        ObjectVerdict::Note(note) => (None, Some(note)),
    };
    let ok = problem.is_none();
    json!({ "name": name, "step": step, "bytes": bytes, "ok": ok, "problem": problem, "note": note })
}

/// Compares, prints, and fails if there is a difference.
fn diff(arguments: &DiffArguments) -> Result<()> {
    let (a, b) = (open(&arguments.a)?, open(&arguments.b)?);
    for note in a.notes.iter().chain(&b.notes) {
        eprint_line(format_args!("note: {note}"));
    }
    let diff = CheckpointDiff::between_stored(&a, &b);
    if arguments.json {
        print_line(diff_json(&diff))?;
    } else if diff.is_equal() {
        print_line(format_args!("equal bit by bit, after {}", count(a.checkpoint.step, "step")))?;
    } else {
        print_line(diff_table(&diff, [&a.location, &b.location]))?;
    }
    diff_verdict(&diff, [&a.location, &b.location])
}

/// `{equal, steps, differences, tensors}`; NaN is null.
pub fn diff_json(diff: &CheckpointDiff) -> Value {
    let CheckpointDiff { steps, differences, tensors } = diff;
    json!({ "equal": diff.is_equal(), "steps": steps, "differences": differences, "tensors": tensors })
}

/// An error that names the first tensor that differs, or the first other thing.
pub fn diff_verdict(diff: &CheckpointDiff, names: [&str; 2]) -> Result<()> {
    let first = match (diff.tensors.first(), diff.differences.first()) {
        (Some(tensor), _) => format!("first in {}", describe_tensor(tensor)),
        (None, Some(difference)) => difference.describe(["in the first", "in the second"]),
        (None, None) => return Ok(()),
    };
    let message = format!("{} and {} differ: {first}", names[0], names[1]);
    Err(Failure::new(ExitCode::Storage, message).into())
}

fn describe_tensor(tensor: &TensorDifference) -> String {
    let TensorDifference { name, shape, differing, largest, at, .. } = tensor;
    let all: usize = shape.iter().product();
    format!(
        "{name}: {} of {} elements differ, by up to {largest:.1e} at {at:?}",
        HumanCount(*differing as u64),
        HumanCount(all as u64)
    )
}

/// Differences of settings first, then a line for each tensor that differs.
pub fn diff_table(diff: &CheckpointDiff, names: [&str; 2]) -> String {
    let mut lines = vec![format!("a  {}", names[0]), format!("b  {}", names[1])];
    if !diff.differences.is_empty() {
        lines.push(String::new());
        lines.extend(diff.differences.iter().map(|difference| difference.describe(["in a", "in b"])));
    }
    let (weights, optimizer): (Vec<_>, Vec<_>) =
        diff.tensors.iter().partition(|tensor| !tensor.name.starts_with(OPTIMIZER_PREFIX));
    for (title, tensors) in [("weights", weights), (OPTIMIZER_PREFIX.trim_end_matches('.'), optimizer)] {
        if tensors.is_empty() {
            continue;
        }
        lines.push(format!(
            "\n{title:<21} {:<12} {:>9} {:>8} {:<12} {:>12}",
            "shape", "differing", "largest", "at", "ulps"
        ));
        lines.extend(tensors.into_iter().map(row));
    }
    lines.join("\n")
}

/// Prefix of the optimizer's tensors. Rows omit it, because it would fill half a line.
const OPTIMIZER_PREFIX: &str = "optimizer.mean_square.";

fn row(tensor: &TensorDifference) -> String {
    let TensorDifference { name, shape, differing, largest, at, ulps, .. } = tensor;
    let name = name.trim_start_matches(OPTIMIZER_PREFIX);
    let [shape, at] = [shape, at].map(|numbers| format!("{numbers:?}"));
    let largest = format!("{largest:.1e}");
    let ulps = ulps.map_or("NaN".into(), |ulps| HumanCount(u64::from(ulps)).to_string());
    let differing = HumanCount(*differing as u64).to_string();
    format!("{name:<21} {shape:<12} {differing:>9} {largest:>8} {at:<12} {ulps:>12}")
}

#[cfg(test)]
mod tests {
    use bachdist_portable::config::identity::ValueDifference;

    use super::*;

    fn tensor(name: &str, largest: f64, ulps: Option<u32>) -> TensorDifference {
        let (shape, at) = (vec![1024, 256], vec![1023, 255]);
        TensorDifference {
            name: name.into(),
            shape,
            differing: 262_144,
            largest,
            at,
            values: [1.0, 2.0],
            ulps,
        }
    }

    fn diff() -> CheckpointDiff {
        let difference = ValueDifference { key: "train.seed".into(), values: [json!(1), json!(2)] };
        let tensors = vec![
            tensor("lstm.weight_ih_l2", 1.26e-7, Some(u32::MAX)),
            tensor("optimizer.mean_square.dense1.bias", f64::NAN, None),
        ];
        CheckpointDiff { steps: [5, 5], differences: vec![difference], tensors }
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let table = diff_table(&diff(), ["one", "two"]);
        assert!(table.lines().all(|line| line.len() <= 80), "{table}");
        let expected = "\
a  one
b  two

train.seed is 1 in a and 2 in b

weights               shape        differing  largest at                   ulps
lstm.weight_ih_l2     [1024, 256]    262,144   1.3e-7 [1023, 255]  4,294,967,295

optimizer.mean_square shape        differing  largest at                   ulps
dense1.bias           [1024, 256]    262,144      NaN [1023, 255]           NaN";
        assert_eq!(table, expected);
    }

    #[test]
    fn the_verdict_names_the_first_tensor() {
        let mut diff = diff();
        let line = |diff: &CheckpointDiff| diff_verdict(diff, ["x", "y"]).unwrap_err().to_string();
        let first = "lstm.weight_ih_l2: 262,144 of 262,144 elements differ, by up to 1.3e-7 at [1023, 255]";
        assert_eq!(line(&diff), format!("x and y differ: first in {first}"));
        diff.tensors.clear();
        assert_eq!(line(&diff), "x and y differ: train.seed is 1 in the first and 2 in the second");
        diff.differences.clear();
        assert!(diff_verdict(&diff, ["x", "y"]).is_ok());
    }

    #[test]
    fn nan_is_null_in_json() {
        let json = diff_json(&diff());
        assert_eq!(json["tensors"][1]["largest"], Value::Null);
        assert_eq!((&json["equal"], &json["tensors"][0]["at"]), (&json!(false), &json!([1023, 255])));
    }
}

//! `bachdist checkpoint list` and `verify`: what is under a URL, and whether it is intact.

use anyhow::Result;
use bachdist_portable::checkpoint::catalog::{CheckpointEntry, list};
use bachdist_portable::checkpoint::verify::{ObjectVerdict, VerifiedObject, verify};
use bachdist_portable::failure::{Code, Failure};
use bachdist_portable::print::{count, print_line};
use bachdist_portable::store::Store;
use serde_json::json;

use crate::cli::{CheckpointCommand, ListArguments};

pub fn run(command: &CheckpointCommand) -> Result<()> {
    match command {
        CheckpointCommand::List(arguments) => list_all(arguments),
        CheckpointCommand::Verify(arguments) => verify_all(arguments),
        CheckpointCommand::Diff(arguments) => super::diff::run(arguments),
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
    Err(Failure::new(Code::Storage, message).into())
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

//! `bachdist checkpoint`: what lies under a URL, whether it is whole, and where two differ.

use anyhow::Result;
use bachdist_core::checkpoint::catalog::{CheckpointEntry, list};
use bachdist_core::checkpoint::catalog::{ObjectVerdict, VerifiedObject, verify};
use bachdist_core::failure::{Code, Failure};
use bachdist_core::print::print_line;
use bachdist_core::store::Store;
use serde_json::json;

use crate::cli::{Checkpoint, Checkpoints};

/// Does what the command line says.
pub fn run(command: &Checkpoint) -> Result<()> {
    match command {
        Checkpoint::List(arguments) => list_all(arguments),
        Checkpoint::Verify(arguments) => verify_all(arguments),
        Checkpoint::Diff(arguments) => super::diff::run(arguments),
    }
}

fn list_all(arguments: &Checkpoints) -> Result<()> {
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

fn verify_all(arguments: &Checkpoints) -> Result<()> {
    let store = Store::open(&arguments.url)?;
    let (mut objects, mut checkpoints, mut bad) = (Vec::new(), 0, 0);
    verify(&store, |object| {
        checkpoints += usize::from(object.step.is_some());
        bad += usize::from(matches!(object.verdict, ObjectVerdict::Invalid(_)));
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
        // Not a success: it is more likely a wrong URL than a run without a checkpoint.
        (0, 0) => format!("{url}: no checkpoints to verify"),
        (_, 1) => format!("{url}: 1 bad checkpoint"),
        _ => format!("{url}: {bad} bad checkpoints"),
    };
    Err(Failure::new(Code::Storage, message).into())
}

/// `problem` is what is wrong with a checkpoint; `note` is about what is none, which is `ok` as it harms nothing.
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

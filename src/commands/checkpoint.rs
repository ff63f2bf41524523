//! `bachdist checkpoint`: what lies under a URL, and whether it is whole.

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint as Contents;
use bachdist_core::checkpoint::run::{Listed, list, verify};
use bachdist_core::failure::{Code, Failure};
use bachdist_core::stdout::say;
use bachdist_core::store::Store;
use serde_json::json;

use crate::cli::{Checkpoint, Checkpoints};

/// Does what the command line says.
pub fn run(command: &Checkpoint) -> Result<()> {
    match command {
        Checkpoint::List(arguments) => list_all(arguments),
        Checkpoint::Verify(arguments) => verify_all(arguments),
    }
}

fn list_all(arguments: &Checkpoints) -> Result<()> {
    let listed = list(&Store::open(&arguments.url)?)?;
    if arguments.json {
        let objects: Vec<_> = listed.iter().map(describe).collect();
        say(serde_json::Value::from(objects))?;
    } else if listed.is_empty() {
        say(format_args!("{}: no checkpoints", arguments.url))?;
    } else {
        for Listed { name, bytes } in &listed {
            say(format_args!("{name}  {bytes:>12} bytes"))?;
        }
    }
    Ok(())
}

fn describe(listed: &Listed) -> serde_json::Value {
    json!({ "name": listed.name.to_string(), "step": listed.name.step, "bytes": listed.bytes })
}

fn verify_all(arguments: &Checkpoints) -> Result<()> {
    let store = Store::open(&arguments.url)?;
    let listed = list(&store)?;
    if listed.is_empty() {
        // Not a success: it is more likely a wrong URL than a run without a checkpoint.
        return Err(
            Failure::new(Code::Storage, format!("{}: no checkpoints to verify", arguments.url)).into()
        );
    }
    let mut objects = Vec::new();
    let mut bad = 0;
    for listed in listed {
        let problem = match verify(&store, &listed.name)? {
            Ok(bytes) => wrong_windows(&bytes)?,
            Err(problem) => Some(problem),
        };
        bad += usize::from(problem.is_some());
        if arguments.json {
            let mut object = describe(&listed);
            object["ok"] = problem.is_none().into();
            object["problem"] = problem.into();
            objects.push(object);
        } else {
            say(format_args!("{}  {}", listed.name, problem.as_deref().unwrap_or("ok")))?;
        }
    }
    if arguments.json {
        say(serde_json::Value::from(objects))?;
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(Code::Storage, format!("{}: {bad} damaged", arguments.url)).into()),
    }
}

/// Whether a checkpoint was trained on other windows than its steps should have taken.
fn wrong_windows(bytes: &[u8]) -> Result<Option<String>> {
    let checkpoint = Contents::decode(bytes)?;
    let (seen, expected) = (checkpoint.seen, checkpoint.expected_windows()?);
    Ok((seen != expected).then(|| {
        format!("was trained on {} windows that are not the {} of its steps", seen.windows, expected.windows)
    }))
}

//! `bachdist checkpoint`: what lies under a URL, and whether it is whole.

use anyhow::Result;
use bachdist_core::checkpoint::Checkpoint as Contents;
use bachdist_core::checkpoint::run::{Listed, list, verify};
use bachdist_core::corpus::audit::Seen;
use bachdist_core::failure::{Code, Failure};
use bachdist_core::print::say;
use bachdist_core::store::{Kind, Store};
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
        let problem = match verify(&store, &listed.name) {
            Ok(Ok(bytes)) => wrong_windows(&bytes)?,
            Ok(Err(problem)) => Some(problem),
            // A running training has retired it since it was listed.
            Err(error) if error.kind == Kind::NotFound => continue,
            Err(error) => return Err(error.into()),
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
    let expected = checkpoint.expected_windows()?;
    let seen = Some(checkpoint.seen);
    Ok((seen != expected).then(|| {
        let windows = |seen: Option<Seen>| seen.map_or(0, |seen| seen.windows);
        format!(
            "was trained on {} windows that are not the {} of its steps",
            windows(seen),
            windows(expected)
        )
    }))
}

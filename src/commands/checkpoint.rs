//! `bachdist checkpoint`: what lies under a URL, and whether it is whole.

use anyhow::Result;
use bachdist_core::checkpoint::run::{Listed, list, verify};
use bachdist_core::failure::{Code, Failure};
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
        println!("{}", serde_json::Value::from(objects));
    } else if listed.is_empty() {
        println!("{}: no checkpoints", arguments.url);
    } else {
        listed.iter().for_each(|listed| println!("{}  {:>12} bytes", listed.name, listed.bytes));
    }
    Ok(())
}

fn describe(listed: &Listed) -> serde_json::Value {
    json!({ "name": listed.name.to_string(), "step": listed.name.step, "bytes": listed.bytes })
}

fn verify_all(arguments: &Checkpoints) -> Result<()> {
    let store = Store::open(&arguments.url)?;
    let mut objects = Vec::new();
    let mut bad = 0;
    for listed in list(&store)? {
        let problem = verify(&store, &listed.name)?.err();
        bad += usize::from(problem.is_some());
        if arguments.json {
            let mut object = describe(&listed);
            object["ok"] = problem.is_none().into();
            object["problem"] = problem.into();
            objects.push(object);
        } else {
            println!("{}  {}", listed.name, problem.as_deref().unwrap_or("ok"));
        }
    }
    if arguments.json {
        println!("{}", serde_json::Value::from(objects));
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::new(Code::Storage, format!("{}: {bad} damaged", arguments.url)).into()),
    }
}

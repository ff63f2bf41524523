//! A headless Chromium that looks at pages.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::tools::{cache, need, on_path, project};

/// What `browser.js` finds on a page, and a script that says more of how it is read. Pictures of it are put beside the page.
pub fn look(page: &Path, script: &Path) -> Option<Value> {
    let modules =
        cache().map(|cache| cache.join("page-tools")).filter(|tools| tools.join("node_modules").is_dir());
    let tools = modules.zip(on_path("node")).zip(on_path("chromium"));
    let ((modules, node), chromium) = need("chromium", tools)?;
    let browser = project().join("tests/support/browser.js");
    let folder = page.parent().unwrap();
    let mut command = Command::new(node);
    command.args([&browser, page, &modules, folder, script]).env("CHROMIUM", chromium);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

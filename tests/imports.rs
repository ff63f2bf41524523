//! Which file imports which: in each crate imports run one way, and no two files need each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, UseTree, Visibility};

/// A module's path below its crate's root: `["checkpoint", "format"]`.
type Module = Vec<String>;

/// The folders and files directly below the library's root: each imports only from those before it.
#[rustfmt::skip] // some to a line
const LIBRARY: [&str; 31] = [
    "failure", "environment", "location", "write", "print", "process", "fault", "parallel", "random", "text", "key",
    "midi", "representation", "store", "metrics", "config", "corpus", "schedule",
    "lanes", "compute", "optimizer", "network", "checkpoint", "backend",
    "certificate", "evaluation", "style", "harmony", "render", "sample",
    "exit",
];

/// Those of the application.
#[rustfmt::skip]
const APPLICATION: [&str; 13] = [
    "failure", "phase", "stop", "export", "report", "comm", "torch", "backend", "train", "bench", "cli", "commands",
    "application",
];

#[test]
fn imports_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for (crate_root, order) in [("src/portable", &LIBRARY[..]), ("src", &APPLICATION[..])] {
        let imports = Imports::of_crate(&root.join(crate_root));
        assert!(imports.edges.values().any(|targets| !targets.is_empty()), "no import found in {crate_root}");
        for (from, targets) in &imports.edges {
            for to in targets.iter().filter(|to| !from.is_empty() && !to.is_empty() && from[0] != to[0]) {
                let [below, above] =
                    [&to[0], &from[0]].map(|name| order.iter().position(|entry| entry == name));
                if below.is_none() || above.is_none() || below >= above {
                    faults.push(format!(
                        "{crate_root}: {} imports {}, which is not below it",
                        from.join("::"),
                        to.join("::")
                    ));
                }
            }
        }
        for circle in imports.circles() {
            faults.push(format!("{crate_root}: files need each other: {circle}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// The imports between the files of one crate, test modules left out.
struct Imports {
    edges: BTreeMap<Module, BTreeSet<Module>>,
}

impl Imports {
    fn of_crate(root: &Path) -> Self {
        let mut sources = BTreeMap::new();
        collect(root, &mut Vec::new(), &mut sources);
        let modules: BTreeSet<Module> = sources.keys().cloned().collect();
        let mut edges = BTreeMap::new();
        for (module, source) in &sources {
            let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{module:?}: {error}"));
            let mut paths = Paths { module, modules: &modules, found: BTreeSet::new() };
            paths.visit_file(&file);
            edges.insert(module.clone(), paths.found);
        }
        Imports { edges }
    }

    /// Every group of files that can be reached from each other.
    fn circles(&self) -> Vec<String> {
        let mut circles = BTreeSet::new();
        for start in self.edges.keys() {
            let reached = self.reachable(start);
            let circle: Vec<String> = reached
                .iter()
                .filter(|other| reached.contains(start) && self.reachable(other).contains(start))
                .map(|module| module.join("::"))
                .collect();
            if !circle.is_empty() {
                circles.insert(circle.join(", "));
            }
        }
        circles.into_iter().collect()
    }

    fn reachable(&self, start: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<&Module> = self.edges[start].iter().collect();
        while let Some(module) = pending.pop() {
            if reached.insert(module.clone()) {
                pending.extend(&self.edges[module]);
            }
        }
        reached
    }
}

/// Reads the sources below a folder, keyed by module. Folders with a Cargo.toml of their own are other crates.
fn collect(folder: &Path, module: &mut Module, sources: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        let path = entry.path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name in ASCII").to_owned();
        if ["tests", "bin", "laws", "build"].contains(&name.as_str()) || path.join("Cargo.toml").exists() {
            continue;
        }
        let is_root = ["mod", "lib", "main"].contains(&name.as_str());
        if !is_root {
            module.push(name);
        }
        if path.is_dir() {
            collect(&path, module, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("main.rs") {
            sources.insert(module.clone(), fs::read_to_string(&path).expect("a source file"));
        }
        if !is_root {
            module.pop();
        }
    }
}

/// The modules that one file's paths lead to.
struct Paths<'a> {
    module: &'a Module,
    modules: &'a BTreeSet<Module>,
    found: BTreeSet<Module>,
}

impl Paths<'_> {
    /// Records the file that a path such as `crate::store::Store` or `super::Store` leads to.
    fn record(&mut self, path: &[String]) {
        let mut target = match path.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super") => self.module[..self.module.len().saturating_sub(1)].to_vec(),
            Some("self") => self.module.clone(),
            Some(name) if self.modules.contains(&child(self.module, name)) => child(self.module, name),
            _ => return,
        };
        for name in &path[1..] {
            if name == "super" {
                target.pop();
            } else if self.modules.contains(&child(&target, name)) {
                target.push(name.clone());
            } else {
                break;
            }
        }
        if target != *self.module && self.modules.contains(&target) {
            self.found.insert(target);
        }
    }

    fn record_tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.record_tree(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.record_tree(prefix, tree);
                }
            }
            UseTree::Name(name) => {
                prefix.push(name.ident.to_string());
                self.record(prefix);
                prefix.pop();
            }
            UseTree::Rename(rename) => {
                prefix.push(rename.ident.to_string());
                self.record(prefix);
                prefix.pop();
            }
            UseTree::Glob(_) => self.record(prefix),
        }
    }
}

fn child(module: &[String], name: &str) -> Module {
    let mut child = module.to_vec();
    child.push(name.to_owned());
    child
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            // A re-export shows what is below under a shorter name; the file does not use it.
            Item::Use(import) if !matches!(import.vis, Visibility::Inherited) => {}
            Item::Use(import) => self.record_tree(&mut Vec::new(), &import.tree),
            Item::Mod(ItemMod { attrs, .. }) if attrs.iter().any(is_test) => {}
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if names.len() > 1 {
            self.record(&names);
        }
        visit::visit_path(self, path);
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

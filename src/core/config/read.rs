//! From TOML text and `--set` overrides to a [`Config`], with every problem found at once.
//!
//! A problem carries its key and, where the file has one, its line; an unknown key also the nearest known one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use crate::text::{self, Encoding};

/// Far more than any configuration has.
const MAX_BYTES: u64 = 1 << 20;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted key, like `train.lanes`; empty where the text is not TOML at all.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// Where it stands; `None` for a default.
    pub origin: Option<Origin>,
}

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    Line(usize),
    /// A `--set` on the command line.
    Set,
}

impl Problem {
    /// A problem with the value of `key`, wherever it was given.
    pub fn new(key: &str, message: String) -> Self {
        Problem { key: key.into(), message, origin: None }
    }
}

/// A configuration that cannot be used, and everything that is wrong with it.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// What is wrong, in the order found.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (i, problem) in self.problems.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            let colon = if problem.key.is_empty() { "" } else { ": " };
            match problem.origin {
                Some(Origin::Line(line)) => write!(f, "{line_break}{path}:{line}: ")?,
                Some(Origin::Set) => write!(f, "{line_break}--set ")?,
                None => write!(f, "{line_break}{path}: ")?,
            }
            write!(f, "{}{colon}{}", problem.key, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a file and lays the overrides (`table.key=value`, the last of equals wins) over it.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Config, ConfigError> {
        let fail =
            |message: String| ConfigError { path: path.into(), problems: vec![Problem::new("", message)] };
        let mut bytes = Vec::new();
        // No more than what is too much, however large the file is.
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| {
            fail(match error.kind() {
                ErrorKind::NotFound => "no such file; the project's own are in configs/".into(),
                ErrorKind::IsADirectory => "is a folder; name the configuration in it, a .toml file".into(),
                _ => format!("cannot be read: {error}"),
            })
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(fail(format!("is no configuration: it has more than {MAX_BYTES} bytes")));
        }
        let text = match text::decode(&bytes) {
            Some((text, Encoding::Utf8)) => text,
            Some((_, Encoding::Utf16)) => return Err(fail("is in UTF-16; save it as UTF-8".into())),
            Some((_, Encoding::Latin1)) => {
                let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
                let line = 1 + bytes[..valid].iter().filter(|&&byte| byte == b'\n').count();
                return Err(fail(format!(
                    "line {line} is not UTF-8, but Latin-1 or the like; save it as UTF-8"
                )));
            }
            None => return Err(fail("is no text: it has NUL characters".into())),
        };
        Config::parse(&text, overrides).map_err(|problems| ConfigError { path: path.into(), problems })
    }

    /// The defaults, with overrides laid over them.
    pub fn defaults(overrides: &[String]) -> Result<Config, ConfigError> {
        Config::parse("", overrides)
            .map_err(|problems| ConfigError { path: "the default configuration".into(), problems })
    }

    /// This configuration, with overrides laid over it; `named` is what problems call it.
    pub fn overridden(&self, named: &str, overrides: &[String]) -> Result<Config, ConfigError> {
        Config::parse(&to_toml(self), overrides)
            .map_err(|problems| ConfigError { path: named.into(), problems })
    }

    /// Reads TOML text and overrides; on failure all problems, in the order of the keys.
    pub fn parse(text: &str, overrides: &[String]) -> Result<Config, Vec<Problem>> {
        let (mut table, mut origins) = read_document(text)?;
        let mut problems = apply_overrides(&mut table, &mut origins, overrides);
        problems.extend(remove_unknown(&mut table));
        let (config, mistyped) = read_values(table);
        problems.extend(mistyped);
        // A key of the wrong type has its default by now, and was reported.
        for problem in config.validate() {
            if problems.iter().all(|p| p.key != problem.key) {
                problems.push(problem);
            }
        }
        for problem in &mut problems {
            problem.origin = problem.origin.or_else(|| origins.get(&problem.key).copied());
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

type Origins = BTreeMap<String, Origin>;

/// The text as a table, and the line of every key.
fn read_document(text: &str) -> Result<(Table, Origins), Vec<Problem>> {
    let line_of = |position: usize| 1 + text[..position.min(text.len())].matches('\n').count();
    let syntax = |error: toml::de::Error| Problem {
        key: String::new(),
        message: error.message().to_owned(),
        origin: error.span().map(|span| Origin::Line(line_of(span.start))),
    };
    let (document, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.into_iter().map(syntax).collect());
    }
    let mut origins = Origins::new();
    for (name, value) in document.get_ref() {
        origins.insert(name.get_ref().to_string(), Origin::Line(line_of(name.span().start)));
        for (key, _) in value.get_ref().as_table().into_iter().flatten() {
            let line = Origin::Line(line_of(key.span().start));
            origins.insert(format!("{}.{}", name.get_ref(), key.get_ref()), line);
        }
    }
    let table = toml::from_str(text).map_err(|error| vec![syntax(error)])?;
    Ok((table, origins))
}

fn apply_overrides(table: &mut Table, origins: &mut Origins, overrides: &[String]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for text in overrides {
        let Some((path, value)) = text.split_once('=') else {
            let message = "is not of the form table.key=value".into();
            problems.push(Problem { key: text.clone(), message, origin: Some(Origin::Set) });
            continue;
        };
        let (path, value) = (path.trim(), value.trim());
        let (name, key) = path.split_once('.').unwrap_or(("", path));
        let section = if name.is_empty() { Some(&mut *table) } else { section(table, name) };
        let Some(section) = section else {
            let message = format!("{name} is not a table");
            problems.push(Problem { key: path.into(), message, origin: Some(Origin::Set) });
            continue;
        };
        section.insert(key.into(), override_value(path, value));
        origins.insert(path.into(), Origin::Set);
    }
    problems
}

fn section<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

/// What follows the `=`: a TOML value, or else a bare word, so that a path needs no quotes. A key that wants
/// text gets it, even where a folder's name looks like a number.
fn override_value(path: &str, text: &str) -> Value {
    let wants_text = match path.split_once('.') {
        Some((name, key)) => {
            example().get(name).and_then(|section| section.get(key)).is_some_and(Value::is_str)
        }
        None => false,
    };
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 && (!wants_text || table["value"].is_str()) => {
            table.remove("value").expect("the key just written")
        }
        _ => Value::String(text.into()),
    }
}

/// A configuration with every key.
fn example() -> Table {
    // Options are left out when they are serialized empty, so they are filled here.
    let mut every = Config::default();
    every.optimizer.clip_norm = Some(1.0);
    every.optimizer.decay_steps = Some(1);
    every.train.max_steps = Some(1);
    every.train.stretch = Some(1);
    every.train.validate_every_steps = Some(1);
    every.train.early_stop = Some(1);
    every.checkpoint.url = Some(String::new());
    every.checkpoint.keep_every = Some(1);
    every.checkpoint.max_unsaved_steps = Some(1);
    every.checkpoint.fallback = Some(String::new());
    Table::try_from(every).expect("a configuration is always a table")
}

/// The tables and keys that a configuration knows.
fn known() -> BTreeMap<String, Vec<String>> {
    let keys = |value: Value| match value {
        Value::Table(table) => table.keys().cloned().collect(),
        _ => Vec::new(),
    };
    example().into_iter().map(|(name, value)| (name, keys(value))).collect()
}

/// Takes out what no configuration has, naming the nearest key that one has.
fn remove_unknown(table: &mut Table) -> Vec<Problem> {
    let known = known();
    let every_key: Vec<String> =
        known.iter().flat_map(|(name, keys)| keys.iter().map(move |key| format!("{name}.{key}"))).collect();
    let mut problems = Vec::new();
    table.retain(|name, _| {
        let found = known.contains_key(name);
        if !found {
            // A key that stands outside its table is the likelier slip.
            let inside = every_key.iter().filter(|key| key.ends_with(&format!(".{name}"))).cloned();
            let all: Vec<String> = inside.chain(known.keys().cloned()).collect();
            problems.push(Problem::new(name, unknown("table", name, &all)));
        }
        found
    });
    for (name, value) in table.iter_mut() {
        let Value::Table(section) = value else { continue };
        section.retain(|key, _| {
            let found = known[name].iter().any(|k| k == key);
            if !found {
                let path = format!("{name}.{key}");
                problems.push(Problem::new(&path, unknown("key", &path, &every_key)));
            }
            found
        });
    }
    problems
}

fn unknown(kind: &str, name: &str, candidates: &[String]) -> String {
    let own = name.rsplit('.').next().unwrap_or(name);
    let likeness = |candidate: &String| {
        let theirs = candidate.rsplit('.').next().unwrap_or(candidate);
        strsim::jaro_winkler(own, theirs) + 0.1 * strsim::jaro_winkler(name, candidate)
    };
    let nearest = candidates.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(nearest) => format!("unknown {kind}; the nearest is {nearest}"),
        None => format!("unknown {kind}"),
    }
}

/// Reads every value that has its key's type; the others are reported and keep their defaults.
fn read_values(mut table: Table) -> (Config, Vec<Problem>) {
    let mut problems = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, Config>(Value::Table(table.clone())) {
            Ok(config) => return (config, problems),
            Err(error) => {
                let path = error.path().to_string();
                let message = error.inner().message().trim().to_owned();
                // Inside a list the path ends in an index: the key is what can be taken out.
                let key = path.split('[').next().unwrap_or(&path).trim_end_matches('.').to_owned();
                let removed = remove(&mut table, &key);
                problems.push(Problem::new(&key, message));
                if !removed {
                    // Nothing left to take out: the rest cannot be read either.
                    return (Config::default(), problems);
                }
            }
        }
    }
}

fn remove(table: &mut Table, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path).is_some(),
        Some((name, key)) => match table.get_mut(name) {
            Some(Value::Table(section)) => section.remove(key).is_some(),
            _ => false,
        },
    }
}

/// A [`Config`] from a checkpoint's or a dry run's TOML is read like any other; this writes it.
pub fn to_toml(config: &Config) -> String {
    toml::to_string(config).expect("a configuration is always a table")
}

impl Config {
    /// Reads back what [`Config::identity`] wrote; keys outside the identity have their defaults.
    pub fn from_identity(identity: &serde_json::Value) -> Result<Config, serde_json::Error> {
        Config::deserialize(identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, overrides: &[&str]) -> Vec<String> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let Err(problems) = Config::parse(text, &overrides) else { return Vec::new() };
        let error = ConfigError { path: "c.toml".into(), problems };
        error.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_empty_file_is_the_article() {
        assert_eq!(Config::parse("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut config = Config::default();
        config.data.holdout = vec!["cs6-*".into()];
        config.checkpoint.keep_every = Some(1000);
        assert_eq!(Config::parse(&to_toml(&config), &[]).unwrap(), config);
    }

    #[test]
    fn everything_wrong_is_reported_together_with_lines() {
        let text = "[train]\nbatchsize = 3\nlanes = 6\nepochs = \"many\"\n\n[modle]\nunits = 2\n";
        let lines = problems(text, &["train.seeds=1", "model.layers=0"]);
        assert_eq!(lines.len(), 6, "{lines:#?}");
        assert_eq!(lines[0], "c.toml:6: modle: unknown table; the nearest is model");
        assert!(
            lines.contains(&"c.toml:2: train.batchsize: unknown key; the nearest is train.batch_size".into())
        );
        assert!(lines.contains(&"--set train.seeds: unknown key; the nearest is train.seed".into()));
        assert!(lines.iter().any(|l| l.starts_with("c.toml:4: train.epochs: invalid type")), "{lines:#?}");
        assert!(lines.contains(&"c.toml:3: train.lanes: 6 is not a power of two up to 1024".into()));
        assert!(lines.iter().any(|l| l.starts_with("--set model.layers: 0 is not between")), "{lines:#?}");
    }

    #[test]
    fn a_key_outside_its_table_is_told_where_it_belongs() {
        assert_eq!(
            problems("epochs = 3", &[]),
            ["c.toml:1: epochs: unknown table; the nearest is train.epochs"]
        );
    }

    #[test]
    fn files_that_are_no_utf8_text_say_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let load = |bytes: &[u8]| {
            let path = folder.path().join("c.toml");
            std::fs::write(&path, bytes).unwrap();
            let error = Config::load(&path, &[]).err()?;
            Some(error.to_string().replace(&path.display().to_string(), "c.toml"))
        };
        let said = |text: &str| Some(format!("c.toml: {text}"));
        let text = "# é\n[train]\nepochs = 3\n";
        let utf16 = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect::<Vec<_>>();
        assert_eq!(load(&[b"\xef\xbb\xbf", text.as_bytes()].concat()), None);
        assert_eq!(
            load(&[b"\xff\xfe", &utf16(u16::to_le_bytes)[..]].concat()),
            said("is in UTF-16; save it as UTF-8")
        );
        assert_eq!(load(&utf16(u16::to_be_bytes)), said("is in UTF-16; save it as UTF-8"));
        let latin1 = said("line 2 is not UTF-8, but Latin-1 or the like; save it as UTF-8");
        assert_eq!(load(b"[train]\nepochs = 3 # \xe9\n"), latin1);
        assert_eq!(load(b"[train]\0\n"), said("is no text: it has NUL characters"));
        assert_eq!(load(&vec![b'#'; 3 << 20]), said("is no configuration: it has more than 1048576 bytes"));
        let error = Config::load(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.ends_with("is a folder; name the configuration in it, a .toml file"), "{error}");
    }

    #[test]
    fn broken_toml_has_a_line() {
        let lines = problems("[train]\nepochs = = 3\n", &[]);
        assert!(lines[0].starts_with("c.toml:2: "), "{lines:#?}");
    }

    #[test]
    fn the_last_override_wins_and_words_need_no_quotes() {
        let sets = ["train.epochs=3", "data.midi=some/folder", "train.epochs=4", "data.holdout=[\"a\"]"];
        let config = Config::parse("", &sets.map(String::from)).unwrap();
        assert_eq!(config.train.epochs, 4);
        assert_eq!(config.data.midi, "some/folder");
        assert_eq!(config.data.holdout, ["a"]);
    }

    #[test]
    fn words_that_look_like_numbers_are_words_where_text_is_wanted() {
        let sets = ["checkpoint.url=1", "data.midi=nan", "train.device=\"cpu\"", "train.seed=7"];
        let config = Config::parse("", &sets.map(String::from)).unwrap();
        assert_eq!((config.checkpoint.url.as_deref(), config.data.midi.as_str()), (Some("1"), "nan"));
        assert_eq!((config.train.device.as_str(), config.train.seed), ("cpu", 7));
    }

    #[test]
    fn malformed_overrides_are_problems() {
        assert_eq!(
            problems("", &["train.epochs"]),
            ["--set train.epochs: is not of the form table.key=value"]
        );
        assert!(problems("", &["epochs=3"])[0].contains("train.epochs"));
        assert!(problems("data = 3", &["data.midi=x"])[0].contains("data is not a table"));
    }

    #[test]
    fn every_optional_key_is_known() {
        let source = include_str!("mod.rs");
        let options =
            source.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": Option<"));
        let options = options.filter(|(name, _)| !name.starts_with("fn "));
        let keys: Vec<String> = known().into_values().flatten().collect();
        let missing: Vec<_> =
            options.map(|(name, _)| name).filter(|name| !keys.contains(&name.to_string())).collect();
        assert!(missing.is_empty(), "example() leaves out {missing:?}");
    }

    #[test]
    fn identity_is_read_back() {
        let mut config = Config::default();
        config.model.units = 100;
        let back = Config::from_identity(&config.identity()).unwrap();
        assert_eq!(back.identity(), config.identity());
    }
}

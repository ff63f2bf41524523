//! Reads TOML text and `--set` overrides into a [`Config`], and reports all problems at once.
//!
//! A problem has its key and line; an unknown key is reported with the nearest known one, a renamed key with its new
//! name.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::Config;
use super::identity::RenamedKey;
use crate::failure::{ExitCode, HasExitCode};
use crate::representation::RepresentationConfig;
use crate::text::{self, Encoding};

/// A guard against reading a music file or a device to its end; real configurations have about 1 kB.
const MAX_BYTES: u64 = 1 << 20;

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Dotted key, like `train.lanes`; empty if the text is not TOML at all.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// Where its value was given; `None` for a default.
    pub source: Option<ValueSource>,
}

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueSource {
    /// A line of the file, counted from 1.
    Line(usize),
    /// A `--set` on the command line.
    Set,
}

impl ConfigProblem {
    /// A problem with the value of `key`, wherever it was given.
    pub fn new(key: &str, message: String) -> Self {
        ConfigProblem { key: key.into(), message, source: None }
    }
}

/// A configuration that cannot be used, and everything that is wrong with it.
#[derive(Debug)]
pub struct ConfigError {
    path: PathBuf,
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// What is wrong, in the order found.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (i, problem) in self.problems.iter().enumerate() {
            let line_break = if i == 0 { "" } else { "\n" };
            let colon = if problem.key.is_empty() { "" } else { ": " };
            match problem.source {
                Some(ValueSource::Line(line)) => write!(f, "{line_break}{path}:{line}: ")?,
                Some(ValueSource::Set) => write!(f, "{line_break}--set ")?,
                None => write!(f, "{line_break}{path}: ")?,
            }
            write!(f, "{}{colon}{}", problem.key, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl HasExitCode for ConfigError {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

impl Config {
    /// Reads a file and lays the overrides (`table.key=value`, the last of equals wins) over it.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Config, ConfigError> {
        let fail = |message: String| ConfigError {
            path: path.into(),
            problems: vec![ConfigProblem::new("", message)],
        };
        let mut bytes = Vec::new();
        // One byte more than allowed is enough to know.
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| {
            fail(match error.kind() {
                ErrorKind::NotFound => {
                    "no such file (the project's own configurations are in configs/)".into()
                }
                ErrorKind::IsADirectory => "is a folder (name the .toml file in it)".into(),
                _ => format!("cannot be read: {error}"),
            })
        })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(fail(format!("is not a configuration: it has more than {MAX_BYTES} bytes")));
        }
        let text = match text::decode(&bytes) {
            Some((text, Encoding::Utf8)) => text,
            Some((_, Encoding::Utf16)) => return Err(fail("is in UTF-16 (save it as UTF-8)".into())),
            Some((_, Encoding::Latin1)) => {
                let valid = std::str::from_utf8(&bytes).map_or_else(|error| error.valid_up_to(), str::len);
                let line = 1 + bytes[..valid].iter().filter(|&&byte| byte == b'\n').count();
                return Err(fail(format!(
                    "line {line} is not UTF-8, but Latin-1 or similar (save it as UTF-8)"
                )));
            }
            None => return Err(fail("is not text: it has NUL characters".into())),
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
    pub fn parse(text: &str, overrides: &[String]) -> Result<Config, Vec<ConfigProblem>> {
        let (mut table, mut sources) = read_document(text)?;
        let mut problems = apply_overrides(&mut table, &mut sources, overrides);
        problems.extend(remove_mistyped_options(&mut table));
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
            problem.source = problem.source.or_else(|| sources.get(&problem.key).copied());
        }
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }
}

type Sources = BTreeMap<String, ValueSource>;

/// The text as a table, and the line of every key.
fn read_document(text: &str) -> Result<(Table, Sources), Vec<ConfigProblem>> {
    let line_of = |position: usize| 1 + text[..position.min(text.len())].matches('\n').count();
    let syntax = |error: toml::de::Error| ConfigProblem {
        key: String::new(),
        message: error.message().to_owned(),
        source: error.span().map(|span| ValueSource::Line(line_of(span.start))),
    };
    let (document, errors) = toml::de::DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.into_iter().map(syntax).collect());
    }
    let mut sources = Sources::new();
    for (name, value) in document.get_ref() {
        sources.insert(name.get_ref().to_string(), ValueSource::Line(line_of(name.span().start)));
        for (key, _) in value.get_ref().as_table().into_iter().flatten() {
            let line = ValueSource::Line(line_of(key.span().start));
            sources.insert(format!("{}.{}", name.get_ref(), key.get_ref()), line);
        }
    }
    let table = toml::from_str(text).map_err(|error| vec![syntax(error)])?;
    Ok((table, sources))
}

fn apply_overrides(table: &mut Table, sources: &mut Sources, overrides: &[String]) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    for text in overrides {
        let Some((path, value)) = text.split_once('=') else {
            let message = "is not of the form table.key=value".into();
            problems.push(ConfigProblem { key: text.clone(), message, source: Some(ValueSource::Set) });
            continue;
        };
        let (path, value) = (path.trim(), value.trim());
        let (name, key) = path.split_once('.').unwrap_or(("", path));
        let section = if name.is_empty() { Some(&mut *table) } else { section(table, name) };
        let Some(section) = section else {
            let message = format!("{name} is not a table");
            problems.push(ConfigProblem { key: path.into(), message, source: Some(ValueSource::Set) });
            continue;
        };
        section.insert(key.into(), override_value(path, value));
        sources.insert(path.into(), ValueSource::Set);
    }
    problems
}

fn section<'a>(table: &'a mut Table, name: &str) -> Option<&'a mut Table> {
    table.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

/// What follows the `=`: a TOML value, or else a bare word, so that a path needs no quotes. A key that takes text gets
/// text, even if a folder's name looks like a number.
fn override_value(path: &str, text: &str) -> Value {
    match toml::from_str::<Table>(&format!("value = {text}")) {
        Ok(mut table) if table.len() == 1 && (table["value"].is_str() || !takes_text(path)) => {
            table.remove("value").expect("the key just written")
        }
        _ => Value::String(text.into()),
    }
}

/// Whether a key takes any text: only then can text that means nothing be read as its value.
fn takes_text(path: &str) -> bool {
    let Some((name, key)) = path.split_once('.') else { return false };
    let anything = serde_json::json!({ name: { key: "\0" } });
    is_known(&known_keys(&Table::new()), name, key) && Config::deserialize(anything).is_ok()
}

/// The keys of every table that a configuration can set.
type KnownKeys = BTreeMap<String, Vec<String>>;

fn known_keys(table: &Table) -> KnownKeys {
    // The options of a representation depend on its kind.
    let kind = table.get("representation").and_then(|options| options.get("kind"));
    let options = kind.map(|kind| Table::from_iter([("kind".to_owned(), kind.clone())]));
    let representation = options.and_then(|options| options.try_into().ok()).unwrap_or_default();
    // As JSON, because TOML leaves out keys that are not set.
    let config = Config { representation, ..Config::default() };
    let config = serde_json::to_value(config).expect("plain data becomes JSON");
    let tables = config.as_object().into_iter().flatten();
    tables
        .map(|(name, table)| {
            let keys = table.as_object().into_iter().flat_map(serde_json::Map::keys);
            (name.clone(), keys.cloned().collect())
        })
        .collect()
}

fn is_known(known: &KnownKeys, name: &str, key: &str) -> bool {
    known.get(name).is_some_and(|keys| keys.iter().any(|known| known == key))
}

/// Takes out what is not a key of a configuration, with a problem for each.
fn remove_unknown(table: &mut Table) -> Vec<ConfigProblem> {
    let known = known_keys(table);
    let paths: Vec<String> =
        known.iter().flat_map(|(name, keys)| keys.iter().map(move |key| format!("{name}.{key}"))).collect();
    let mut problems = Vec::new();
    table.retain(|name, _| {
        let keep = known.contains_key(name);
        if !keep {
            // A key outside its table is the likelier slip.
            let inside = paths.iter().filter(|path| path.ends_with(&format!(".{name}")));
            let candidates: Vec<&String> = inside.chain(known.keys()).collect();
            problems.push(ConfigProblem::new(name, unknown("table", name, &candidates)));
        }
        keep
    });
    for (name, value) in table.iter_mut() {
        let Value::Table(section) = value else { continue };
        section.retain(|key, value| {
            let keep = is_known(&known, name, key);
            if !keep {
                let path = format!("{name}.{key}");
                let message = match RenamedKey::find(&path) {
                    Some(renamed) => now_named(renamed, value),
                    None => unknown("key", &path, &paths.iter().collect::<Vec<_>>()),
                };
                problems.push(ConfigProblem::new(&path, message));
            }
            keep
        });
    }
    problems
}

/// Where a key with an old name went, with its value if that has a new name too.
fn now_named(renamed: &RenamedKey, value: &Value) -> String {
    match value.as_str().map(|old| (old, renamed.value(old))) {
        Some((old, new)) if old != new => format!("is now {} = {new:?}", renamed.new),
        _ => format!("is now {}", renamed.new),
    }
}

fn unknown(kind: &str, name: &str, candidates: &[&String]) -> String {
    let own = name.rsplit('.').next().unwrap_or(name);
    let likeness = |candidate: &&&String| {
        let theirs = candidate.rsplit('.').next().unwrap_or(candidate);
        strsim::jaro_winkler(own, theirs) + 0.1 * strsim::jaro_winkler(name, candidate)
    };
    let nearest = candidates.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(nearest) => format!("unknown {kind}; did you mean {nearest}?"),
        None => format!("unknown {kind}"),
    }
}

/// Takes out the options of a representation that are not of their type, with a problem for each; all of them if it is not
/// known of what kind they are. They are read one at a time, because the error of a tagged enum does not say which of its
/// fields it is about.
fn remove_mistyped_options(table: &mut Table) -> Vec<ConfigProblem> {
    let Some(Value::Table(options)) = table.get_mut("representation") else { return Vec::new() };
    // It may be left out like any other key.
    let kind = options.entry("kind").or_insert(Value::String("pitch".into())).clone();
    let mut problems = Vec::new();
    options.retain(|key, value| {
        let alone = Table::from_iter([("kind".to_owned(), kind.clone()), (key.to_string(), value.clone())]);
        let error = RepresentationConfig::deserialize(alone).err();
        let message = error.as_ref().map(|error| error.message().trim().to_owned());
        problems.extend(message.map(|message| ConfigProblem::new(&format!("representation.{key}"), message)));
        error.is_none()
    });
    if !options.contains_key("kind") {
        problems.retain(|problem| problem.key == "representation.kind");
        table.remove("representation");
    }
    problems
}

/// Reads every value that has its key's type; the others are reported and keep their defaults.
fn read_values(mut table: Table) -> (Config, Vec<ConfigProblem>) {
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
                problems.push(ConfigProblem::new(&key, message));
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

/// A configuration as TOML that [`Config::parse`] reads back.
pub fn to_toml(config: &Config) -> String {
    toml::to_string(config).expect("a configuration is always a table")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::grid::NoteValue;
    use crate::representation::frames::FramesOptions;

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
        config.checkpoint.keep_every_steps = Some(1000);
        assert_eq!(Config::parse(&to_toml(&config), &[]).unwrap(), config);
    }

    #[test]
    fn everything_wrong_is_reported_together_with_lines() {
        let text = "[train]\nbatchsize = 3\nlanes = 6\nepochs = \"many\"\n\n[modle]\nunits = 2\n";
        let lines = problems(text, &["train.seeds=1", "model.layers=0"]);
        assert_eq!(lines.len(), 6, "{lines:#?}");
        assert_eq!(lines[0], "c.toml:6: modle: unknown table; did you mean model?");
        assert!(
            lines.contains(&"c.toml:2: train.batchsize: unknown key; did you mean train.batch_size?".into())
        );
        assert!(lines.contains(&"--set train.seeds: unknown key; did you mean train.seed?".into()));
        assert!(lines.iter().any(|l| l.starts_with("c.toml:4: train.epochs: invalid type")), "{lines:#?}");
        assert!(lines.contains(&"c.toml:3: train.lanes: 6 is not a power of two up to 1024".into()));
        assert!(lines.iter().any(|l| l.starts_with("--set model.layers: 0 is not between")), "{lines:#?}");
    }

    #[test]
    fn a_key_outside_its_table_is_told_where_it_belongs() {
        assert_eq!(
            problems("epochs = 3", &[]),
            ["c.toml:1: epochs: unknown table; did you mean train.epochs?"]
        );
    }

    #[test]
    fn files_that_are_not_utf8_text_are_refused() {
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
            said("is in UTF-16 (save it as UTF-8)")
        );
        assert_eq!(load(&utf16(u16::to_be_bytes)), said("is in UTF-16 (save it as UTF-8)"));
        let latin1 = said("line 2 is not UTF-8, but Latin-1 or similar (save it as UTF-8)");
        assert_eq!(load(b"[train]\nepochs = 3 # \xe9\n"), latin1);
        assert_eq!(load(b"[train]\0\n"), said("is not text: it has NUL characters"));
        assert_eq!(
            load(&vec![b'#'; 3 << 20]),
            said("is not a configuration: it has more than 1048576 bytes")
        );
        let error = Config::load(folder.path(), &[]).unwrap_err().to_string();
        assert!(error.ends_with("is a folder (name the .toml file in it)"), "{error}");
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
    fn a_renamed_key_is_refused_with_its_new_name() {
        let text = "[model]\nmembers = 3\n[train]\nobjective = \"every\"\nstretch = 64\n";
        assert_eq!(
            problems(text, &["train.hang_seconds=5"]),
            [
                "c.toml:2: model.members: is now model.ensemble_size",
                "--set train.hang_seconds: is now train.collective_timeout_seconds",
                "c.toml:4: train.objective: is now train.loss_positions = \"all\"",
                "c.toml:5: train.stretch: is now train.window_length",
            ]
        );
    }

    #[test]
    fn the_keys_of_a_representation_depend_on_its_kind() {
        let sets = ["representation.grid=quarter", "representation.kind=frames"].map(String::from);
        let config = Config::parse("", &sets).unwrap();
        let options = FramesOptions { grid: NoteValue::Quarter, ..FramesOptions::default() };
        assert_eq!(config.representation, RepresentationConfig::Frames(options));
        assert!(problems("", &["representation.grid=quarter"])[0].contains("unknown key"));
        assert!(problems("", &[&sets[1], "representation.intervals=true"])[0].contains("unknown key"));
        assert!(problems("", &[&sets[1], "representation.grid=32nd"])[0].contains("unknown variant"));
    }

    #[test]
    fn a_representation_is_written_and_read_back_with_its_options() {
        let text = "[representation]\nkind = \"voices\"\nvoices = 3\ngrid = \"24 a beat\"\n";
        let config = Config::parse(text, &[]).unwrap();
        assert_eq!(Config::parse(&to_toml(&config), &[]).unwrap(), config);
    }

    #[test]
    fn every_option_of_a_representation_is_reported_by_its_own_key() {
        let text = "[representation]\nkind = \"voices\"\nintervals = true\nvoices = 9\ngrid = 8\n";
        assert_eq!(
            problems(text, &["representation.polyphony=drop"]),
            [
                "c.toml:5: representation.grid: invalid type: integer `8`, expected string or map",
                "--set representation.polyphony: unknown variant `drop`, expected `refuse` or `split`",
                "c.toml:4: representation.voices: 9 is not between 1 and 8",
                "c.toml:3: representation.intervals: unknown key; did you mean representation.voices?",
            ]
        );
        let text = "[representation]\nkind = \"voice\"\nvoices = 9\n";
        let kinds = "unknown variant `voice`, expected one of `pitch`, `frames`, `notes`, `voices`";
        assert_eq!(problems(text, &[]), [format!("c.toml:2: representation.kind: {kinds}")]);
        assert_eq!(problems("representation = 3", &[]).len(), 1);
    }

    #[test]
    fn optional_keys_are_known() {
        let sets = ["train.window_length=64", "train.loss_positions=all", "checkpoint.fallback=7"];
        let config = Config::parse("", &sets.map(String::from)).unwrap();
        assert_eq!(config.train.window_length, Some(64));
        assert_eq!(config.checkpoint.fallback.as_deref(), Some("7"));
    }
}

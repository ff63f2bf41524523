//! Parses what users write as the location of storage, checkpoints or music: a path, or `s3://bucket/prefix`.
//!
//! `~` and `$SCRATCH` are expanded here, because a shell does not expand them inside quotes or in a configuration. A text
//! that only resembles a URL is refused: `s3:/bucket` would become a folder named `s3:`.

use std::path::{Path, PathBuf};

use reqwest::Url;

use crate::failure::{ExitCode, HasExitCode};

/// A parsed location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder or a file, which may not exist yet.
    Local(PathBuf),
    /// The objects in a bucket whose keys begin with a prefix.
    S3 {
        /// The name of the bucket.
        bucket: String,
        /// Without `/` at both ends.
        prefix: String,
    },
    /// This process's own memory, for tests.
    Memory,
}

/// A text that is not a location. Its `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{shown}: {advice}")]
pub struct InvalidLocation {
    /// The text, without secrets and control characters.
    pub shown: String,
    /// What is wrong with it and what to do.
    pub advice: String,
}

impl HasExitCode for InvalidLocation {
    fn exit_code(&self) -> ExitCode {
        ExitCode::Usage
    }
}

/// Schemes of storage systems that are not supported. Without this list some would be taken for names of folders.
const ELSEWHERE: [&str; 17] = [
    "abfs", "abfss", "adl", "az", "azure", "b2", "ftp", "gcs", "gs", "hdfs", "http", "https", "oss", "r2",
    "s3a", "s3n", "sftp",
];

/// Parses a location.
///
/// # Errors
/// It is not a location, or a variable in it is not set.
pub fn parse(text: &str) -> Result<Location, InvalidLocation> {
    parse_with(text, |name| std::env::var(name).ok())
}

/// Parses the location of music.
///
/// # Errors
/// As for [`parse`]; and music is not read from buckets.
pub fn music(text: &str) -> Result<PathBuf, InvalidLocation> {
    local(text, |bucket, prefix| {
        let url = [bucket, prefix].join("/");
        let url = url.trim_end_matches('/');
        format!(
            "music is read from a file or folder on every host; copy it there first (aws s3 cp --recursive s3://{url} music) \
             and give that folder"
        )
    })
}

/// Parses the location of a folder.
///
/// # Errors
/// As for [`parse`]; and a bucket is not a folder.
pub fn folder(text: &str) -> Result<PathBuf, InvalidLocation> {
    local(text, |_, _| "a folder on this machine is needed here".to_owned())
}

/// The file that a text names.
///
/// # Errors
/// As for [`parse`]; and an object in a bucket is not a file.
pub fn file(text: &str) -> Result<PathBuf, InvalidLocation> {
    local(text, |_, _| "a file on this machine is needed here".to_owned())
}

fn local(text: &str, of_bucket: impl Fn(&str, &str) -> String) -> Result<PathBuf, InvalidLocation> {
    let advice = match parse(text)? {
        Location::Local(path) => return Ok(path),
        Location::S3 { bucket, prefix } => of_bucket(&bucket, &prefix),
        Location::Memory => "a folder on this machine is needed here".to_owned(),
    };
    Err(InvalidLocation { shown: text.to_owned(), advice })
}

fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Location, InvalidLocation> {
    let refuse = |advice: &str| Err(InvalidLocation { shown: shown(text), advice: advice.to_owned() });
    if text.trim().is_empty() {
        return refuse("the name is empty");
    }
    if text.contains(char::is_control) {
        return refuse("there is a line break or another control character in the name");
    }
    if text != text.trim() && !Path::new(text).exists() {
        return refuse("the name begins or ends with a space (remove it)");
    }
    let expanded = expand(text, variable).map_err(|advice| InvalidLocation { shown: shown(text), advice })?;
    let lower = expanded.to_ascii_lowercase();
    let (scheme, rest) = match expanded.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ if lower.starts_with("s3//") => return refuse("a bucket is written s3://bucket/prefix"),
        _ if expanded.starts_with("\\\\") => {
            return refuse("this is a Windows path; write it with /");
        }
        _ => return Ok(Location::Local(expanded.into())),
    };
    match scheme.as_str() {
        "s3" if rest.starts_with("//") => bucket(text, &rest[2..]),
        "s3" => refuse("a bucket is written s3://bucket/prefix"),
        // Nothing is expanded in a file URL.
        "file" => match Url::parse(text).ok().filter(|_| rest.starts_with('/')).map(|url| url.to_file_path())
        {
            Some(Ok(path)) => Ok(Location::Local(path)),
            _ => refuse("a file URL is file:///absolute/folder; a folder from here is written without file:"),
        },
        "memory" if rest.is_empty() => Ok(Location::Memory),
        "s3a" | "s3n" => refuse("a bucket is written s3://bucket/prefix"),
        "http" | "https" => refuse(
            "this is the address of a server; write s3://bucket/prefix, and set AWS_ENDPOINT_URL to the server",
        ),
        _ if scheme.len() == 1 && rest.starts_with(['\\', '/']) => {
            refuse("this is a Windows path; write it with /, in WSL /mnt/c/... for C:\\...")
        }
        _ if rest.starts_with("//") || ELSEWHERE.contains(&scheme.as_str()) => {
            refuse("this system is not supported; give a folder or s3://bucket/prefix")
        }
        _ => Ok(Location::Local(expanded.into())),
    }
}

fn bucket(text: &str, rest: &str) -> Result<Location, InvalidLocation> {
    let refuse = |shown: String, advice: &str| Err(InvalidLocation { shown, advice: advice.to_owned() });
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // A secret may have a / itself, so what stands before the last @ is not shown.
    if let Some((keys, after)) = rest.rsplit_once('@')
        && (bucket.contains('@') || keys.split('/').next().is_some_and(|first| first.contains(':')))
    {
        let advice = "keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the URL";
        return refuse(format!("s3://...@{after}"), advice);
    }
    let proper = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(proper) {
        return refuse(shown(text), "the bucket's name is missing or odd; the form is s3://bucket/prefix");
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return refuse(shown(text), "a part of the prefix is empty, or is . or ..");
    }
    Ok(Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn is_scheme(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// The text for messages, on one line.
fn shown(text: &str) -> String {
    text.replace(char::is_control, "\u{FFFD}")
}

/// Expands `~` and variables as a shell does.
fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:")) {
        return Ok(text.to_owned());
    }
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut rest = text;
    let mut expanded = String::new();
    if let Some(after) = text.strip_prefix('~') {
        if !after.is_empty() && !after.starts_with('/') {
            return Err(
                "another user's folder is not looked up (write it out; ./~... is a name of its own)".into()
            );
        }
        let home = set("HOME").ok_or("~ is the home folder, but HOME is not set (write the folder out)")?;
        expanded.push_str(home.trim_end_matches('/'));
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, left) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or("${ is never closed with }")?,
            None => after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len())),
        };
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_name) {
            // No variable has such a name: the character itself is meant.
            expanded.push('$');
            rest = after;
            continue;
        }
        match set(name) {
            Some(value) => expanded.push_str(&value),
            None if Path::new(text).exists() => return Ok(text.to_owned()),
            None => return Err(format!("the variable {name} is not set (set it, or write the folder out)")),
        }
        rest = left;
    }
    expanded.push_str(rest);
    if expanded.trim().is_empty() { Err("the name is empty".into()) } else { Ok(expanded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As with these variables and no others.
    fn parsed(text: &str) -> Result<Location, InvalidLocation> {
        parse_with(text, |name| match name {
            "HOME" => Some("/home/me".into()),
            "SCRATCH" => Some("/scratch/me/".into()),
            "RUN_7" => Some("seven".into()),
            "EMPTY" => Some(String::new()),
            "BUCKET" => Some("s3://music".into()),
            _ => None,
        })
    }

    #[test]
    fn what_a_shell_would_put_in_is_put_in() {
        for (text, path) in [
            ("runs/cello", "runs/cello"),
            ("~", "/home/me"),
            ("~/runs/x", "/home/me/runs/x"),
            ("$SCRATCH/x", "/scratch/me//x"),
            ("${SCRATCH}/x", "/scratch/me//x"),
            ("/data/$RUN_7/x", "/data/seven/x"),
            ("a/${RUN_7}b", "a/sevenb"),
            ("runs/5$", "runs/5$"),
            ("runs/$5", "runs/$5"),
            ("file:///data/my%20runs/$SCRATCH", "/data/my runs/$SCRATCH"),
            ("FILE:/data", "/data"),
            ("a:b", "a:b"),
            ("x/~/y", "x/~/y"),
            (".", "."),
        ] {
            assert_eq!(parsed(text), Ok(Location::Local(path.into())), "{text}");
        }
        let s3 =
            |bucket: &str, prefix: &str| Ok(Location::S3 { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!(parsed("s3://music"), s3("music", ""));
        assert_eq!(parsed("S3://music/a/b/"), s3("music", "a/b"));
        assert_eq!(parsed("s3://music/me@host/$RUN_7"), s3("music", "me@host/seven"));
        assert_eq!(parsed("$BUCKET/x"), s3("music", "x"));
        assert_eq!(parsed("memory:"), Ok(Location::Memory));
    }

    #[test]
    fn near_misses_are_refused_with_what_to_write() {
        for (text, says) in [
            ("", "empty"),
            (" ", "empty"),
            ("$EMPTY", "the variable EMPTY is not set"),
            ("s3:/music/run", "s3://bucket/prefix"),
            ("s3:music", "s3://bucket/prefix"),
            ("S3:music", "s3://bucket/prefix"),
            ("s3//music", "s3://bucket/prefix"),
            ("s3a://music", "s3://bucket/prefix"),
            ("s3://", "s3://bucket/prefix"),
            ("s3:///run", "s3://bucket/prefix"),
            ("s3://mu sic/run", "s3://bucket/prefix"),
            ("s3://host:9000/music", "s3://bucket/prefix"),
            ("s3://music/a//b", "a part of the prefix is empty"),
            ("s3://music/../b", "a part of the prefix is empty"),
            (" s3://music", "a space"),
            ("runs/x ", "a space"),
            ("runs\n", "a line break"),
            ("gs://music/run", "a folder or s3://bucket/prefix"),
            ("gs:music", "a folder or s3://bucket/prefix"),
            ("xyz://music", "a folder or s3://bucket/prefix"),
            ("http://localhost:9000/music", "AWS_ENDPOINT_URL"),
            ("https:/music", "AWS_ENDPOINT_URL"),
            ("file:relative", "file:///absolute/folder"),
            ("file://host/x", "file:///absolute/folder"),
            ("file:", "file:///absolute/folder"),
            ("~you/x", "another user's folder"),
            ("$NOWHERE/x", "the variable NOWHERE is not set"),
            ("runs/${NOWHERE}", "the variable NOWHERE is not set"),
            ("${SCRATCH/x", "never closed"),
            ("C:\\runs", "Windows"),
            ("c:/runs", "Windows"),
            ("\\\\host\\runs", "Windows"),
        ] {
            let line = parsed(text).expect_err(text).to_string();
            assert!(line.contains(says) && !line.contains('\n'), "{text}: {line}");
        }
        let homeless = parse_with("~/x", |_| None).unwrap_err();
        assert!(homeless.advice.contains("HOME is not set"), "{homeless}");
    }

    #[test]
    fn keys_are_not_repeated() {
        for text in ["s3://key:hidden@music/run", "s3://key:hid/hidden@music/run", "s3://hidden@music/run"] {
            let line = parsed(text).unwrap_err().to_string();
            assert!(line.contains("AWS_SECRET_ACCESS_KEY") && !line.contains("hid"), "{line}");
            assert!(line.starts_with("s3://...@music/run: "), "{line}");
        }
    }

    #[test]
    fn music_in_a_bucket_has_to_be_copied() {
        let line = music("s3://bucket/music").unwrap_err().to_string();
        assert!(line.contains("aws s3 cp --recursive s3://bucket/music music"), "{line}");
        assert_eq!(music("data/cello"), Ok("data/cello".into()));
        assert!(folder("s3://bucket").unwrap_err().advice.contains("a folder on this machine"));
        assert!(file("s3://bucket/font.sf2").unwrap_err().advice.contains("a file on this machine"));
    }
}

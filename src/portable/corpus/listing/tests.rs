use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::*;
use crate::corpus::files::{self, Music};
use crate::midi::grid::NoteValue;

const SCORE_TEXT: &str = "meter: 4/4\nunit: 1/4\ntempo: 90\n\nC4 D4 E4 F4 |\n";

fn read(path: &Path) -> Result<Vec<Music>, String> {
    files::read(path, NoteValue::Sixteenth)
}

/// A folder with files of this content.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn listed(folder: &tempfile::TempDir) -> Listing {
    list(folder.path().to_str().unwrap()).unwrap()
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.sources.iter().map(|source| source.name.as_str()).collect()
}

/// A pipe that nobody writes to: whoever opens it waits for ever.
fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn every_real_folder_comes_once_whatever_links_lead_to_it() {
    let folder = folder(&[("a.mid", b""), ("sub/b.mid", b""), ("sub/deep/c.mid", b"")]);
    let outside = folder_beside(&folder);
    let path = |name: &str| folder.path().join(name);
    symlink("..", path("sub/up")).unwrap();
    symlink("../..", path("sub/deep/beyond")).unwrap();
    symlink(".", path("self")).unwrap();
    symlink("sub", path("again")).unwrap();
    symlink("/", path("everything")).unwrap();
    symlink(folder.path().parent().unwrap(), path("parent")).unwrap();
    symlink(outside.path(), path("other")).unwrap();
    symlink(path("a.mid"), path("z.mid")).unwrap();
    symlink(outside.path().join("x.mid"), path("x.mid")).unwrap();
    let listing = listed(&folder);
    // The link to x.mid itself comes after the folder that has it.
    assert_eq!(names(&listing), ["a.mid", "other/x.mid", "sub/b.mid", "sub/deep/c.mid"]);
    let repeated = &listing.passed_over.groups[&PassedOverReason::Repeated];
    let details: Vec<_> = repeated.details.keys().map(String::as_str).collect();
    let expected = [
        "again",
        "everything",
        "other/back",
        "parent",
        "self",
        "sub/deep/beyond",
        "sub/up",
        "x.mid is other/x.mid",
        "z.mid is a.mid",
    ];
    assert_eq!((details, repeated.files, repeated.folders), (expected.to_vec(), 2, 7));
}

/// Another folder, with a piece and a link back.
fn folder_beside(other: &tempfile::TempDir) -> tempfile::TempDir {
    let folder = folder(&[("x.mid", b"")]);
    symlink(other.path(), folder.path().join("back")).unwrap();
    folder
}

#[test]
fn two_links_to_one_file_are_one_piece_and_hard_links_are_told() {
    let outside = folder(&[("x.mid", b"")]);
    let folder = folder(&[("a.mid", b"")]);
    for name in ["l1.mid", "l2.mid"] {
        symlink(outside.path().join("x.mid"), folder.path().join(name)).unwrap();
    }
    fs::hard_link(folder.path().join("a.mid"), folder.path().join("b.mid")).unwrap();
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["a.mid", "b.mid", "l1.mid"]);
    assert_eq!(
        listing.passed_over.to_string(),
        "skipped 1 file: 1 reached under another name (l2.mid is l1.mid)"
    );
    assert_eq!(listing.remarks, ["b.mid and a.mid are one file (a hard link), read twice"]);
}

#[test]
fn what_is_no_plain_file_is_never_opened() {
    let folder = folder(&[("a.mid", b"")]);
    pipe(&folder.path().join("p.mid"));
    pipe(&folder.path().join("p.txt"));
    symlink("p.txt", folder.path().join("q.txt")).unwrap();
    symlink("/dev/zero", folder.path().join("zero.mid")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s.mid")).unwrap();
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["a.mid"]);
    assert_eq!(
        listing.passed_over.to_string(),
        "skipped 5 files: 5 pipe, socket or device (p.mid, p.txt, q.txt, ...)"
    );
    // Nor where it is named itself.
    for (name, what) in [("p.mid", "a pipe"), ("s.mid", "a socket"), ("zero.mid", "a device")] {
        let path = folder.path().join(name);
        let error = list(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("is {what}, not a file or folder")), "{error}");
        assert_eq!(read(&path), Err(format!("is {what}, not a file of music")));
    }
    assert_eq!(read(folder.path()), Err("is a folder, not a file of music".into()));
}

#[test]
fn of_huge_files_the_beginning_is_enough() {
    let score = format!("{SCORE_TEXT}{}", "# words\n".repeat(9000));
    let folder = folder(&[("huge.txt", b""), ("huge.mid", b""), ("score.txt", score.as_bytes())]);
    let path = |name: &str| folder.path().join(name);
    for name in ["huge.txt", "huge.mid", "score.txt"] {
        // A hole, which takes no room on the disk; reading it would take 2^41 bytes of memory.
        fs::OpenOptions::new().write(true).open(path(name)).unwrap().set_len(1 << 41).unwrap();
    }
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["huge.mid", "score.txt"]);
    assert!(listing.passed_over.to_string().ends_with("1 text without a score (huge.txt)"));
    assert_eq!(read(&path("huge.mid")), Err("byte 0: not a MIDI file: it does not begin with MThd".into()));
    let too_large = Err("has 2097152 MB; a file of music has at most 256 MB".into());
    assert_eq!(read(&path("score.txt")), too_large);
    fs::OpenOptions::new()
        .write(true)
        .open(path("huge.mid"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"MThd"))
        .unwrap();
    assert_eq!(read(&path("huge.mid")), too_large);
}

#[test]
fn scores_are_known_by_their_header_in_any_encoding() {
    let with_title = format!("title: Prélude\n{SCORE_TEXT}");
    let latin1: Vec<u8> = with_title.chars().map(|c| c as u8).collect();
    let utf16: Vec<u8> = with_title.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let windows = format!("\u{feff}{}", with_title.replace('\n', "\r\n"));
    let misspelled = SCORE_TEXT.replace("tempo", "tmpo");
    let long_comment = format!("{}{SCORE_TEXT}", "# words\n".repeat(5000));
    let folder = folder(&[
        ("big-comment.txt", long_comment.as_bytes()),
        ("bom.txt", windows.as_bytes()),
        ("latin1.txt", &latin1),
        ("misspelled.txt", misspelled.as_bytes()),
        ("untitled.TXT", SCORE_TEXT.as_bytes()),
        ("utf16.txt", &[b"\xfe\xff", &utf16[..]].concat()),
        ("catalog.txt", b"title: Suites\ncomposer: Bach\n\nSix of them.\n"),
        ("later.txt", format!("Words first.\n{SCORE_TEXT}").as_bytes()),
        ("zeros.txt", &[0; 999]),
    ]);
    let listing = listed(&folder);
    let expected =
        ["big-comment.txt", "bom.txt", "latin1.txt", "misspelled.txt", "untitled.TXT", "utf16.txt"];
    assert_eq!(names(&listing), expected);
    let not_scores = listing.passed_over.groups[&PassedOverReason::NotScore].details.keys();
    assert_eq!(not_scores.collect::<Vec<_>>(), ["catalog.txt", "later.txt", "zeros.txt"]);
    for source in &listing.sources {
        let found = source.read(NoteValue::Sixteenth).map(|music| music[0].song.instruments[0].notes.len());
        match source.name.as_str() {
            "misspelled.txt" => {
                assert!(found.unwrap_err().contains("there is no header line named tmpo"))
            }
            name => assert_eq!(found, Ok(4), "{name}"),
        }
    }
    // Named itself, a score may have any name.
    fs::rename(folder.path().join("bom.txt"), folder.path().join("bom.score")).unwrap();
    assert!(read(&folder.path().join("bom.score")).is_ok());
}

#[test]
fn endings_depths_and_names() {
    let deep = format!("{}e.mid", "d/".repeat(40));
    let files =
        ["A.MID", "b.Kar", "c.smf", "d.rmi", "x.pdf", "x.PDF", "y.png", "bare", ".h.mid", ".git/config"];
    let mut files: Vec<(&str, &[u8])> = files.iter().map(|&name| (name, &b""[..])).collect();
    files.push((&deep, b""));
    let folder = folder(&files);
    let not_utf8 = std::ffi::OsStr::from_bytes(b"caf\xe9.mid");
    fs::write(folder.path().join(not_utf8), "").unwrap();
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["A.MID", "b.Kar", "c.smf", "caf\u{fffd}.mid", "d.rmi", &deep]);
    assert_eq!(
        listing.passed_over.to_string(),
        "skipped 5 files and 1 folder: 4 not music (.pdf, .png, no ending), 2 hidden (.git, .h.mid)"
    );
    assert_eq!(listing.remarks, ["names that are not UTF-8, shown with \u{fffd}: 1, like caf\u{fffd}.mid"]);
    assert!(
        listing.sources[3].read(NoteValue::Sixteenth).unwrap_err().contains("the file is empty"),
        "it is opened by its own name"
    );
}

#[test]
fn a_folder_that_cannot_be_listed_is_told() {
    let folder = folder(&[("a.mid", b"")]);
    // Its path is longer than the system takes, which holds for root, too.
    let name = "n".repeat(250);
    let chain = |root: &Path, length: usize| {
        let end = (0..length).fold(root.to_owned(), |path, _| path.join(&name));
        fs::create_dir_all(&end).unwrap();
        end
    };
    let inner = folder.path().join("inner");
    chain(&inner, 10);
    let end = chain(&folder.path().join("outer"), 10);
    fs::rename(inner, end.join("inner")).unwrap();
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["a.mid"]);
    let told = listing.passed_over.to_string();
    assert!(told.starts_with("skipped 1 folder: 1 unreadable (outer/nnn"), "{told}");
    assert!(told.ends_with("nnn: File name too long (os error 36))") && told.len() < 200, "{told}");
    // Links that lead nowhere: music that cannot be read is for its reader to say.
    symlink("nowhere", folder.path().join("b.mid")).unwrap();
    symlink("c", folder.path().join("c")).unwrap();
    let listing = listed(&folder);
    assert_eq!(names(&listing), ["a.mid", "b.mid"]);
    assert!(listing.sources[1].read(NoteValue::Sixteenth).unwrap_err().contains("No such file"));
    let unreadable = &listing.passed_over.groups[&PassedOverReason::Unreadable];
    assert_eq!((unreadable.files, unreadable.folders), (1, 1));
}

#[test]
fn a_folder_without_music_says_what_it_has() {
    let folder = folder(&[("a.pdf", b""), ("b.txt", b"words")]);
    let error = list(folder.path().to_str().unwrap()).unwrap_err().to_string();
    let said = "holds no .mid, .midi, .kar, .smf or .rmi file, no score (.txt) and no piano rolls (.json); skipped 2 files: 1 not music \
                (.pdf), 1 text without a score (b.txt)";
    assert!(error.ends_with(said), "{error}");
}

#[test]
fn a_path_that_leads_nowhere_is_answered_by_what_was_meant() {
    for (root, reason) in [
        ("embedded:chorale", "no such music is inside the program; it has embedded and embedded:chorales"),
        ("rolls.json", "no such file (bachdist data fetch --help says what can be downloaded)"),
        (
            "nowhere",
            "no such file or folder (bachdist data fetch cello nowhere downloads the article's files; ",
        ),
    ] {
        let error = list(root).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{root}: {reason}")), "{error}");
    }
}

//! The files that `sample` writes: whole or absent, and never in the place of another piece's.

use bachdist_test_support::snapshot::Transcript;
use bachdist_test_support::tools::{need, on_path};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

fn sample(folder: &Path, options: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sample"));
    command.current_dir(folder).args(options.split_whitespace()).output().unwrap()
}

fn ok(folder: &Path, options: &str) -> (Value, String) {
    let output = sample(folder, &format!("--json --notes 20 {options}"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

/// Names and contents, hidden ones included.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap_or_default())
        })
        .collect();
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

/// The system sends a signal for such a limit, which would end the program without a line.
#[test]
fn a_file_beyond_a_size_limit_is_refused_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_sample");
    let mut said = Transcript::default();
    for (options, name) in [("--notes 30", "1-1.wav"), ("--notes 5000 --only midi", "1-1.mid")] {
        let script = format!("ulimit -f 16; exec {program} --seed 1 {options} -o out");
        let output = Command::new("sh").current_dir(folder.path()).args(["-c", &script]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains(&format!("out/{name}")) && stderr.lines().count() == 1, "{stderr}");
        said.line(format!("ulimit -f 16; sample --seed 1 {options} -o out"), stderr.trim_end());
        // Not the MIDI file of a piece that lacks its sound, either.
        assert_eq!(names(&folder.path().join("out")), [""; 0]);
    }
    said.check("sample-beyond-a-size-limit");
}

#[test]
fn another_piece_of_the_same_name_stays() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("composed");
    let (first, told) = ok(folder.path(), "--seed 7 -n 2");
    assert_eq!((&first["pieces"][0]["midi"], told.as_str()), (&json!("composed/7-1.mid"), ""));
    let before = files(&out);
    assert_eq!(names(&out), ["7-1.mid", "7-1.png", "7-1.wav", "7-2.mid", "7-2.png", "7-2.wav"]);

    // The same pieces are the same files.
    assert_eq!(ok(folder.path(), "--seed 7 -n 2"), (first, String::new()));
    assert!(files(&out) == before);

    // Others, of one seed, get names of their own, all files of a piece alike, and a note says so, once.
    for _ in 0..2 {
        let (second, told) = ok(folder.path(), "--seed 7 -n 2 --start 100");
        for (number, midi) in [(0, "composed/7-1-2.mid"), (1, "composed/7-2-2.mid")] {
            assert_eq!(second["pieces"][number]["midi"], midi);
        }
        assert!(told.starts_with("note: composed/7-") && told.lines().count() == 1, "{told}");
        let all = files(&out);
        assert_eq!(all.len(), 12);
        assert!(before.iter().all(|file| all.contains(file)), "a file was overwritten");
    }
    // The sound alone is the one that is there; that of a third piece is not.
    ok(folder.path(), "--seed 7 --start 100 --only wav");
    assert_eq!(files(&out).len(), 12);
    let (third, _) = ok(folder.path(), "--seed 7 --start 300 --only wav,midi");
    assert_eq!(third["pieces"][0]["wav"], "composed/7-1-3.wav");
}

#[test]
fn folders_and_links_in_the_way_are_no_files_to_replace() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("1-1.mid")).unwrap();
    std::os::unix::fs::symlink("nowhere", out.join("1-1-2.mid")).unwrap();
    let (json, _) = ok(folder.path(), "--seed 1 --only midi -o out");
    assert_eq!(json["pieces"][0]["midi"], "out/1-1-3.mid");
    // A file is no folder, nor is a device.
    fs::write(folder.path().join("file"), "mine").unwrap();
    let mut said = Transcript::default();
    for place in ["file", "file/deep", "/dev/null"] {
        let output = sample(folder.path(), &format!("--seed 1 --notes 5 -o {place}"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{stderr}");
        assert!(stderr.contains(place) && stderr.contains(" -o"), "{stderr}");
        said.line(format!("sample --seed 1 --notes 5 -o {place}"), stderr.trim_end());
    }
    said.check("sample-into-no-folder");
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"mine");
}

/// A piece's JSON is printed as soon as it is there: what the program keeps does not grow with their number.
#[test]
#[ignore = "needs python; slow"]
fn many_pieces_are_one_document_and_do_not_gather_in_memory() {
    const SCRIPT: &str = "
import json, resource, subprocess, sys
program, count = sys.argv[1], int(sys.argv[2])
options = ['--json', '--seed', '1', '--notes', '100', '--only', 'midi', '-n', str(count)]
out = subprocess.run([program] + options, stdout=subprocess.PIPE, check=True).stdout
pieces = json.loads(out)['pieces']
assert [len(piece['probabilities']) for piece in pieces] == [100] * count
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
";
    let Some(python) = need("python", on_path("python3")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let kilobytes = |count: &str| -> u64 {
        let mut python = Command::new(&python);
        python.current_dir(folder.path()).args(["-c", SCRIPT, env!("CARGO_BIN_EXE_sample"), count]);
        let output = python.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    let (few, many) = (kilobytes("40"), kilobytes("240"));
    println!("{few} kB for 40 pieces, {many} kB for 240");
    // As text alone 200 pieces have 30 MB.
    assert!(many < few + 10_000, "{few} kB for 40 pieces, {many} kB for 240");
}

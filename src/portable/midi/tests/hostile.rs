//! Files that mean harm, or went through it: an error with a place, never a panic, and memory by the
//! length of the file.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{Instrument, MAX_TICK, Meter, MidiProblem, Note, Song, TempoChange, read, write};
use super::bytes::*;
use bachdist_test_support::tools::shared_if_any;

use super::{config, generated};

/// Bytes that a song takes beyond itself.
fn heap(song: &Song) -> usize {
    let instrument =
        |i: &Instrument| size_of::<Instrument>() + i.name.capacity() + i.notes.capacity() * size_of::<Note>();
    song.instruments.iter().map(instrument).sum::<usize>()
        + song.tempo_changes.capacity() * size_of::<TempoChange>()
        + song.meters.capacity() * size_of::<Meter>()
}

/// Reads, and checks what holds of any file.
fn check(bytes: &[u8]) {
    match read(bytes) {
        Err(error) => assert!(error.offset <= bytes.len(), "{error} in {} bytes", bytes.len()),
        Ok(song) => {
            assert!(heap(&song) <= 32 * bytes.len() + (64 << 10), "{} of {}", heap(&song), bytes.len());
            assert!(song.end >= 0.0 && song.end.is_finite());
            for note in song.instruments.iter().flat_map(|instrument| &instrument.notes) {
                assert!(note.pitch < 128 && (1..128).contains(&note.velocity), "{note:?}");
                assert!(0.0 <= note.start && note.start < note.end && note.end <= song.end, "{note:?}");
            }
        }
    }
}

/// Real files where they are at hand, and one that we write.
fn real_files() -> Vec<Vec<u8>> {
    let note = |i: u8| Note::in_seconds(40 + i, 100, f64::from(i), f64::from(i) + 0.3);
    let notes = (0..40).map(note).collect();
    let cello = Instrument { program: 42, is_drum: false, name: "Cello".into(), notes };
    let mut files = vec![write(&Song::in_seconds(vec![cello]), &[(0.0, "text")])];
    if let Some(folder) = shared_if_any("data/cello") {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let midi = paths.filter(|path| path.extension().is_some_and(|extension| extension == "mid"));
        files.extend(midi.map(|path| std::fs::read(path).unwrap()));
    }
    files
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn damaged_real_files_do_no_harm(bytes in generated::damaged(select(real_files()))) {
        check(&bytes);
    }

    #[test]
    fn damaged_generated_files_do_no_harm(bytes in generated::damaged(generated::file())) {
        check(&bytes);
    }

    #[test]
    fn garbage_in_a_track_does_no_harm(body in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&body);
        check(&file(&[body]));
    }
}

#[test]
fn every_truncation_of_a_file_is_an_error_in_it() {
    let whole = real_files().swap_remove(0);
    for length in 0..whole.len() {
        let error = read(&whole[..length]).expect_err("a file cut short");
        assert!(error.offset <= length, "{error} in {length} bytes");
    }
}

#[test]
fn errors_name_the_place_and_the_problem() {
    let long_delta = track(&[(0x0fff_ffff, &on(0, 60, 1))]);
    let cases: [(&str, Vec<u8>, usize, MidiProblem); 12] = [
        ("empty", vec![], 0, MidiProblem::Empty),
        ("text", b"# a text".to_vec(), 0, MidiProblem::NotMidi),
        ("header alone", b"MThd".to_vec(), 4, MidiProblem::Truncated { needed: 4, left: 0 }),
        ("short header", chunk(b"MThd", &[0, 1, 0, 1]), 4, MidiProblem::ShortHeader(4)),
        (
            "long header",
            b"MThd\xff\xff\xff\xff\0\0\0\x01\0\x01".to_vec(),
            14,
            MidiProblem::Truncated { needed: 0xffff_fff9, left: 0 },
        ),
        (
            "no tracks follow",
            header(1, 0xffff, 480),
            14,
            MidiProblem::MissingTrack { found: 0, declared: 0xffff },
        ),
        ("long track", [header(1, 1, 480), b"MTrk\xff\xff\xff\xff1234".to_vec()].concat(), 22, {
            MidiProblem::Truncated { needed: 0xffff_ffff, left: 4 }
        }),
        (
            "long text",
            file(&[vec![0, 0xff, 1, 0xff, 0xff, 0xff, 0x7f]]),
            29,
            MidiProblem::EventOverrun { needed: 0x0fff_ffff, left: 0 },
        ),
        ("endless delta", file(&[vec![0xff; 100]]), 122, MidiProblem::EventOverrun { needed: 1, left: 0 }),
        ("more ticks than 32 bits hold", file(&[long_delta.repeat(17)]), 134, MidiProblem::TooLong),
        ("short tempo", file(&[track(&[(0, &meta(0x51, &[1, 2]))])]), 22, MidiProblem::ShortTempo(2)),
        (
            "event after its track",
            file(&[vec![0, 0x90, 60]]),
            25,
            MidiProblem::EventOverrun { needed: 1, left: 0 },
        ),
    ];
    for (name, bytes, offset, problem) in cases {
        let error = read(&bytes).expect_err(name);
        assert_eq!((error.offset, error.problem), (offset, problem), "{name}");
    }
    let error = read(b"MThd\0\0\0\x06\0\x01\0\x02\x01\xe0").unwrap_err();
    assert_eq!(error.to_string(), "byte 14: the file ends after 0 of its 2 tracks");
}

#[test]
fn huge_delta_times_do_not_overflow() {
    let huge = [vec![0xff; 20], vec![0x7f]].concat();
    let on = [0x90, 60, 1];
    let bytes = file(&[[&[0x83, 0x00][..], &on, &huge, &on].concat()]);
    assert_eq!(read(&bytes).unwrap_err().problem, MidiProblem::TooLong);
    // Lost with its event, so no problem, as in pretty_midi.
    assert!(read(&file(&[[&huge[..], &meta(0x60, b"")].concat()])).is_ok());
    assert_eq!(MAX_TICK, 10_000_000);
}

#[test]
fn a_million_open_notes_are_not_searched_again_and_again() {
    let open: Vec<u8> = [0x90, 60, 1].into_iter().chain([0, 60, 1].repeat(500_000)).collect();
    let others = [1, 61, 1, 1, 61, 0].repeat(250_000);
    let bytes = file(&[[&[0], &open[..], &others].concat()]);
    check(&bytes);
    assert_eq!(read(&bytes).unwrap().instruments[0].notes.len(), 250_000);
}

#[test]
fn as_many_tracks_as_a_header_can_say() {
    check(&file_with(&header(1, 0xffff, 480), &vec![vec![]; 0xffff]));
    let note = track(&[(0, &on(0, 60, 1)), (1, &off(0, 60))]);
    let bytes = file_with(&header(1, 5000, 480), &vec![note; 5000]);
    check(&bytes);
    assert_eq!(read(&bytes).unwrap().instruments.len(), 5000);
}

#[test]
fn a_long_name_of_many_instruments_does_not_fill_the_memory() {
    let mut body = track(&[(0, &meta(3, &[b'x'; 100_000]))]);
    for channel in 0..16 {
        for number in 0..128 {
            let (on, off, program) = (on(channel, 60, 1), off(channel, 60), program(channel, number));
            body.extend(track(&[(0, &program), (0, &on), (1, &off)]));
        }
    }
    let bytes = file(&[body]);
    let song = read(&bytes).unwrap();
    assert_eq!(song.instruments.len(), 2048);
    assert_eq!(song.instruments[0].name.len(), 100_000, "a name as such may be long");
    check(&bytes);
}

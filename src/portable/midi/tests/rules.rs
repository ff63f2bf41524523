//! Every rule of reading, with a file written for it. 960 ticks are a second. What is asserted here was
//! found in pretty_midi's source and by running it; [`super::peer`] holds the same rules against it.

use super::super::{Instrument, Meter, MidiProblem, Note, Song, all_voices, pitch_name, read};
use super::bytes::*;

fn song(tracks: &[Vec<u8>]) -> Song {
    read(&file(tracks)).unwrap()
}

/// Pitch, velocity, start, end.
type Row = (u8, u8, f64, f64);

fn rows(instrument: &Instrument) -> Vec<Row> {
    instrument.notes.iter().map(|n| (n.pitch, n.velocity, n.start, n.end)).collect()
}

/// The notes of the only instrument of the only track.
fn notes(events: &[(u32, &[u8])]) -> Vec<Row> {
    let song = song(&[track(events)]);
    assert!(song.instruments.len() < 2, "{song:?}");
    song.instruments.first().map(rows).unwrap_or_default()
}

fn problem(bytes: &[u8]) -> MidiProblem {
    read(bytes).unwrap_err().problem
}

fn one_note(pitch: u8) -> Vec<u8> {
    track(&[(0, &on(0, pitch, 100)), (960, &off(0, pitch))])
}

#[test]
fn rule_1_tracks_come_in_file_order_and_nothing_is_sorted() {
    let late = track(&[(9600, &on(0, 60, 1)), (960, &off(0, 60))]);
    let song = song(&[late, one_note(72)]);
    let found: Vec<_> = song.instruments.iter().map(rows).collect();
    assert_eq!(found, [[(60, 1, 10.0, 11.0)], [(72, 100, 0.0, 1.0)]]);
}

#[test]
fn rule_2_notes_are_in_the_order_of_their_ends() {
    let found = notes(&[
        (0, &on(0, 60, 1)),
        (480, &on(0, 64, 2)),
        (0, &on(0, 62, 3)),
        (480, &off(0, 62)),
        (0, &off(0, 64)),
        (960, &off(0, 60)),
    ]);
    assert_eq!(found, [(62, 3, 0.5, 1.0), (64, 2, 0.5, 1.0), (60, 1, 0.0, 2.0)]);
}

#[test]
fn rule_3_an_instrument_is_a_program_at_note_off_on_a_channel_of_a_track() {
    let first = track(&[
        (0, &meta(3, b"first")),
        (0, &on(1, 60, 1)),
        (0, &on(0, 61, 1)),
        (960, &off(0, 61)), // channel 0, program 0
        (0, &program(1, 42)),
        (0, &off(1, 60)), // channel 1, program 42, which came after the note-on
        (0, &on(9, 36, 1)),
        (0, &meta(3, b"renamed \xe9")),
        (960, &off(9, 36)), // drums
    ]);
    let second = track(&[(0, &on(0, 62, 1)), (960, &off(0, 62))]);
    let found: Vec<_> =
        song(&[first, second]).instruments.into_iter().map(|i| (i.program, i.is_drum, i.name)).collect();
    let expected = [(0, false, "first"), (42, false, "first"), (0, true, "renamed \u{e9}"), (0, false, "")];
    assert_eq!(found, expected.map(|(program, is_drum, name)| (program, is_drum, name.to_owned())));
}

#[test]
fn rule_4_a_note_on_of_velocity_0_is_a_note_off() {
    assert_eq!(notes(&[(0, &on(0, 60, 5)), (960, &on(0, 60, 0))]), [(60, 5, 0.0, 1.0)]);
}

#[test]
fn rule_5_an_off_closes_all_open_notes_of_its_pitch_channel_and_track() {
    let found = notes(&[
        (0, &on(0, 60, 1)),
        (480, &on(0, 60, 2)),
        (0, &on(0, 61, 3)),
        (480, &off(0, 60)),
        (480, &off(0, 60)), // ignored
        (480, &off(0, 61)),
    ]);
    assert_eq!(found, [(60, 1, 0.0, 1.0), (60, 2, 0.5, 1.0), (61, 3, 0.5, 2.0)]);
}

#[test]
fn rule_5_an_off_on_another_channel_closes_nothing() {
    let other_channel = track(&[(0, &on(0, 60, 1)), (480, &off(1, 60)), (480, &off(0, 60))]);
    assert_eq!(rows(&song(&[other_channel]).instruments[0]), [(60, 1, 0.0, 1.0)]);
}

#[test]
fn rule_6_at_one_tick_older_notes_close_and_the_new_one_stays() {
    let on_then_off =
        notes(&[(0, &on(0, 60, 1)), (960, &on(0, 60, 2)), (0, &off(0, 60)), (960, &off(0, 60))]);
    assert_eq!(on_then_off, [(60, 1, 0.0, 1.0), (60, 2, 1.0, 2.0)]);
    let off_then_on =
        notes(&[(0, &on(0, 60, 1)), (960, &off(0, 60)), (0, &on(0, 60, 2)), (960, &off(0, 60))]);
    assert_eq!(off_then_on, on_then_off);
}

#[test]
fn rule_6_notes_of_zero_length_are_dropped() {
    let found = notes(&[(0, &on(0, 60, 1)), (0, &on(0, 60, 2)), (0, &off(0, 60)), (960, &off(0, 60))]);
    assert_eq!(found, []);
    let second_off_drops_what_the_first_kept = notes(&[
        (0, &on(0, 60, 1)),
        (960, &on(0, 60, 2)),
        (0, &off(0, 60)),
        (0, &off(0, 60)),
        (960, &off(0, 60)),
    ]);
    assert_eq!(second_off_drops_what_the_first_kept, [(60, 1, 0.0, 1.0)]);
}

#[test]
fn rule_7_open_notes_and_stray_offs_are_ignored_and_tracks_keep_apart() {
    let open = track(&[(0, &off(0, 61)), (0, &on(0, 60, 1)), (960, &[0xb0, 123, 0])]);
    let stray = track(&[(960, &off(0, 60))]);
    assert_eq!(song(&[open, stray]).instruments, []);
}

#[test]
fn rule_8_tempo_comes_from_the_first_track_and_begins_at_120() {
    let tempi = track(&[(960, &tempo(1_000_000)), (480, &tempo(250_000))]);
    let notes = track(&[
        (0, &tempo(1)), // not the first track
        (0, &on(0, 60, 1)),
        (960, &off(0, 60)),
        (0, &on(0, 61, 1)),
        (960, &off(0, 61)),
    ]);
    for format in [0, 1, 2] {
        let bytes = file_with(&header(format, 2, 480), &[tempi.clone(), notes.clone()]);
        let song = read(&bytes).unwrap();
        assert_eq!(rows(&song.instruments[0]), [(60, 1, 0.0, 1.0), (61, 1, 1.0, 2.25)]);
        let changes: Vec<_> = song.tempo_changes.iter().map(|c| (c.time, c.quarters_per_minute)).collect();
        assert_eq!(changes, [(0.0, 120.0), (1.0, 60.0), (2.0, 240.0)]);
        assert_eq!((song.end, song.resolution), (2.25, 480));
    }
}

#[test]
fn rule_8_a_tempo_at_tick_0_replaces_the_default_and_a_repeated_one_is_no_change() {
    let tempi = track(&[(0, &tempo(9)), (0, &tempo(1_000_000)), (480, &tempo(1_000_000))]);
    let song = song(&[tempi, one_note(60)]);
    assert_eq!(rows(&song.instruments[0]), [(60, 100, 0.0, 2.0)]);
    assert_eq!(song.tempo_changes.len(), 1);
}

#[test]
fn rule_9_what_is_refused() {
    let with_division = |division| file_with(&header(0, 1, division), &[one_note(60)]);
    assert_eq!(problem(&file(&[])), MidiProblem::NoTrack);
    assert_eq!(problem(&with_division(0)), MidiProblem::ZeroDivision);
    assert_eq!(problem(&with_division(0xe728)), MidiProblem::Smpte);
    assert_eq!(problem(&file(&[track(&[(0, &[0x90, 60, 128])])])), MidiProblem::DataByte(128));
    let whole = file(&[one_note(60)]);
    assert!(matches!(problem(&whole[..whole.len() - 1]), MidiProblem::Truncated { needed: 9, left: 8 }));
    let zero_tempo = track(&[(0, &tempo(0))]);
    assert_eq!(problem(&file(std::slice::from_ref(&zero_tempo))), MidiProblem::ZeroTempo);
    assert!(read(&file(&[one_note(60), zero_tempo])).is_ok(), "nobody asks the second track");
}

#[test]
fn rule_9_ticks_from_ten_million_on_are_read_here_alone() {
    let with_end = |tick| file(&[track(&[(0, &on(0, 60, 1)), (tick, &off(0, 60))])]);
    assert_eq!(read(&with_end(9_999_999)).unwrap().refused_by_pretty_midi, None);
    // The file is read all the same, and says so.
    let song = read(&with_end(10_000_000)).unwrap();
    assert_eq!(song.refused_by_pretty_midi, Some("it has events after 10,000,000 ticks"));
    let seconds = 10_000_000.0 / 960.0;
    assert!((song.instruments[0].notes[0].end - seconds).abs() < 1e-6, "{song:?}");
    // So does one whose last event is no note.
    let text = track(&[(0, &on(0, 60, 1)), (5, &off(0, 60)), (10_000_000, &meta(0x2f, b""))]);
    assert!(read(&file(&[text])).unwrap().refused_by_pretty_midi.is_some());
}

#[test]
fn rule_9_a_file_wrapped_in_riff_is_read_and_says_so() {
    let whole = file(&[one_note(60)]);
    let chunk = |name: &[u8; 4], body: &[u8]| {
        let padding = vec![0; body.len() % 2];
        [name, &(body.len() as u32).to_le_bytes()[..], body, &padding].concat()
    };
    let body =
        [b"RMID", &chunk(b"INFO", b"odd")[..], &chunk(b"data", &whole), &chunk(b"DISP", b"x")].concat();
    let song = read(&chunk(b"RIFF", &body)).unwrap();
    assert_eq!(song.refused_by_pretty_midi, Some("it is wrapped in RIFF"));
    assert_eq!(song.instruments, read(&whole).unwrap().instruments);
    // Sound, no data chunk, and a data chunk that is cut short.
    assert_eq!(problem(b"RIFF\x10\0\0\0WAVEfmt "), MidiProblem::Riff);
    let without = chunk(b"RIFF", &[b"RMID", &chunk(b"INFO", b"x")[..]].concat());
    assert!(matches!(problem(&without), MidiProblem::Truncated { .. }));
    assert!(matches!(problem(&chunk(b"RIFF", &body)[..60]), MidiProblem::Truncated { .. }));
}

#[test]
fn rule_9_what_is_accepted() {
    let expected = read(&file(&[one_note(60)])).unwrap();
    let mut trailing_garbage = file(&[one_note(60)]);
    trailing_garbage.extend(b"MTrk and the rest");
    assert_eq!(read(&trailing_garbage).unwrap(), expected);

    let long_header = chunk(b"MThd", &[0, 1, 0, 1, 1, 224, 7, 7, 7]);
    assert_eq!(read(&file_with(&long_header, &[one_note(60)])).unwrap(), expected);

    let after_the_end = file(&[track(&[(0, &meta(0x2f, b"")), (0, &on(0, 60, 100)), (960, &off(0, 60))])]);
    assert_eq!(read(&after_the_end).unwrap(), expected);

    // More than pretty_midi reads: a chunk of an unknown kind before the track.
    let alien = [header(1, 1, 480), chunk(b"XFIH", b"....."), chunk(b"MTrk", &one_note(60))].concat();
    assert_eq!(read(&alien).unwrap(), expected);
}

#[test]
fn film_frames_without_notes_are_an_empty_song() {
    let bytes = file_with(&header(0, 1, 0xe728), &[track(&[(0, &on(0, 60, 1))])]);
    assert_eq!(read(&bytes).unwrap(), Song::default());
}

#[test]
fn running_status_goes_on_through_meta_events() {
    let found = notes(&[(0, &on(0, 60, 1)), (0, &meta(1, b"text")), (960, &[60, 0])]);
    assert_eq!(found, [(60, 1, 0.0, 1.0)]);
    assert_eq!(problem(&file(&[track(&[(0, &[60, 0])])])), MidiProblem::NoRunningStatus(60));
}

#[test]
fn running_status_after_a_system_exclusive_event_repeats_it() {
    let found = notes(&[
        (0, &on(0, 60, 1)),
        (0, &[0xf0, 2, 1, 0xf7]),
        (0, &[60, 2, 0, 0]), // a byte that is dropped, a length, two bytes
        (960, &off(0, 60)),
    ]);
    assert_eq!(found, [(60, 1, 0.0, 1.0)]);
}

#[test]
fn system_messages_may_stand_in_a_track() {
    let found = notes(&[
        (0, &on(0, 60, 1)),
        (0, &[0xf1, 1]),
        (0, &[0xf2, 1, 2]),
        (0, &[0xf3, 1]),
        (0, &[0xf6]),
        (480, &[0xf8]),
        (480, &off(0, 60)),
    ]);
    assert_eq!(found, [(60, 1, 0.0, 1.0)]);
    assert_eq!(problem(&file(&[track(&[(0, &[0xf4])])])), MidiProblem::UndefinedStatus(0xf4));
    assert_eq!(problem(&file(&[track(&[(0, &[0xf8]), (0, &[1])])])), MidiProblem::NoRunningStatus(1));
}

#[test]
fn delta_times_may_have_any_number_of_bytes() {
    let mut padded = track(&[(0, &on(0, 60, 1))]);
    padded.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x87, 0x40, 0x80, 60, 0]);
    assert_eq!(rows(&song(&[padded]).instruments[0]), [(60, 1, 0.0, 1.0)]);
}

#[test]
fn the_delta_time_of_a_meta_event_that_mido_does_not_know_is_lost() {
    for (kind, seconds) in [(0x60, 1.0), (0x08, 1.0), (0x09, 2.0), (0x7f, 2.0)] {
        let found = notes(&[(0, &on(0, 60, 1)), (960, &meta(kind, b"")), (960, &off(0, 60))]);
        assert_eq!(found, [(60, 1, 0.0, seconds)], "{kind:#x}");
    }
}

#[test]
fn the_end_counts_texts_everywhere_signatures_in_the_first_track_and_controllers_of_instruments() {
    let note: [(u32, &[u8]); 2] = [(0, &on(0, 60, 1)), (960, &off(0, 60))];
    let end_with = |tracks: &[Vec<u8>]| song(tracks).end;
    let and = |event: &[u8]| track(&[note[0], note[1], (960, event)]);
    let time_signature = meta(0x58, &[4, 2, 24, 8]);

    assert_eq!(end_with(&[and(&meta(5, b"la"))]), 2.0);
    assert_eq!(end_with(&[and(&time_signature)]), 2.0);
    assert_eq!(end_with(&[one_note(60), and(&time_signature)]), 1.0);
    assert_eq!(end_with(&[and(&tempo(500_001))]), 2.0);
    assert_eq!(end_with(&[and(&[0xb0, 7, 100])]), 2.0, "the instrument's own controller");
    assert_eq!(end_with(&[and(&[0xb1, 7, 100])]), 1.0, "a channel without an instrument");
    assert_eq!(end_with(&[and(&[0xa0, 60, 1])]), 1.0, "key pressure");

    // pretty_midi gives an instrument the stray controllers before it, and then those that stray later.
    let strays = [(0, &[0xb0, 7, 100][..]), note[0], note[1], (0, &program(0, 5)), (960, &[0xe0, 0, 0])];
    assert_eq!(end_with(&[track(&strays)]), 2.0);
    assert_eq!(end_with(&[track(&strays[1..])]), 1.0);
}

#[test]
fn all_voices_are_in_the_order_of_onset_then_pitch() {
    let upper = track(&[(0, &on(0, 72, 1)), (960, &off(0, 72)), (0, &on(0, 71, 1)), (960, &off(0, 71))]);
    let lower = track(&[(0, &on(0, 48, 2)), (1920, &off(0, 48)), (0, &on(0, 72, 2)), (1, &off(0, 72))]);
    let twin = track(&[(0, &on(0, 72, 3)), (9, &off(0, 72))]);
    let voices = all_voices(&song(&[upper, lower, twin]));
    let found: Vec<_> = voices.iter().map(|note| (note.pitch, note.velocity)).collect();
    assert_eq!(found, [(48, 2), (72, 1), (72, 3), (71, 1), (72, 2)]);
}

#[test]
fn pitches_are_named_as_musicians_do() {
    let names = [0, 21, 48, 60, 61, 127].map(pitch_name);
    assert_eq!(names, ["C-1 (0)", "A0 (21)", "C3 (48)", "C4 (60)", "C#4 (61)", "G9 (127)"]);
}

#[test]
fn bars_follow_the_meters() {
    let note = Note::in_ticks(60, 80, 0, 41);
    let piano = Instrument { program: 0, is_drum: false, name: String::new(), notes: vec![note] };
    let mut song = Song::at_tempo(vec![piano.clone()], 4, 500_000);
    assert_eq!(song.bars(), [0, 16, 32]);
    let meter = |tick, beats_per_bar, beat_unit| Meter { tick, beats_per_bar, beat_unit };
    song.meters = vec![meter(0, 3, 4), meter(24, 6, 8)];
    assert_eq!(song.bars(), [0, 12, 24, 36]);
    assert_eq!(Song::in_seconds(vec![piano]).bars(), [0u32; 0]);
}

//! What is written is read again: exactly where times are whole milliseconds, and always as a good file.

use midly::{MetaMessage, MidiMessage, Smf, TrackEventKind};
use proptest::prelude::*;

use super::super::{Instrument, MAX_TICK, Meter, Note, Song, read, write};
use super::bytes::*;
use super::config;

/// Melodies of whole milliseconds with rests, in which a pitch may follow itself at once.
fn instruments() -> impl Strategy<Value = Vec<Instrument>> {
    let note = (0u8..128, 1u8..128, 0u32..3, 1u32..2000);
    let part = (0u8..128, any::<bool>(), "[ -~\u{a1}-\u{ff}]{0,20}", prop::collection::vec(note, 1..40));
    let part = part.prop_map(|(program, is_drum, name, notes)| {
        let mut now = 0;
        let seconds = |tick: u32| f64::from(tick) / 1000.0;
        let note = |(pitch, velocity, rest, length): (u8, u8, u32, u32)| {
            let start = now + 100 * rest;
            now = start + length;
            Note::in_seconds(pitch, velocity, seconds(start), seconds(now))
        };
        Instrument { program, is_drum, name, notes: notes.into_iter().map(note).collect() }
    });
    prop::collection::vec(part, 0..6)
}

/// Notes with nothing sensible about them.
fn wild_notes() -> impl Strategy<Value = Vec<Note>> {
    let note = (any::<u8>(), any::<u8>(), any::<f64>(), any::<f64>());
    let note = note.prop_map(|(pitch, velocity, start, end)| Note::in_seconds(pitch, velocity, start, end));
    prop::collection::vec(note, 0..20)
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn whole_milliseconds_come_back(instruments in instruments()) {
        let song = read(&write(&Song::in_seconds(instruments.clone()), &[(0.5, "a text")])).unwrap();
        prop_assert_eq!(song.instruments.len(), instruments.len());
        for (ours, theirs) in instruments.iter().zip(&song.instruments) {
            prop_assert_eq!((ours.program, ours.is_drum), (theirs.program, theirs.is_drum));
            prop_assert_eq!(&ours.name, &theirs.name);
            prop_assert_eq!(ours.notes.len(), theirs.notes.len());
            for (ours, theirs) in ours.notes.iter().zip(&theirs.notes) {
                prop_assert_eq!((ours.pitch, ours.velocity), (theirs.pitch, theirs.velocity));
                prop_assert!((ours.start - theirs.start).abs() < 1e-9, "{:?} {:?}", ours, theirs);
                prop_assert!((ours.end - theirs.end).abs() < 1e-9, "{:?} {:?}", ours, theirs);
            }
        }
    }

    #[test]
    fn music_with_beats_keeps_ticks_tempo_and_meter(
        instruments in instruments(),
        resolution in 1u16..0x8000,
        microseconds in 1u32..1 << 24,
        meter in (1u16..256, 0u32..8),
    ) {
        let mut song = Song::at_tempo(instruments, resolution, microseconds);
        song.meters = vec![Meter { tick: 0, beats_per_bar: meter.0, beat_unit: 1 << meter.1 }];
        prop_assert_eq!(read(&write(&song, &[])).unwrap(), song);
    }

    #[test]
    fn any_notes_give_a_file_that_can_be_read(notes in wild_notes(), time in any::<f64>()) {
        let wild = Instrument { program: 255, is_drum: false, name: "\u{1d11e}".into(), notes };
        let song = read(&write(&Song::in_seconds(vec![wild.clone()]), &[(time, "\u{1d11e}")])).unwrap();
        prop_assert_eq!(song.instruments.is_empty(), wild.notes.is_empty());
        prop_assert!(song.instruments.iter().all(|i| i.program == 127 && i.name == "?"));
        // Ten ticks a second are the fewest.
        prop_assert!(song.end <= f64::from(MAX_TICK) / 10.0);
    }
}

/// 100 quarter notes a minute, and 50 from the third on: texts are where their seconds are.
#[test]
fn changes_of_tempo_and_meter_are_kept_and_texts_find_their_ticks() {
    let conductor = [
        (0, tempo(600_000)),
        (0, meta(0x58, &[3, 2, 24, 8])),
        (960, tempo(1_200_000)),
        (0, meta(0x58, &[6, 3, 24, 8])),
    ];
    let conductor: Vec<(u32, &[u8])> = conductor.iter().map(|(tick, event)| (*tick, &event[..])).collect();
    let notes = track(&[(0, &on(0, 60, 100)), (1920, &off(0, 60))]);
    let song = read(&file(&[track(&conductor), notes])).unwrap();
    assert_eq!((song.meters.len(), song.tempo_changes.len()), (2, 2));
    assert!((song.end - 3.6).abs() < 1e-9, "{}", song.end);
    let written = write(&song, &[(0.6, "one quarter"), (2.4, "three"), (f64::NAN, "nowhere")]);
    assert_eq!(read(&written).unwrap(), song);
    let mut now = 0;
    let mut texts = Vec::new();
    for event in &Smf::parse(&written).unwrap().tracks[0] {
        now += event.delta.as_int();
        if let TrackEventKind::Meta(MetaMessage::Text(text)) = event.kind {
            texts.push((now, String::from_utf8(text.to_vec()).unwrap()));
        }
    }
    assert_eq!(texts, [(0, "nowhere".into()), (480, "one quarter".into()), (1440, "three".into())]);
}

/// Ticks that a file cannot hold, or that pretty_midi refuses: the seconds are kept.
#[test]
fn ticks_beyond_the_largest_give_way_to_seconds() {
    let note = Note { end_tick: MAX_TICK, ..Note::in_seconds(60, 100, 0.0, 1.0) };
    let part = Instrument { program: 0, is_drum: false, name: String::new(), notes: vec![note] };
    let song = Song::at_tempo(vec![part], 0x7fff, 500_000);
    let back = read(&write(&song, &[])).unwrap();
    assert!(back.refused_by_pretty_midi.is_none() && back.resolution == 500);
    assert!((back.end - song.end).abs() < 1e-3, "{} {}", back.end, song.end);
}

/// 100,000 notes of 0.3 s, the most that `sample` composes, are more than eight hours.
#[test]
fn hours_of_notes_keep_their_places() {
    let note = |i: u32| Note::in_seconds(60, 1, 0.3 * f64::from(i), 0.3 * f64::from(i + 1));
    let notes: Vec<Note> = (0..100_000).map(note).collect();
    let part = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.clone() };
    let song = read(&write(&Song::in_seconds(vec![part]), &[])).unwrap();
    assert!(song.refused_by_pretty_midi.is_none());
    let back = &song.instruments[0].notes;
    assert_eq!(back.len(), notes.len());
    for (back, note) in back.iter().zip(&notes) {
        assert!((back.start - note.start).abs() < 1e-6 && (back.end - note.end).abs() < 1e-6, "{back:?}");
    }
}

#[test]
fn a_repeated_pitch_stays_two_notes_and_an_overlap_is_closed_by_the_first_end() {
    let note = |start, end| Note::in_seconds(60, 1, start, end);
    let back = |notes: &[Note]| {
        let part = Instrument { program: 0, is_drum: false, name: String::new(), notes: notes.to_vec() };
        read(&write(&Song::in_seconds(vec![part]), &[])).unwrap().instruments.remove(0).notes
    };
    assert_eq!(back(&[note(0.0, 1.0), note(1.0, 2.0)]), [note(0.0, 1.0), note(1.0, 2.0)]);
    assert_eq!(back(&[note(0.0, 2.0), note(1.0, 3.0)]), [note(0.0, 2.0), note(1.0, 2.0)]);
}

/// Both orders of an end and a beginning at one tick are the same to pretty_midi; to a synthesizer, an end
/// after the beginning would silence the new note.
#[test]
fn where_notes_meet_the_end_is_written_before_the_beginning() {
    let note = |start| Note::in_seconds(60, 1, start, start + 1.0);
    let notes = [0.0, 1.0, 2.0].map(note).to_vec();
    let bytes = write(
        &Song::in_seconds(vec![Instrument { program: 0, is_drum: false, name: String::new(), notes }]),
        &[],
    );
    let file = Smf::parse(&bytes).unwrap();
    let is_on = |kind| match kind {
        TrackEventKind::Midi { message: MidiMessage::NoteOn { .. }, .. } => Some(true),
        TrackEventKind::Midi { message: MidiMessage::NoteOff { .. }, .. } => Some(false),
        _ => None,
    };
    let order: Vec<bool> = file.tracks[1].iter().filter_map(|event| is_on(event.kind)).collect();
    assert_eq!(order, [true, false, true, false, true, false]);
}

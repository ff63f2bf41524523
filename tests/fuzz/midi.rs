//! Any bytes, as a MIDI file: reading ends without a panic, what was read can be written and read, and has one spelling.

#![no_main]

use bachdist_portable::midi::{all_voices, read, write};
use bachdist_portable::representation::Representation;
use bachdist_portable::representation::notes::{Notes, NotesOptions};
use bachdist_portable::representation::voices::{Polyphony, Voices, VoicesOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Err(error) => assert!(error.offset <= bytes.len(), "{error}"),
        Ok(song) => {
            let notes = all_voices(&song);
            assert!(notes.iter().all(|note| note.pitch < 128 && note.start < note.end), "{notes:?}");
            let written = write(&song, &[]);
            read(&written).expect("a file that we wrote");
            let split = VoicesOptions { polyphony: Polyphony::Split, ..VoicesOptions::default() };
            let (notes, voices) = (Notes::new(NotesOptions {}), Voices::new(split));
            for representation in [&notes as &dyn Representation, &voices] {
                let tokens = representation.encode(&song, usize::MAX).tokens;
                let again = representation.encode(&representation.decode(&tokens), usize::MAX);
                assert_eq!(again.tokens, tokens);
            }
        }
    }
});

//! Any bytes, as a MIDI file: reading ends without a panic, and what was read can be written and read.

#![no_main]

use bachdist_portable::midi::{all_voices, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match read(bytes) {
        Err(error) => assert!(error.offset <= bytes.len(), "{error}"),
        Ok(song) => {
            let notes = all_voices(&song);
            assert!(notes.iter().all(|note| note.pitch < 128 && note.start < note.end), "{notes:?}");
            let written = write(&song, &[]);
            read(&written).expect("a file that we wrote");
        }
    }
});

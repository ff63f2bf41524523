//! Pictures and sound.

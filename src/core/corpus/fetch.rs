//! placeholder
pub const BASE_URL: &str = "http://www.jsbach.net/midi/";

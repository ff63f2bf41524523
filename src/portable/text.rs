//! Decodes text files in the encodings that editors write. Scores may have any of them; a configuration must be UTF-8, as TOML
//! requires, and one in another encoding is refused by its name.

/// The encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// With or without a byte order mark.
    Utf8,
    /// Little or big endian, with or without a byte order mark.
    Utf16,
    /// Anything else: every byte is a character.
    Latin1,
}

/// The text without its byte order mark, and its encoding; `None` if it has NUL characters, which no text has. The bytes may
/// be the beginning of a file: a character that is cut off at the end is dropped.
pub fn decode(bytes: &[u8]) -> Option<(String, Encoding)> {
    let (text, encoding) = if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        (utf16(rest, u16::from_le_bytes), Encoding::Utf16)
    } else if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        (utf16(rest, u16::from_be_bytes), Encoding::Utf16)
    } else if let Some(read) = unmarked_utf16(bytes) {
        (utf16(bytes, read), Encoding::Utf16)
    } else {
        let rest = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match std::str::from_utf8(rest) {
            Ok(text) => (text.to_owned(), Encoding::Utf8),
            Err(error) if error.error_len().is_none() => {
                (String::from_utf8_lossy(&rest[..error.valid_up_to()]).into_owned(), Encoding::Utf8)
            }
            Err(_) => (rest.iter().map(|&byte| char::from(byte)).collect(), Encoding::Latin1),
        }
    };
    if text.contains('\0') {
        return None;
    }
    // Line breaks of the classic Mac OS.
    let text = if text.contains('\n') { text } else { text.replace('\r', "\n") };
    Some((text, encoding))
}

/// How to read a pair of bytes of UTF-16 without a byte order mark: in mostly Latin text the same byte of each pair is 0.
fn unmarked_utf16(bytes: &[u8]) -> Option<fn([u8; 2]) -> u16> {
    let pairs = &bytes.as_chunks::<2>().0[..(bytes.len() / 2).min(64)];
    let mostly = |count: usize| pairs.len() >= 2 && 10 * count >= 9 * pairs.len();
    if mostly(pairs.iter().filter(|pair| pair[0] != 0 && pair[1] == 0).count()) {
        Some(u16::from_le_bytes)
    } else if mostly(pairs.iter().filter(|pair| pair[0] == 0 && pair[1] != 0).count()) {
        Some(u16::from_be_bytes)
    } else {
        None
    }
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> String {
    char::decode_utf16(bytes.as_chunks().0.iter().map(|&pair| read(pair)))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "title: Prélude\r\nmeter: 4/4\r\n";
        let [little, big] = [u16::to_le_bytes, u16::to_be_bytes].map(|to_bytes| utf16_of(text, to_bytes));
        let latin1: Vec<u8> = text.chars().map(|c| c as u8).collect();
        let cases = [
            (text.as_bytes().to_vec(), Encoding::Utf8),
            ([b"\xef\xbb\xbf", text.as_bytes()].concat(), Encoding::Utf8),
            ([b"\xff\xfe", &little[..]].concat(), Encoding::Utf16),
            ([b"\xfe\xff", &big[..]].concat(), Encoding::Utf16),
            (little, Encoding::Utf16),
            (big, Encoding::Utf16),
            (latin1, Encoding::Latin1),
        ];
        for (bytes, encoding) in cases {
            assert_eq!(decode(&bytes), Some((text.into(), encoding)), "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_no_text() {
        // Zeros, UTF-32, a program.
        for bytes in
            [&[0; 100][..], b"\xff\xfe\0\0a\0\0\0b\0\0\0", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0>\0"]
        {
            assert_eq!(decode(bytes), None, "{bytes:x?}");
        }
        assert_eq!(decode(b""), Some((String::new(), Encoding::Utf8)));
    }

    #[test]
    fn lines_may_end_as_they_like() {
        assert_eq!(decode(b"a\rb\r"), Some(("a\nb\n".into(), Encoding::Utf8)));
        assert_eq!(decode(b"a\r\nb\r\n"), Some(("a\r\nb\r\n".into(), Encoding::Utf8)));
    }

    #[test]
    fn a_character_cut_in_two_is_left_out() {
        assert_eq!(decode(&"né".as_bytes()[..2]), Some(("n".into(), Encoding::Utf8)));
    }
}

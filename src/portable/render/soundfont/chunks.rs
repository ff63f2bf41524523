//! Recognizes a SoundFont file and finds its samples and tables.
//!
//! A SoundFont is a RIFF file: chunks with a name of four letters and a size, some of them lists of chunks. Sizes are
//! compared with the bytes that are left before anything is allocated or read.

use std::collections::HashMap;

/// Why a SoundFont cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SoundFontError {
    /// A chunk is longer than the rest of the file: typically an incomplete download.
    #[error(
        "the SoundFont is truncated: the chunk '{chunk}' at byte {offset} should have {claimed} bytes, \
         {left} are left; copy or download it again"
    )]
    Truncated {
        /// The chunk's four letters.
        chunk: String,
        /// Where the chunk begins.
        offset: usize,
        /// The length that its header declares.
        claimed: usize,
        /// How many bytes follow its header.
        left: usize,
    },
    /// Another kind of file.
    #[error("not a SoundFont (.sf2) but {0}")]
    OtherFormat(&'static str),
    /// A SoundFont that is incomplete or contradicts itself.
    #[error("not a usable SoundFont: {0}")]
    Unusable(String),
    /// No part of the requested preset can be played.
    #[error("the SoundFont's preset {name} (program {program}) cannot be played: {reason}")]
    Preset {
        /// The preset's name, in quotes.
        name: String,
        /// The preset's MIDI program.
        program: u16,
        /// What is wrong with its first part.
        reason: String,
    },
    /// The player supports 16,000 to 192,000 samples per second.
    #[error("the SoundFont cannot be played at {0} samples per second, only at 16,000 to 192,000")]
    Rate(u32),
    /// There are notes, but none of them made a sound.
    #[error("the SoundFont has no sound for program {program} in the range of these notes")]
    Silent {
        /// The requested MIDI program.
        program: u8,
    },
}

/// `RIFF`, the size, `sfbk`.
const RIFF_HEADER: usize = 12;
const CHUNK_HEADER: usize = 8;
const LIST_TYPE: usize = 4;

pub(super) struct FontChunks<'a> {
    /// Two bytes per sample.
    pub samples: &'a [u8],
    tables: HashMap<[u8; 4], &'a [u8]>,
}

impl<'a> FontChunks<'a> {
    /// Finds them in a file that was recognized; unknown chunks are ignored.
    pub(super) fn find(bytes: &'a [u8]) -> Result<Self, SoundFontError> {
        let (mut samples, mut tables) = (None, HashMap::new());
        let mut offset = RIFF_HEADER;
        // The tables come last; whatever follows them is ignored.
        while tables.is_empty()
            && let Some(list) = Chunk::at(bytes, offset)?
        {
            let kind = list.data.first_chunk::<LIST_TYPE>();
            if list.name == *b"LIST" && (kind == Some(b"sdta") || kind == Some(b"pdta")) {
                let mut inner = offset + CHUNK_HEADER + LIST_TYPE;
                while inner < list.end
                    && let Some(chunk) = Chunk::at(bytes, inner)?
                {
                    match (kind, &chunk.name) {
                        (Some(b"sdta"), b"smpl") => samples = samples.or(Some(chunk.data)),
                        (Some(b"pdta"), name) => drop(tables.entry(*name).or_insert(chunk.data)),
                        _ => {}
                    }
                    inner = chunk.end;
                }
            }
            offset = list.end;
        }
        let samples =
            samples.ok_or_else(|| SoundFontError::Unusable("it has no samples (the chunk 'smpl')".into()))?;
        if samples.starts_with(b"OggS") {
            return Err(SoundFontError::OtherFormat(
                "an SF3 font, with compressed samples; Polyphone converts it to .sf2",
            ));
        }
        Ok(FontChunks { samples, tables })
    }

    /// The records of a table; the last one only marks the end of the others.
    pub(super) fn table<const SIZE: usize>(
        &self,
        name: &[u8; 4],
    ) -> Result<&'a [[u8; SIZE]], SoundFontError> {
        let unusable =
            |what: &str| SoundFontError::Unusable(format!("its table '{}' {what}", name.escape_ascii()));
        let table = self.tables.get(name).ok_or_else(|| unusable("is missing"))?;
        match table.as_chunks() {
            ([], []) => Err(unusable("is empty")),
            (records, []) => Ok(records),
            _ => Err(unusable(&format!("has {} bytes, not a multiple of {SIZE}", table.len()))),
        }
    }
}

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
    /// Where the next chunk begins.
    end: usize,
}

impl<'a> Chunk<'a> {
    /// The chunk whose header is at `offset`; `None` if the file is too short for a header.
    fn at(bytes: &'a [u8], offset: usize) -> Result<Option<Self>, SoundFontError> {
        let Some((header, rest)) =
            bytes.get(offset..).and_then(|rest| rest.split_first_chunk::<CHUNK_HEADER>())
        else {
            return Ok(None);
        };
        let &[a, b, c, d, size @ ..] = header;
        let (name, claimed) = ([a, b, c, d], u32::from_le_bytes(size) as usize);
        let Some((data, after)) = rest.split_at_checked(claimed) else {
            let (chunk, left) = (name.escape_ascii().to_string(), rest.len());
            return Err(SoundFontError::Truncated { chunk, offset, claimed, left });
        };
        // Odd sizes are padded by a byte. Some programs forget it; no chunk's name begins with 0.
        let padding = usize::from(claimed % 2 == 1 && after.first() == Some(&0));
        Ok(Some(Chunk { name, data, end: offset + CHUNK_HEADER + claimed + padding }))
    }
}

/// The format of a file that is not a SoundFont, by its first bytes; `None` for a SoundFont.
pub(super) fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let kind: Option<&[u8; 4]> = bytes.get(8..).and_then(|rest| rest.first_chunk());
    match bytes {
        [] => return Some("an empty file"),
        [b'R', b'I', b'F', b'F', ..] => match kind {
            Some(b"sfbk") => return None,
            Some(b"WAVE") => return Some("a WAV file"),
            Some(b"RMID") => return Some("a MIDI file"),
            Some(b"DLS ") => return Some("a DLS file; Polyphone converts it"),
            Some(_) => return Some("another kind of RIFF file"),
            None => return Some("the first bytes of one"),
        },
        _ => {}
    }
    const KINDS: [(&[u8], &str); 19] = [
        (b"MThd", "a MIDI file"),
        (b"OggS", "an Ogg file"),
        (b"fLaC", "a FLAC file"),
        (b"ID3", "an MP3 file"),
        (b"FORM", "an AIFF file"),
        (b"RIFX", "a big-endian RIFF file"),
        (b"RF64", "a WAV file"),
        (b"sfArk", "an sfArk archive; unpack it first"),
        (b"\x1f\x8b", "a gzip archive; unpack it first"),
        (b"PK\x03\x04", "a ZIP archive; unpack it first"),
        (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
        (b"Rar!", "a RAR archive; unpack it first"),
        (b"BZh", "a bzip2 archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
        (b"\x89PNG", "a PNG picture"),
        (b"<!DOCTYPE", "a web page"),
        (b"<html", "a web page"),
        (b"version https://git-lfs", "a Git LFS pointer; git lfs pull gets the file itself"),
    ];
    if let Some((_, what)) = KINDS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return Some(what);
    }
    // SFZ is text that names sound files.
    let text = bytes[..bytes.len().min(1 << 16)].to_ascii_lowercase();
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    let is_sfz = [&b"<region>"[..], b"<group>", b"<global>", b"<control>"].into_iter().any(has);
    Some(match (is_sfz, text.is_ascii()) {
        (true, _) => "an SFZ file, text about other sound files; Polyphone converts it",
        (false, true) if !text.contains(&0) => "a text file",
        _ => "a file of another kind",
    })
}

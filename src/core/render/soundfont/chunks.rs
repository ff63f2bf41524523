//! Do the sizes in a SoundFont fit into the file?
//!
//! The player believes every size and reserves that much memory before it reads. This walk takes the chunks as
//! the player does (three lists one after the other, no padding), so that it refuses nothing the player could
//! read; what the chunks mean is left to the player.

use super::SoundFontError;

/// `RIFF`, the size, `sfbk`; then the lists: information, samples, instruments.
const RIFF_HEADER: usize = 12;
const CHUNK_HEADER: usize = 8;
const LIST_TYPE: usize = 4;
const LISTS: usize = 3;

/// Refuses a file with a chunk that is longer than what is left of the file.
pub(super) fn check_sizes(bytes: &[u8]) -> Result<(), SoundFontError> {
    let mut offset = RIFF_HEADER;
    for _ in 0..LISTS {
        let Some(list) = chunk_at(bytes, offset) else { return Ok(()) };
        list.check()?;
        let end = list.data + list.claimed;
        offset = list.data + LIST_TYPE;
        while offset < end {
            let Some(chunk) = chunk_at(bytes, offset) else { return Ok(()) };
            chunk.check()?;
            offset = chunk.data + chunk.claimed;
        }
    }
    Ok(())
}

struct Chunk {
    name: String,
    offset: usize,
    data: usize,
    claimed: usize,
    left: usize,
}

impl Chunk {
    fn check(self: &Chunk) -> Result<(), SoundFontError> {
        if self.claimed <= self.left {
            return Ok(());
        }
        let (chunk, offset, claimed, left) = (self.name.clone(), self.offset, self.claimed, self.left);
        Err(SoundFontError::CutShort { chunk, offset, claimed, left })
    }
}

/// The chunk whose header is at `offset`; `None` where the file has no room for a header, which the player
/// reports itself.
fn chunk_at(bytes: &[u8], offset: usize) -> Option<Chunk> {
    let header = bytes.get(offset..)?.first_chunk::<CHUNK_HEADER>()?;
    let (name, size) = header.split_at(4);
    let data = offset + CHUNK_HEADER;
    Some(Chunk {
        name: name.escape_ascii().to_string(),
        offset,
        data,
        claimed: u32::from_le_bytes(size.try_into().expect("four bytes")) as usize,
        left: bytes.len() - data,
    })
}

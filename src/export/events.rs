//! TensorBoard's event files: a sequence of records, each a message `Event` in Protocol Buffers.
//!
//! A record is the length of its data (u64), the masked CRC-32C of these eight bytes (u32), the data, and its masked CRC-32C
//! (u32), all little-endian. Sources: `tensorboard/summary/writer/record_writer.py` for records, and `event.proto` and
//! `summary.proto` in `tensorboard/compat/proto` for the numbers of fields. The few messages that are
//! written here need no compiler of such descriptions (decision 54).

use std::time::{SystemTime, UNIX_EPOCH};

use crc_fast::CrcAlgorithm;

/// A value with its name, which is a path: the part before `/` is the group in which TensorBoard shows it.
pub enum Value<'a> {
    /// TensorBoard keeps 32 bits of it.
    Scalar { tag: &'a str, value: f64 },
    /// A PNG file.
    Image { tag: &'a str, png: &'a [u8] },
    /// A WAV file with one channel.
    Audio { tag: &'a str, wav: &'a [u8], rate: u32, samples: usize },
}

/// The first record of every file. Version 2 means that [`start`] is meant.
pub fn begin(out: &mut Vec<u8>, at: SystemTime) {
    let mut event = Message::event(at, 0);
    event.bytes(3, b"brain.Event:2");
    event.write_record(out);
}

/// An attempt begins, whose first step has this number: what an earlier one said of this step and later ones is dropped.
pub fn start(out: &mut Vec<u8>, at: SystemTime, step: u64) {
    /// `SessionLog.START`.
    const START: u64 = 1;
    let mut session = Message::default();
    session.integer(1, START);
    let mut event = Message::event(at, step);
    event.message(7, session);
    event.write_record(out);
}

/// What is known after a step.
pub fn values(out: &mut Vec<u8>, at: SystemTime, step: u64, values: &[Value<'_>]) {
    let mut summary = Message::default();
    for value in values {
        let mut message = Message::default();
        match *value {
            Value::Scalar { tag, value } => {
                message.bytes(1, tag.as_bytes());
                message.float(2, value as f32);
            }
            Value::Image { tag, png } => {
                /// Red, green, blue.
                const CHANNELS: u64 = 3;
                let mut image = Message::default();
                // Width and height are the first of the header of a PNG file, which is its first chunk.
                let (sizes, _) = png.get(16..).unwrap_or_default().as_chunks::<4>();
                for (field, size) in [2, 1].into_iter().zip(sizes) {
                    image.integer(field, u32::from_be_bytes(*size).into());
                }
                image.integer(3, CHANNELS);
                image.bytes(4, png);
                message.bytes(1, tag.as_bytes());
                message.message(4, image);
            }
            Value::Audio { tag, wav, rate, samples } => {
                let mut audio = Message::default();
                audio.float(1, rate as f32);
                audio.integer(2, 1);
                audio.integer(3, samples as u64);
                audio.bytes(4, wav);
                audio.bytes(5, b"audio/wav");
                message.bytes(1, tag.as_bytes());
                message.message(6, audio);
                message.message(9, audio_metadata());
            }
        }
        summary.message(1, message);
    }
    let mut event = Message::event(at, step);
    event.message(5, summary);
    event.write_record(out);
}

/// The `SummaryMetadata` of a WAV file, without which TensorBoard's server does not tell browsers what it is.
fn audio_metadata() -> Message {
    /// `AudioPluginData.WAV`.
    const WAV: u64 = 11;
    /// `DATA_CLASS_BLOB_SEQUENCE`.
    const BLOBS: u64 = 3;
    let mut content = Message::default();
    content.integer(2, WAV);
    let mut plugin = Message::default();
    plugin.bytes(1, b"audio");
    plugin.message(2, content);
    let mut metadata = Message::default();
    metadata.message(1, plugin);
    metadata.integer(4, BLOBS);
    metadata
}

/// A message of Protocol Buffers: fields, each with its number and kind before it.
/// <https://protobuf.dev/programming-guides/encoding/>
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An `Event` without what happened.
    fn event(at: SystemTime, step: u64) -> Self {
        let mut event = Message::default();
        event.key(1, 1);
        event.0.extend(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64().to_le_bytes());
        // Zero is what a field has that is left out.
        if step > 0 {
            event.integer(2, step);
        }
        event
    }

    fn key(&mut self, field: u8, kind: u8) {
        // Fields below 16, as all here, take one byte.
        self.0.push(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u8, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn float(&mut self, field: u8, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn message(&mut self, field: u8, message: Message) {
        self.bytes(field, &message.0);
    }

    fn write_record(self, out: &mut Vec<u8>) {
        let length = (self.0.len() as u64).to_le_bytes();
        out.extend(length);
        out.extend(masked_checksum(&length));
        out.extend(&self.0);
        out.extend(masked_checksum(&self.0));
    }
}

/// The CRC-32C, rotated and shifted so that a checksum of data with checksums in it is none of them.
fn masked_checksum(data: &[u8]) -> [u8; 4] {
    const SHIFT: u32 = 0xa282_ead8;
    let checksum = crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, data) as u32;
    checksum.rotate_right(15).wrapping_add(SHIFT).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// As the package `tensorboard` 2.21.0 writes them: `RecordWriter.write(Event(...).SerializeToString())`.
    #[test]
    fn the_bytes_of_records() {
        let at = UNIX_EPOCH + Duration::from_millis(1500);
        let mut out = Vec::new();
        begin(&mut out, at);
        start(&mut out, at, 300);
        values(&mut out, at, 300, &[Value::Scalar { tag: "step/loss", value: 0.5 }]);
        let expected = [
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c",
            "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a",
            "200000000000000029eda95009000000000000f83f10ac022a120a100a09737465702f6c6f7373150000003fd2de0123",
        ];
        assert_eq!(bachdist_portable::hex(&out), expected.concat());
    }
}

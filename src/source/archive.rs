//! Compressed logs, read as they are.
//!
//! Rotated logs end in `.gz` or `.zst`, or did until somebody renamed them, so the first bytes decide and not the name. Both
//! formats allow several members one after the other (that is what appending to an archive makes), and all are read.
//! Nothing is unpacked ahead of the reader: an archive that would become a terabyte costs its time, not our memory.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, BufReader, Read};

/// Compressed bytes read in one go.
const BUFFER_BYTES: usize = 64 << 10;

/// Formats that people also use, and that are refused by name instead of being read as noise.
const REFUSED: &[(&[u8], &str)] = &[
    (b"BZh", "a bzip2 archive; unpack it first: bzcat FILE | tripline …"),
    (b"\xfd7zXZ", "an xz archive; unpack it first: xzcat FILE | tripline …"),
    (b"\x04\x22\x4d\x18", "an lz4 archive; unpack it first: lz4cat FILE | tripline …"),
    (b"PK\x03\x04", "a zip archive; unpack it first: unzip -p FILE | tripline …"),
    (b"SQLite format 3\0", "a database, and no log"),
];
const MAGIC_BYTES_MAX: usize = 16;

/// The bytes as they were before they were compressed; as they are, if they were not. The error says what they are.
pub fn unpacked(mut packed: impl Read + Send + 'static) -> io::Result<Result<Box<dyn Read + Send>, &'static str>> {
    let first = first_bytes(&mut packed)?;
    let kind = kind(&first);
    let packed = io::Cursor::new(first).chain(packed);
    Ok(match kind {
        Kind::Plain => Ok(Box::new(packed)),
        Kind::Gzip => Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, packed)))),
        Kind::Zstd => Ok(Box::new(ZstdReader::new(BufReader::with_capacity(BUFFER_BYTES, packed)))),
        Kind::Refused(what) => Err(what),
    })
}

/// Whether something that begins so is an archive, or something else that is no log.
pub(super) fn is_packed(first: &[u8]) -> bool {
    kind(first) != Kind::Plain
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Gzip,
    Zstd,
    Refused(&'static str),
}

fn kind(first: &[u8]) -> Kind {
    match first {
        [0x1f, 0x8b, ..] => Kind::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
        // A frame to be skipped, before one that is not.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Kind::Zstd,
        _ => REFUSED.iter().find(|it| first.starts_with(it.0)).map_or(Kind::Plain, |it| Kind::Refused(it.1)),
    }
}

/// As many bytes as are needed to tell. A pipe that has sent `a\n` must not be asked for more: nothing begins so.
fn first_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    const KNOWN: &[&[u8]] = &[b"\x1f\x8b", b"\x28\xb5\x2f\xfd"];
    let mut first = Vec::new();
    let mut byte = [0; 1];
    let may_be_magic = |first: &[u8]| {
        let mut magics = KNOWN.iter().copied().chain(REFUSED.iter().map(|it| it.0));
        let is_skippable = matches!(first, [] | [0x50..=0x5f] | [0x50..=0x5f, 0x2a] | [0x50..=0x5f, 0x2a, 0x4d]);
        is_skippable || magics.any(|it| it.len() > first.len() && it.starts_with(first))
    };
    while first.len() < MAGIC_BYTES_MAX && may_be_magic(&first) {
        match from.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => first.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(first)
}

/// Zstandard frames one after the other; the library's own reader ends with the first.
struct ZstdReader<R> {
    packed: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(packed: R) -> ZstdReader<R> {
        ZstdReader { packed, decoder: FrameDecoder::new(), is_in_frame: false }
    }

    /// False: there is no other frame.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.packed.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => {
                    self.is_in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if io::copy(&mut (&mut self.packed).take(length), &mut io::sink())? < length {
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a skippable frame is cut off"));
                    }
                }
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.is_in_frame = false;
        match self.decoder.get_checksum_from_data() {
            Some(written) if Some(written) != self.decoder.get_calculated_checksum() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the checksum of a frame does not fit its content"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.end_frame()?;
                continue;
            }
            self.decoder
                .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| io::Error::other(error.to_string()))?;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    pub fn gz(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).expect("memory takes everything");
        encoder.finish().expect("memory takes everything")
    }

    pub fn zst(text: &[u8]) -> Vec<u8> {
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn check(packed: &[u8], expected: &[u8]) {
        let mut seen = Vec::new();
        let mut bytes =
            unpacked(io::Cursor::new(packed.to_vec())).expect("memory can be read").expect("is not refused");
        bytes.read_to_end(&mut seen).expect("is whole");
        assert!(seen == expected, "{} bytes, not {}", seen.len(), expected.len());
    }

    #[test]
    fn the_first_bytes_decide() {
        let long = "2025-04-12 08:03:00 | 103.44.55.21 | ann@example.com | Brazil | Login failure\n".repeat(9_000);
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        for text in [b"".as_slice(), b"a", b"a\nb", long.as_bytes()] {
            check(text, text);
            check(&gz(text), text);
            check(&zst(text), text);
            check(&[gz(text), gz(b"more")].concat(), &[text, b"more"].concat());
            check(&[&skippable[..], &zst(text), &skippable, &zst(b"more")].concat(), &[text, b"more"].concat());
        }
        for text in [b"P".as_slice(), b"PK", b"(", b"B", b"BZ", b"\x1f", b"S", b"\xfd7"] {
            check(text, text);
        }
        for (magic, what) in REFUSED {
            let packed = io::Cursor::new([magic, b"rest".as_slice()].concat());
            assert_eq!(unpacked(packed).expect("memory can be read").err(), Some(*what));
        }
    }

    #[test]
    fn damage_is_an_error_after_what_could_be_read() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|it| format!("{}\n", it.wrapping_mul(2_654_435_761)).into_bytes()).collect();
        for whole in [gz(&text), zst(&text)] {
            for keep in [whole.len() / 2, whole.len() - 1] {
                let packed = io::Cursor::new(whole[..keep].to_vec());
                let mut seen = Vec::new();
                let mut bytes = unpacked(packed).expect("memory can be read").expect("is not refused");
                assert!(bytes.read_to_end(&mut seen).is_err(), "{keep} of {}", whole.len());
                assert!(text.starts_with(&seen) && seen.len() > text.len() / 4, "{} of {}", seen.len(), text.len());
            }
        }
        let mut wrong = zst(&text);
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        let mut bytes = unpacked(io::Cursor::new(wrong)).expect("memory can be read").expect("is not refused");
        assert!(bytes.read_to_end(&mut Vec::new()).is_err(), "a checksum is checked");
    }
}

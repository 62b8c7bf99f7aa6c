//! Takes compression off a body: gzip, zstd and base64 around either, found by content.
//!
//! Invariant: never more than the allowed number of bytes comes out, however small the body and
//! however many layers it is packed in.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use base64::Engine as _;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder, errors};

/// Why the bytes of a body are no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// The compressed stream is broken.
    #[error("{format} stream is broken: {reason}")]
    Broken {
        /// gzip, zstd or base64.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// More than the limit came out.
    #[error(
        "more than {max_bytes} bytes after decompression, over all layers of the body; raise the body limit if this is meant"
    )]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 at byte {offset}")]
    NotText {
        /// Where the first bad byte is.
        offset: usize,
    },
}

/// Compressed inside compressed happens (a gzipped subscription message in a gzipped file), but not deeper.
const MAX_LAYERS: usize = 3;

/// What the first bytes say of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Neither of the others.
    Plain,
    /// gzip, one or more members.
    Gzip,
    /// zstd.
    Zstd,
}

/// Tells the packing by its magic number.
#[must_use]
pub fn packing_of(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// A reader that takes one layer of packing off.
#[must_use]
pub fn reader<'r>(packing: Packing, inner: impl BufRead + 'r) -> Box<dyn Read + 'r> {
    match packing {
        Packing::Plain => Box::new(inner),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(inner)),
        Packing::Zstd => Box::new(ZstdFrames { source: inner, decoder: FrameDecoder::new() }),
    }
}

/// The frames of a zstd stream, one after the other (RFC 8878, 3.1): the decoder by itself ends after
/// the first, and the records of the others would be lost without a word.
struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> ZstdFrames<R> {
    /// Goes to the next frame that holds anything; false at the end.
    fn next_frame(&mut self) -> std::io::Result<bool> {
        use errors::{FrameDecoderError as Frame, ReadFrameHeaderError as Header};
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(Frame::ReadFrameHeaderError(Header::SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    if std::io::copy(&mut self.source.by_ref().take(length), &mut std::io::sink())? < length {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(std::io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() {
                if !self.next_frame()? {
                    return Ok(0);
                }
            } else {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.decoder.decode_blocks(&mut self.source, one).map_err(std::io::Error::other)?;
            }
        }
        self.decoder.read(out)
    }
}

/// What may still come out of a body, over all of its layers: a bomb may be packed in as many as it likes.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    max_bytes: usize,
    left: usize,
}

impl Budget {
    /// For a body of which `max_bytes` may come out.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, left: max_bytes }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), UnpackError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                // Nothing more is tried: what comes next would be worked on as long, and refused too.
                self.left = 0;
                Err(UnpackError::TooLarge { max_bytes: self.max_bytes })
            }
        }
    }
}

/// The text inside a body; what comes out is taken from the budget.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack<'b>(body: &'b [u8], budget: &mut Budget) -> Result<Cow<'b, str>, UnpackError> {
    if body.len() > budget.max_bytes {
        return Err(UnpackError::TooLarge { max_bytes: budget.max_bytes });
    }
    let mut bytes = Cow::Borrowed(body);
    for _ in 0..MAX_LAYERS {
        let packing = packing_of(&bytes);
        let format = match packing {
            Packing::Plain if bytes.starts_with(b"H4sI") => {
                bytes = Cow::Owned(from_base64(&bytes)?);
                budget.spend(bytes.len())?;
                continue;
            }
            Packing::Plain => break,
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        };
        let mut out = Vec::new();
        let limit = u64::try_from(budget.left).unwrap_or(u64::MAX).saturating_add(1);
        reader(packing, bytes.as_ref())
            .take(limit)
            .read_to_end(&mut out)
            .map_err(|error| UnpackError::Broken { format, reason: error.to_string() })?;
        budget.spend(out.len())?;
        bytes = Cow::Owned(out);
    }
    let bad = |error: std::str::Utf8Error| UnpackError::NotText { offset: error.valid_up_to() };
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(bad),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|error| bad(error.utf8_error())),
    }
}

/// Decodes base64, as in `awslogs.data`. Base64 of gzip always begins `H4sI`.
///
/// # Errors
/// [`UnpackError::Broken`] with what is wrong.
pub fn from_base64(text: &[u8]) -> Result<Vec<u8>, UnpackError> {
    base64::engine::general_purpose::STANDARD
        .decode(text.trim_ascii())
        .map_err(|error| UnpackError::Broken { format: "base64", reason: error.to_string() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    pub(in super::super) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_packing_gives_the_same_text() {
        let zstd = ruzstd::encoding::compress_to_vec(b"{}".as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        let members = [gzip(b"{"), gzip(b"}")].concat();
        let base64 = base64::engine::general_purpose::STANDARD.encode(gzip(b"{}")).into_bytes();
        for body in [b"{}".to_vec(), gzip(b"{}"), gzip(&gzip(b"{}")), zstd, members, base64] {
            assert_eq!(unpack(&body, &mut Budget::new(1000)).unwrap(), "{}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(unpack(&bomb, &mut Budget::new(1 << 20)), Err(UnpackError::TooLarge { max_bytes: 1 << 20 }));
        assert_eq!(unpack(b"too long", &mut Budget::new(3)), Err(UnpackError::TooLarge { max_bytes: 3 }));
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_frame_of_a_zstd_stream_is_read() {
        let skipped = [&b"\x50\x2a\x4d\x18\x03\0\0\0"[..], b"abc"].concat();
        let frames = [zstd(b"{\"a\":"), skipped.clone(), zstd(b""), zstd(b"1}"), skipped].concat();
        assert_eq!(unpack(&frames, &mut Budget::new(1000)).unwrap(), "{\"a\":1}");
        let followed = [zstd(b"{}"), b"rest".to_vec()].concat();
        assert!(unpack(&followed, &mut Budget::new(1000)).unwrap_err().to_string().contains("zstd stream is broken"));
        let cut = [zstd(b"{}"), b"\x50\x2a\x4d\x18\xff\xff\xff\xff".to_vec()].concat();
        assert!(unpack(&cut, &mut Budget::new(1000)).is_err());
    }

    #[test]
    fn a_budget_is_of_all_layers_together() {
        let mut budget = Budget::new(1000);
        assert!(unpack(&gzip(&[b' '; 600]), &mut budget).is_ok());
        assert_eq!(unpack(&gzip(&[b' '; 600]), &mut budget), Err(UnpackError::TooLarge { max_bytes: 1000 }));
        assert!(unpack(&gzip(&gzip(&[b' '; 990])), &mut Budget::new(1000)).is_err());
    }

    #[test]
    fn broken_streams_say_so() {
        let mut cut = gzip(b"{\"a\": 1, \"b\": 2}");
        cut.truncate(cut.len() - 9);
        assert!(unpack(&cut, &mut Budget::new(1000)).unwrap_err().to_string().contains("gzip stream is broken"));
        assert!(unpack(b"\x28\xb5\x2f\xfd\xff\xff", &mut Budget::new(1000)).unwrap_err().to_string().contains("zstd"));
        assert_eq!(unpack(b"{\"a\":\"\xff\"}", &mut Budget::new(1000)), Err(UnpackError::NotText { offset: 6 }));
    }
}

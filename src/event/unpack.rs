//! Takes compression off a body: gzip, zstd and base64 around either, found by content.
//!
//! Invariant: never more than the allowed number of bytes comes out, however small the body.

use std::borrow::Cow;
use std::io::Read;

use base64::Engine as _;

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
    #[error("more than {max_bytes} bytes after decompression; raise the body limit if this is meant")]
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
///
/// # Errors
/// When a zstd frame header is broken.
pub fn reader<'r>(packing: Packing, inner: impl Read + 'r) -> Result<Box<dyn Read + 'r>, UnpackError> {
    Ok(match packing {
        Packing::Plain => Box::new(inner),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(inner)),
        Packing::Zstd => Box::new(
            ruzstd::decoding::StreamingDecoder::new(inner)
                .map_err(|error| UnpackError::Broken { format: "zstd", reason: error.to_string() })?,
        ),
    })
}

/// The text inside a body.
///
/// # Errors
/// See [`UnpackError`].
pub fn unpack(body: &[u8], max_bytes: usize) -> Result<Cow<'_, str>, UnpackError> {
    let mut bytes = Cow::Borrowed(body);
    for _ in 0..MAX_LAYERS {
        let packing = packing_of(&bytes);
        let format = match packing {
            Packing::Plain if bytes.starts_with(b"H4sI") => {
                bytes = Cow::Owned(from_base64(&bytes)?);
                continue;
            }
            Packing::Plain => break,
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        };
        let mut out = Vec::new();
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        reader(packing, bytes.as_ref())?
            .take(limit)
            .read_to_end(&mut out)
            .map_err(|error| UnpackError::Broken { format, reason: error.to_string() })?;
        if out.len() > max_bytes {
            return Err(UnpackError::TooLarge { max_bytes });
        }
        bytes = Cow::Owned(out);
    }
    if bytes.len() > max_bytes {
        return Err(UnpackError::TooLarge { max_bytes });
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
            assert_eq!(unpack(&body, 1000).unwrap(), "{}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![b' '; 8 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(unpack(&bomb, 1 << 20), Err(UnpackError::TooLarge { max_bytes: 1 << 20 }));
        assert_eq!(unpack(b"too long", 3), Err(UnpackError::TooLarge { max_bytes: 3 }));
    }

    #[test]
    fn broken_streams_say_so() {
        let mut cut = gzip(b"{\"a\": 1, \"b\": 2}");
        cut.truncate(cut.len() - 9);
        assert!(unpack(&cut, 1000).unwrap_err().to_string().contains("gzip stream is broken"));
        assert!(unpack(b"\x28\xb5\x2f\xfd\xff\xff", 1000).unwrap_err().to_string().contains("zstd"));
        assert_eq!(unpack(b"{\"a\":\"\xff\"}", 1000), Err(UnpackError::NotText { offset: 6 }));
    }
}

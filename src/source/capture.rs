//! Reads capture files for a replay: compression taken off, long JSON lines in pieces.
//!
//! Invariant: memory is bounded by one piece, or by the limit for a file that is one document.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::event::unpack::{packing_of, reader};

/// Bytes of a piece of JSON lines.
const PIECE_BYTES: usize = 16 << 20;

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The system could not read it.
    #[error("{}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// One document larger than the limit.
    #[error("{}: one document of more than {max_bytes} bytes; cut it into lines or raise the limit", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max_bytes: usize,
    },
}

/// The files under a path: itself, or everything below it in order of name. Hidden files are left
/// out; links are not followed below the path given.
///
/// # Errors
/// When the path or a folder below it cannot be read.
pub fn files_under(path: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let fail = |error: std::io::Error| CaptureError::Io { path: path.to_owned(), reason: error.to_string() };
    let about = std::fs::metadata(path).map_err(fail)?;
    if !about.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<_> = std::fs::read_dir(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut files = Vec::new();
    for entry in entries {
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let kind = entry.file_type().map_err(fail)?;
        if kind.is_dir() {
            files.extend(files_under(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Hands the content of a capture to `visit`, piece by piece. A piece is whole lines, or the whole
/// file when its first line is not a value of its own.
///
/// # Errors
/// See [`CaptureError`]; what came before was visited.
pub fn read_pieces(
    path: &Path,
    input: impl Read,
    max_bytes: usize,
    visit: &mut dyn FnMut(&[u8]),
) -> Result<(), CaptureError> {
    let fail = |error: String| CaptureError::Io { path: path.to_owned(), reason: error };
    let mut input = std::io::BufReader::with_capacity(1 << 20, input);
    let head = std::io::BufRead::fill_buf(&mut input).map_err(|error| fail(error.to_string()))?;
    let packing = packing_of(head);
    let mut input = reader(packing, input);
    let mut held = Vec::new();
    let mut lines = None;
    let mut pieces = 0_u64;
    loop {
        let before = held.len();
        let wanted = if lines == Some(true) { PIECE_BYTES } else { before.max(PIECE_BYTES) };
        // One byte more than the limit tells that there is more.
        let wanted = wanted.min((max_bytes - before).saturating_add(1));
        let got = input.by_ref().take(wanted as u64).read_to_end(&mut held);
        let failed = got.as_ref().err().map(ToString::to_string);
        let ended = failed.is_some() || held.len() - before < wanted;
        let is_lines = *lines.get_or_insert_with(|| begins_with_a_line_value(&held));
        if ended {
            if !held.trim_ascii().is_empty() || (pieces == 0 && failed.is_none()) {
                visit(&held);
            }
            return failed.map_or(Ok(()), |reason| Err(fail(reason)));
        }
        if is_lines && let Some(end) = held.iter().rposition(|byte| *byte == b'\n') {
            let rest = held.split_off(end + 1);
            visit(&held);
            pieces += 1;
            held = rest;
        }
        if held.len() > max_bytes {
            return Err(CaptureError::TooLarge { path: path.to_owned(), max_bytes });
        }
    }
}

/// Whether the first line is a JSON value by itself, as in JSON lines.
fn begins_with_a_line_value(text: &[u8]) -> bool {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return false };
    let line = text.get(..end).unwrap_or_default();
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(content: &[u8], max_bytes: usize) -> (Vec<usize>, bool) {
        let mut sizes = Vec::new();
        let result = read_pieces(Path::new("x"), content, max_bytes, &mut |piece| sizes.push(piece.len()));
        (sizes, result.is_ok())
    }

    #[test]
    fn lines_come_in_pieces_and_documents_whole() {
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1_000_000));
        let lines = line.repeat(40);
        let (sizes, ok) = pieces(lines.as_bytes(), usize::MAX);
        assert!(ok && sizes.len() > 1 && sizes.iter().all(|size| size % line.len() == 0), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), lines.len());
        let document = format!("[\n{}\n]", vec![line.trim(); 40].join(",\n"));
        assert_eq!(pieces(document.as_bytes(), usize::MAX), (vec![document.len()], true));
        assert_eq!(pieces(document.as_bytes(), 20 << 20), (vec![], false));
        assert_eq!(pieces(b"", usize::MAX), (vec![0], true));
    }

    /// Spaces without end, and how many of them were asked for.
    struct Spaces(usize);

    impl Read for Spaces {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            out.fill(b' ');
            self.0 += out.len();
            Ok(out.len())
        }
    }

    #[test]
    fn a_document_without_end_is_read_as_far_as_the_limit() {
        let mut spaces = Spaces(0);
        let mut visited = 0;
        let result = read_pieces(Path::new("x"), &mut spaces, 40 << 20, &mut |_| visited += 1);
        assert!(matches!(result, Err(CaptureError::TooLarge { .. })) && visited == 0);
        assert!(spaces.0 < 42 << 20, "{}", spaces.0);
    }

    #[test]
    fn a_packed_bomb_is_read_as_far_as_the_limit_and_packed_lines_stream() {
        use std::io::Write as _;
        let packed = |unit: &[u8], times: usize| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            for _ in 0..times {
                encoder.write_all(unit).unwrap();
            }
            encoder.finish().unwrap()
        };
        let bomb = packed(&[b' '; 1 << 20], 60);
        assert!(bomb.len() < 1 << 20, "{}", bomb.len());
        assert_eq!(pieces(&bomb, 20 << 20), (vec![], false));
        let line = format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20));
        let (sizes, ok) = pieces(&packed(line.as_bytes(), 50), 20 << 20);
        assert!(ok && sizes.iter().sum::<usize>() == 50 * line.len());
        assert!(sizes.iter().all(|size| *size < 2 * PIECE_BYTES + line.len()), "{sizes:?}");
    }
}

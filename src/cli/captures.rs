//! Reads files of captures for the subcommands that look at them: the files of folders, several at a
//! time, piece by piece.
//!
//! Invariant: what comes out is in the order of the files, whatever the number of threads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::Usage;
use crate::source::capture::{CaptureError, files_under, read_pieces};

/// A document larger than this is not read whole.
const MAX_DOCUMENT_BYTES: usize = 1 << 30;

/// What is done with the pieces of files; shared by threads.
pub(super) trait PieceReader: Sync {
    /// What a file comes to.
    type Output: Default + Send;

    /// Reads one piece of a file.
    fn read(&self, file: &Path, piece: &[u8], output: &mut Self::Output);

    /// Notes that the file could not be read to its end.
    fn failed(&self, output: &mut Self::Output, reason: String);
}

/// The files that were meant, those of folders included.
pub(super) fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if is_standard_input(path) {
            files.push(path.clone());
        } else {
            files.extend(files_under(path).map_err(|error| Usage(error.to_string()))?);
        }
    }
    Ok(files)
}

/// `-`.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn workers(wanted: Option<u16>) -> usize {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    wanted.map_or_else(available, usize::from)
}

/// Reads all files, a few at a time; results are in the order of the files. Standard input can be
/// read once; who reads twice gives what it `held`.
pub(super) fn read_all<R: PieceReader>(
    files: &[PathBuf],
    reader: &R,
    threads: Option<u16>,
    held: Option<&[u8]>,
) -> Vec<R::Output> {
    let threads = workers(threads);
    let progress = progress_bar(files.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(index) else { return done };
            done.push((index, read_one(file, reader, held)));
            progress.inc(1);
        }
    };
    let mut results: BTreeMap<usize, R::Output> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(files.len().max(1))).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    progress.finish_and_clear();
    let lost = |file: &PathBuf| {
        let mut output = R::Output::default();
        reader.failed(&mut output, format!("{}: reading it broke off; please report this", file.display()));
        output
    };
    files.iter().enumerate().map(|(index, file)| results.remove(&index).unwrap_or_else(|| lost(file))).collect()
}

fn read_one<R: PieceReader>(file: &Path, reader: &R, held: Option<&[u8]>) -> R::Output {
    let mut output = R::Output::default();
    let mut visit = |piece: &[u8]| reader.read(file, piece, &mut output);
    let read = match (is_standard_input(file), held) {
        (true, Some(held)) => read_pieces(Path::new("standard input"), held, MAX_DOCUMENT_BYTES, &mut visit),
        (true, None) => {
            read_pieces(Path::new("standard input"), std::io::stdin().lock(), MAX_DOCUMENT_BYTES, &mut visit)
        }
        (false, _) => match std::fs::File::open(file) {
            Ok(opened) => read_pieces(file, opened, MAX_DOCUMENT_BYTES, &mut visit),
            Err(error) => Err(CaptureError::Io { path: file.to_owned(), reason: error.to_string() }),
        },
    };
    if let Err(error) = read {
        reader.failed(&mut output, error.to_string());
    }
    output
}

fn progress_bar(files: usize) -> ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed}");
    ProgressBar::new(files as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

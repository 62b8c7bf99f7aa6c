//! Captured files as the subcommands read them: in parallel, twice where they must, with a progress bar.
//!
//! Standard input can be read once only, so it is spooled to a file without a name first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Usage, say};
use crate::alert::redact::printable;
use crate::engine::lesson::{self, Lesson};
use crate::event::envelope::EnvelopeLimits;
use crate::keys::picture::Picture;
use crate::keys::snapshot;
use crate::pipeline::learn::Learner;
use crate::pipeline::replay::{FileResult, Reader};
use crate::pipeline::survey::{Survey, whole_picture};
use crate::rule::RuleSet;
use crate::source::capture::{CaptureError, files_under, read_pieces};

/// A document larger than this is not read whole.
const MAX_DOCUMENT_BYTES: usize = EnvelopeLimits::MAX_DOCUMENT_BYTES;
/// Unreadable records told of one by one, for each file; more are counted.
const MAX_TOLD: usize = 5;

/// One file, or standard input.
#[derive(Debug)]
pub struct Capture {
    /// As it is called in messages.
    pub path: PathBuf,
    spooled: Option<File>,
}

impl Capture {
    /// Hands its content to `visit`, piece by piece, from the beginning.
    ///
    /// # Errors
    /// See [`CaptureError`]; what came before was visited.
    pub fn pieces(&self, visit: &mut dyn FnMut(&[u8])) -> Result<(), CaptureError> {
        let fail = |error: std::io::Error| CaptureError::Io { path: self.path.clone(), reason: error.to_string() };
        let file = match &self.spooled {
            Some(spooled) => {
                let mut file = spooled.try_clone().map_err(fail)?;
                file.seek(SeekFrom::Start(0)).map_err(fail)?;
                file
            }
            None => File::open(&self.path).map_err(fail)?,
        };
        read_pieces(&self.path, file, MAX_DOCUMENT_BYTES, visit)
    }
}

/// The files that were meant, those of folders included; `-` is standard input.
///
/// # Errors
/// When a path cannot be read at all, or standard input cannot be spooled.
pub fn captures(paths: &[PathBuf]) -> anyhow::Result<Vec<Capture>> {
    let mut captures: Vec<Capture> = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            captures.push(Capture { path: "standard input".into(), spooled: Some(spool()?) });
        } else {
            let files = files_under(path).map_err(|error| Usage(error.to_string()))?;
            captures.extend(files.into_iter().map(|path| Capture { path, spooled: None }));
        }
    }
    Ok(captures)
}

fn spool() -> anyhow::Result<File> {
    let place = std::env::temp_dir().join(format!("kmswatch-{}-{:016x}", std::process::id(), fastrand::u64(..)));
    let failed = || format!("standard input cannot be kept in {}; name a file instead", place.display());
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.read(true).write(true).create_new(true).open(&place).with_context(failed)?;
    // Nobody else can find it, and it is gone with the process.
    std::fs::remove_file(&place).with_context(failed)?;
    std::io::copy(&mut std::io::stdin().lock(), &mut file).with_context(failed)?;
    Ok(file)
}

/// What is done with the pieces of files; shared by threads.
pub trait PieceReader: Sync {
    /// What a file comes to.
    type Output: Default + Send;

    /// Reads one piece of a file.
    fn read(&self, file: &Path, piece: &[u8], output: &mut Self::Output);

    /// Notes that the file could not be read to its end.
    fn failed(&self, output: &mut Self::Output, reason: String);
}

/// What all files came to, in the order of the files, a few of them read at a time.
pub fn read_all<R: PieceReader>(captures: &[Capture], reader: &R, threads: Option<u16>) -> Vec<R::Output> {
    let results = Mutex::new(BTreeMap::new());
    read_each(captures, reader, threads, &|index, result| {
        results.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result);
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Reads all files, a few at a time, and hands what each came to on to `done`, in any order.
pub fn read_each<R: PieceReader>(
    captures: &[Capture],
    reader: &R,
    threads: Option<u16>,
    done: &(dyn Fn(usize, R::Output) + Sync),
) {
    let available = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = threads.map_or_else(available, usize::from).min(captures.len().max(1));
    let progress = progress_bar(captures.len());
    let next = AtomicUsize::new(0);
    let read = Mutex::new(BTreeSet::new());
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(capture) = captures.get(index) else { return };
            done(index, read_one(capture, reader));
            read.lock().unwrap_or_else(PoisonError::into_inner).insert(index);
            progress.inc(1);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        // One that broke off has said so itself; its file is told of below.
        workers.into_iter().for_each(|worker| drop(worker.join()));
    });
    progress.finish_and_clear();
    let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (index, capture) in captures.iter().enumerate().filter(|(index, _)| !read.contains(index)) {
        let mut output = R::Output::default();
        reader.failed(&mut output, format!("{}: reading it broke off; please report this", capture.path.display()));
        done(index, output);
    }
}

fn read_one<R: PieceReader>(capture: &Capture, reader: &R) -> R::Output {
    let mut output = R::Output::default();
    let read = capture.pieces(&mut |piece| reader.read(&capture.path, piece, &mut output));
    if let Err(error) = read {
        reader.failed(&mut output, error.to_string());
    }
    output
}

impl PieceReader for Reader {
    type Output = FileResult;

    fn read(&self, _: &Path, piece: &[u8], output: &mut FileResult) {
        Self::read(self, piece, output);
    }

    fn failed(&self, output: &mut FileResult, reason: String) {
        output.failed(reason);
    }
}

impl PieceReader for Learner {
    type Output = FileResult;

    fn read(&self, _: &Path, piece: &[u8], output: &mut FileResult) {
        Self::read(self, piece, output);
    }

    fn failed(&self, output: &mut FileResult, reason: String) {
        output.failed(reason);
    }
}

/// Looks over files for what they tell of keys.
struct Surveyor;

impl PieceReader for Surveyor {
    type Output = Survey;

    fn read(&self, _: &Path, piece: &[u8], output: &mut Survey) {
        output.look(piece);
    }

    /// It is told of when the file is read for its records.
    fn failed(&self, _: &mut Survey, _: String) {}
}

/// What is known of keys: by the snapshots given, and by all that the captures tell.
///
/// # Errors
/// When a snapshot cannot be read.
pub fn picture(captures: &[Capture], snapshots: &[PathBuf], threads: Option<u16>) -> anyhow::Result<Picture> {
    let mut picture = whole_picture();
    for path in snapshots {
        let text = std::fs::read_to_string(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        let keys = snapshot::read(&path.display().to_string(), &text).map_err(|error| Usage(error.to_string()))?;
        keys.values().for_each(|facts| picture.take_snapshot(facts));
    }
    survey(captures, threads).tell(&mut picture);
    Ok(picture)
}

/// What the captures tell of keys.
#[must_use]
pub fn survey(captures: &[Capture], threads: Option<u16>) -> Survey {
    read_all(captures, &Surveyor, threads).into_iter().fold(Survey::default(), |mut all, survey| {
        all.join(survey);
        all
    })
}

fn progress_bar(files: usize) -> ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} files {elapsed}");
    ProgressBar::new(files as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Tells what of a file could not be read.
pub fn tell(file: &Path, result: &FileResult) {
    for reason in result.unreadable.iter().take(MAX_TOLD) {
        say(&format!("{}: {}", name(file), printable(reason)));
    }
    let told = result.unreadable.len().min(MAX_TOLD) as u64;
    if result.accounting.parked > told {
        say(&format!("{}: and {} more unreadable records", name(file), result.accounting.parked - told));
    }
}

/// A file's name, on one line whatever it is called.
fn name(file: &Path) -> String {
    printable(&file.to_string_lossy())
}

/// What a file of seeds teaches rules; what was passed over is told.
///
/// # Errors
/// When it cannot be read or is none.
pub fn seeds(path: &Path, rules: &RuleSet) -> anyhow::Result<Vec<Lesson>> {
    let fail = |error: String| Usage(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_string(&mut text);
    if read.map_err(|error| fail(error.to_string()))? > MAX_DOCUMENT_BYTES {
        anyhow::bail!(fail(format!("longer than {MAX_DOCUMENT_BYTES} bytes")));
    }
    let seeds = lesson::read(rules, &text).map_err(|error| fail(error.to_string()))?;
    for skipped in &seeds.skipped {
        say(&format!("{}: {}", path.display(), printable(skipped)));
    }
    Ok(seeds.lessons)
}

//! A snapshot file, line by line, for it may be larger than memory.

use std::io::{BufRead as _, BufReader};
use std::path::Path;

use super::super::Usage;
use crate::keys::snapshot::{self, KeyFacts};

/// Hands every key of a snapshot to `take`.
///
/// # Errors
/// The file or the first line that cannot be read, or what `take` says.
pub(crate) fn each(path: &Path, mut take: impl FnMut(KeyFacts) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = std::fs::File::open(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| Usage(format!("{}:{}: {error}", path.display(), number + 1)))?;
        // Read by the reader of whole files, so that there is one.
        let keys = snapshot::read(&path.display().to_string(), &line).map_err(|mut error| {
            error.line = number + 1;
            Usage(error.to_string())
        })?;
        keys.into_values().try_for_each(&mut take)?;
    }
    Ok(())
}

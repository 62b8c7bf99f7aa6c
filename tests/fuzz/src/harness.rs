//! A target as a plain program, on stable Rust: the corpus, then random mutations of it for some
//! seconds. It is not guided by coverage, as cargo-fuzz is; it needs nothing but the compiler.
//!
//! `TARGET [SECONDS] [SEED]` or `TARGET FILE`, which runs one file. Inputs that panic or take long are
//! written to `artifacts/TARGET/`; then it ends with 1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::mutate::{corpus, mutated};

/// No input of this size needs as long as this.
const SLOW: Duration = Duration::from_secs(2);
/// After so many findings there is enough to do.
const MAX_FOUND: usize = 20;

/// Runs a target.
pub fn run(name: &str, surface: fn(&[u8])) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let first = arguments.first().map_or("10", String::as_str);
    let Ok(seconds) = first.parse::<u64>() else {
        surface(&std::fs::read(first).expect("SECONDS or a file"));
        return ExitCode::SUCCESS;
    };
    let seed = arguments.get(1).map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("SEED is a number"));
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = corpus(&here.join("corpus").join(name));
    let mut trial = Trial {
        name,
        surface,
        artifacts: here.join("artifacts").join(name),
        runs: 0,
        longest: Duration::ZERO,
        found: 0,
    };
    corpus.iter().for_each(|bytes| trial.run(bytes));
    // What an input loads once is not the next one's time.
    trial.longest = Duration::ZERO;
    let mut rng = Rng::with_seed(seed);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds) && trial.found < MAX_FOUND {
        trial.run(&mutated(&corpus, &mut rng));
    }
    println!(
        "{name}: {} inputs in {:.0} s, seed {seed}, longest {} ms, {} findings",
        trial.runs,
        began.elapsed().as_secs_f32(),
        trial.longest.as_millis(),
        trial.found
    );
    if trial.found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Trial<'n> {
    name: &'n str,
    surface: fn(&[u8]),
    artifacts: PathBuf,
    runs: u64,
    longest: Duration,
    found: usize,
}

impl Trial<'_> {
    fn run(&mut self, bytes: &[u8]) {
        let began = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (self.surface)(bytes)));
        let took = began.elapsed();
        let first = self.runs == 0;
        self.runs += 1;
        self.longest = self.longest.max(took);
        let slow = took > SLOW && !first;
        if ended.is_err() || slow {
            self.found += 1;
            std::fs::create_dir_all(&self.artifacts).expect("a folder for findings");
            let path = self.artifacts.join(format!("{}-{}", if slow { "slow" } else { "panic" }, self.found));
            std::fs::write(&path, bytes).expect("a finding is kept");
            eprintln!("{}: input {} ({} ms) is kept as {}", self.name, self.runs, took.as_millis(), path.display());
        }
    }
}

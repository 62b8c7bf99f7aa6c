//! The command line: one file a subcommand, each with `Args` and `run`. The only code that builds
//! adapters.

pub mod captures;
pub mod check;
pub mod evidence;
pub mod explain;
pub mod keys;
pub mod list;
mod picture;
mod refresh;
mod reload;
pub mod replay;
pub mod rules;
pub mod run;
pub mod seed;
pub mod simulate;
pub mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::alert::redact::printable_lines;

/// What a run came to, as the process tells its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing found, all well.
    Clean = 0,
    /// Incidents were found, or an example failed.
    Findings = 1,
    /// Wrong usage, rules or configuration.
    Invalid = 2,
    /// It could not be done.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A mistake of the person at the command line: exit 2, told without a trace.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// kmswatch watches how AWS KMS keys are used and changed.
#[derive(Debug, Parser)]
#[command(name = "kmswatch", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a queue or a directory and send alerts
    Run(run::Args),
    /// Find incidents in captured CloudTrail files
    Replay(replay::Args),
    /// Answer an auditor: who used a key, who changed it, what was denied
    Evidence(evidence::Args),
    /// Teach the service what is usual, from captured files
    Seed(seed::Args),
    /// Say why a record was told of, or was not
    Explain(explain::Args),
    /// Look for mistakes in rules
    Check(check::Args),
    /// Run the examples that rules carry
    Test(test::Args),
    /// List rules, and what they cover
    Rules(list::Args),
    /// What is known of keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Live through simulated worlds of crashes and faults
    Simulate(simulate::Args),
}

/// Runs the command line and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // Nobody is left to tell when even this cannot be printed.
            let _ = error.print();
            return if asked_for { Exit::Clean.into() } else { Exit::Invalid.into() };
        }
    };
    let ended = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Seed(args) => seed::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Rules(args) => list::run(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Simulate(args) => simulate::run(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(error) if is_broken_pipe(&error) => Exit::Clean.into(),
        Err(error) => {
            say(&format!("kmswatch: {error:#}"));
            if error.is::<Usage>() { Exit::Invalid.into() } else { Exit::Failed.into() }
        }
    }
}

/// Says something to the person at the terminal, if one is still there. Names of files and what a
/// service answered are in it, so nothing but line ends may do more than show itself.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{}", printable_lines(text));
}

/// `kmswatch ... | head` is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(broken))
}

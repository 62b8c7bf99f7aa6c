//! Entry point: parses, runs, and tells the caller how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    kmswatch::cli::main()
}

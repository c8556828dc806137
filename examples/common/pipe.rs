//! How a program that may stand in a pipe ends.

#[allow(dead_code)]
#[path = "cli.rs"]
pub mod cli;
#[path = "warnings.rs"]
mod warnings;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs an example, with its warnings shown. Exit code 0, also when the reader of the output has gone; any other error is printed to standard
/// error and gives exit code 1.
pub fn main(run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    warnings::show();
    match run() {
        Err(error) if !is_closed_pipe(error.as_ref()) => {
            // Nobody is left to tell when this pipe is closed too.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn is_closed_pipe(error: &(dyn Error + 'static)) -> bool {
    let kind = match error.downcast_ref::<serde_json::Error>() {
        Some(error) => error.io_error_kind(),
        None => error.downcast_ref().map(io::Error::kind),
    };
    kind == Some(io::ErrorKind::BrokenPipe)
}

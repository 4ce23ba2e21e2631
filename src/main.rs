//! The program: parse, run, say what went wrong, choose the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match regfs::cli::run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("regfs: {}", regfs::cli::shown(&error));
            ExitCode::from(regfs::daemon::exit_code(&error))
        }
    }
}

//! Where the log goes: stderr, and the file that `--log` names.
//!
//! A daemon's stderr leads nowhere once it is in the background, so there the file is all that is
//! left. One line per event.

use anyhow::{Context, Result};
use env_logger::{Builder, Env, Target};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Begins to log: what `RUST_LOG` asks for, or else `verbose` steps more than `usual`.
pub(super) fn start(verbose: u8, usual: &str, file: Option<&Path>) -> Result<()> {
    let filter = match verbose {
        0 => format!("warn,regfs={usual}"),
        1 => "info,regfs=debug".to_owned(),
        2 => "debug".to_owned(),
        _ => "trace".to_owned(),
    };
    let mut builder = Builder::from_env(Env::default().default_filter_or(filter));
    builder.format_target(false);
    if let Some(path) = file {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        let file = opened.with_context(|| format!("could not open the log {}", path.display()))?;
        builder.target(Target::Pipe(Box::new(Tee { file })));
    }
    builder.try_init().context("could not start the log")
}

/// Writes to a file, and to stderr as long as that leads anywhere.
struct Tee {
    file: File,
}

impl Write for Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().write_all(line).ok();
        self.file.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

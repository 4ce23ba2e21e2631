//! Prints the TarSum of layers, as `sha256sum` prints digests.
//!
//!     cargo run --release --example tarsum -- [tarsum+sha256 | tarsum.v1+sha256 | …] FILE…

use anyhow::{Context as _, Result};
use regfs::model::{Algorithm, Digest, Hasher};
use std::{
    env,
    fs::File,
    io::{Read as _, Write as _, stdout},
    process::ExitCode,
};

/// Bytes read at once. They stay in the processor's cache until they are hashed: from 256 KiB on,
/// reading took twice the time.
const STEP_BYTES: usize = 1 << 16;

fn main() -> ExitCode {
    let mut files: Vec<String> = env::args().skip(1).collect();
    let named = |name: &String| Algorithm::ALL.into_iter().find(|known| known.name() == name);
    let algorithm = files.first().and_then(named);
    if algorithm.is_some() {
        files.remove(0);
    }
    let usual = Algorithm::ALL.into_iter().find(|known| known.name() == "tarsum.v1+sha256");
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        let line = match digest(algorithm.or(usual).unwrap_or(Algorithm::Sha256), file) {
            Ok(digest) => format!("{digest}  {file}"),
            Err(error) => {
                code = ExitCode::FAILURE;
                format!("{file}: {error:#}")
            }
        };
        if writeln!(stdout(), "{line}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    code
}

fn digest(algorithm: Algorithm, path: &str) -> Result<Digest> {
    let mut file = File::open(path).context("cannot open")?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; STEP_BYTES];
    loop {
        match file.read(&mut buffer).context("cannot read")? {
            0 => return Ok(hasher.digest()?),
            count => hasher.update(&buffer[..count]),
        }
    }
}

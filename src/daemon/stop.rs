//! The signals that end what a command does, in good order.

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize},
};

const ENDING_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// Gets the number of the signal that asks for the end. A second one ends the program at once. A
/// SIGHUP that nohup(1) has it ignore stays ignored.
pub(crate) fn watch_signals() -> Result<Arc<AtomicUsize>> {
    let (stop, is_second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    for signal in ENDING_SIGNALS {
        if signal == SIGHUP && ignores(SIGHUP) {
            continue;
        }
        let number = usize::try_from(signal).unwrap_or_default();
        flag::register_conditional_shutdown(signal, SIGNALLED + signal, Arc::clone(&is_second))
            .and_then(|_| flag::register(signal, Arc::clone(&is_second)))
            .and_then(|_| flag::register_usize(signal, Arc::clone(&stop), number))
            .context("could not watch for signals")?;
    }
    Ok(stop)
}

/// The exit code of a command that the signal `number` has ended.
pub(crate) fn exit_code(number: usize) -> std::process::ExitCode {
    let code = SIGNALLED.unsigned_abs() as usize + number;
    u8::try_from(code).map_or(std::process::ExitCode::FAILURE, Into::into)
}

/// Whether this process ignores a signal.
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

//! What a test has tried, for `docs/reliability.md`: the tests that break things on purpose each leave
//! a row, and `scripts/reliability` runs them at length and makes the table.

use std::{env, fs, io::Write as _};

/// Leaves the row `what` in the file that REGFS_RELIABILITY names, if it does: that `tried` things were
/// tried, what `came` of them, and the command that does it again.
#[track_caller]
pub(crate) fn reliability_row(what: &str, tried: u64, came: &str, command: &str) {
    let Some(log) = env::var_os("REGFS_RELIABILITY") else { return };
    let row = serde_json::json!({
        "what": what, "tried": tried, "came": came, "command": command
    });
    let mut log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    log.write_all(format!("{row}\n").as_bytes()).unwrap();
}

/// How much is tried: `default`, or what the variable says that `scripts/reliability` sets for its
/// long runs.
pub(crate) fn effort(variable: &str, default: u64) -> u64 {
    env::var_os(variable).map_or(default, |text| text.to_str().unwrap().parse().unwrap())
}

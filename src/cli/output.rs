//! What goes to stdout: text that a person or a program reads, who may have seen enough before its end.

use anyhow::{Context as _, Result};
use std::io::{self, Write as _};

/// Prints `text` at once. Errors: `BrokenPipe` when nobody reads any more.
pub(super) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints `text`; that nobody reads any more, as behind `| head`, is fine.
pub(super) fn print(text: &str) -> Result<()> {
    match write(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("could not write to stdout"),
    }
}

/// One line, whatever is in the names that it has: they may have been made to confuse a terminal.
pub(super) fn plain(line: &str) -> String {
    // What turns the direction of writing is no better.
    let is_obeyed = |character: char| {
        character.is_control()
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |character: char| match is_obeyed(character) {
        true => character.escape_debug().collect::<Vec<_>>(),
        false => vec![character],
    };
    line.chars().flat_map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_reach_the_terminal_as_they_are() {
        assert_eq!(plain("a\u{1b}[2J\nb é\u{202e}"), "a\\u{1b}[2J\\nb é\\u{202e}");
    }
}

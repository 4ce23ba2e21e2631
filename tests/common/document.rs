//! Documents of the project that a run of the tests writes: what they say is what was seen.

use std::{fs, path::Path};

/// Compares the file `name` of the project with `text`, what this run found. Where they differ the
/// file is written anew and the test fails, so that nobody can overlook it: read the change, and
/// commit it.
#[track_caller]
pub(crate) fn keep_document(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let kept = fs::read_to_string(&file).unwrap_or_default();
    if kept == text {
        return;
    }
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let (line, (was, is)) = first_difference(&kept, text);
    panic!("{name}:{line} said\n  {was}\nand this run found\n  {is}\nIt is written anew.");
}

/// The number and the two texts of the first line in which they differ.
fn first_difference<'a>(kept: &'a str, text: &'a str) -> (usize, (&'a str, &'a str)) {
    let (mut kept, mut text) = (kept.lines(), text.lines());
    for number in 1.. {
        match (kept.next(), text.next()) {
            (None, None) => break,
            (was, is) if was == is => {}
            (was, is) => return (number, (was.unwrap_or("(the end)"), is.unwrap_or("(the end)"))),
        }
    }
    (0, ("other ends of lines", "other ends of lines"))
}

/// A word of a message with `XXXXXX` for the letters that a tool has invented: `sedXXXXXX`, ln's
/// `CuXXXXXX`, perl's `XXXXXXXX`, rsync's `.NAME.XXXXXX`, and what a test asks of mktemp.
pub(crate) fn invented_name(word: &str) -> String {
    let is_random = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    let end = word.trim_end_matches(['"', '\'', ':', ',', '.', ')', '`', '’', ';']);
    let tail = &word[end.len()..];
    if let Some((head, random)) = end.split_at_checked(end.len().saturating_sub(6))
        && is_random(random)
    {
        let is_rsync =
            head.ends_with('.') && head.rsplit('/').next().unwrap().starts_with(['.', '"']);
        let starts = ["/sed", "\"sed", "/Cu", "\"Cu", "/XX", ".Tmp"];
        if is_rsync || starts.iter().any(|start| head.ends_with(start)) {
            return format!("{head}XXXXXX{tail}");
        }
    }
    word.to_owned()
}

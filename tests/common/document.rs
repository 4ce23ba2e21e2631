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

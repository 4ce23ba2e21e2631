//! The laws of this code base that the compiler does not know.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Each part of the program with the parts it may name. `daemon`, where all is put together, may
/// name everybody, and is the only one that may name `store` and `cache` beside `fs`.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("registry", &["model"]),
    ("store", &["model", "registry"]),
    ("cache", &["model", "registry"]),
    ("remote", &["model", "registry"]),
    ("tree", &["model", "registry"]),
    ("fs", &["model", "registry", "tree"]),
    ("config", &["fs"]),
    // What is done to a store that need not be mounted.
    ("cli", &["config", "daemon", "fs", "store"]),
    ("main", &["cli", "daemon"]),
];

/// Lines of a file before its tests: more is split by noun.
const LINES_MAX: usize = 400;

#[test]
fn arrows_point_one_way() {
    for (part, may_use) in ARROWS {
        let mut files = rust_files(&Path::new("src").join(part));
        files.extend(Some(PathBuf::from(format!("src/{part}.rs"))).filter(|file| file.exists()));
        for (place, line) in files.iter().flat_map(|file| lines(file)) {
            // Spelled in full, so that the next loop sees it.
            assert!(
                !line.contains("crate::{") && !line.contains("super::super"),
                "{place}: name the folder"
            );
            for used in named_after("crate::", &line).chain(named_after("regfs::", &line)) {
                assert!(
                    used == *part || may_use.contains(&used),
                    "{place}: {part} must not use {used}"
                );
            }
        }
    }
}

#[test]
fn every_part_has_its_arrows() {
    for entry in fs::read_dir("src").unwrap() {
        let path = entry.unwrap().path();
        let part = path.file_stem().unwrap().to_str().unwrap();
        let is_known = ARROWS.iter().any(|(known, _)| *known == part);
        assert!(is_known || matches!(part, "lib" | "daemon"), "{part}: say what it may use");
    }
}

#[test]
fn fuser_stays_at_the_rim() {
    const RIM: &[&str] = &["src/fs/fuse/", "src/fs/mount.rs"];
    for (place, line) in source_lines() {
        let at_the_rim = RIM.iter().any(|file| place.starts_with(file));
        let names_it = line.contains("fuser::") || line.contains("use fuser");
        assert!(at_the_rim || !names_it, "{place}: only {RIM:?} know fuser");
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_readable() {
    for file in rust_files(Path::new("src")).iter().chain(&rust_files(Path::new("tests"))) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.starts_with("//!"), "{}: begin with `//!`", file.display());
    }
    for file in rust_files(Path::new("src")) {
        // A file of tests alone begins after the program has ended.
        if file.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let count = program(&fs::read_to_string(&file).unwrap()).lines().count();
        assert!(count <= LINES_MAX, "{}: {count} lines; split it by noun", file.display());
    }
}

#[test]
fn error_numbers_are_not_named_in_the_domain() {
    for folder in ["src/model", "src/registry", "src/cache"] {
        for (place, line) in rust_files(Path::new(folder)).iter().flat_map(|file| lines(file)) {
            let names_one = line.contains("libc::E") || line.contains("Errno::");
            assert!(!names_one, "{place}: numbers are chosen in src/fs/errno.rs");
        }
    }
}

/// Tests may spell them: what lies on disk is a promise to other programs.
#[test]
fn names_on_disk_are_spelled_in_one_file() {
    const NAMES: &[&str] =
        &["\"_layers\"", "\"_manifests\"", "\"_uploads\"", "\"startedat\"", "\"hashstates\""];
    for file in rust_files(Path::new("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for (index, line) in program(&text).lines().enumerate() {
            let is_free = NAMES.iter().all(|name| !line.contains(name));
            assert!(
                is_free || file == Path::new("src/store/layout.rs"),
                "{}:{}: only src/store/layout.rs knows the disk",
                file.display(),
                index + 1
            );
        }
    }
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let Ok(text) = fs::read_to_string("ARCHITECTURE.md") else {
        eprintln!("SKIPPED: there is no ARCHITECTURE.md yet");
        return;
    };
    let files = tracked_files();
    let is_part_of_a_path = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    for word in text.split(|c: char| !is_part_of_a_path(c)) {
        let word = word.trim_end_matches('.');
        let is_file = [".rs", ".md", ".toml"].iter().any(|end| word.ends_with(end))
            || word.strip_prefix("scripts/").is_some_and(|rest| !rest.is_empty());
        // `.rs` alone is talk about the ending.
        if !is_file || word.starts_with('.') {
            continue;
        }
        let exists = Path::new(word).exists() || files.iter().any(|file| file.ends_with(word));
        assert!(exists, "ARCHITECTURE.md: there is no {word}");
    }
}

#[test]
fn what_the_table_of_reliability_says_can_be_done_again() {
    let text = fs::read_to_string("docs/reliability.md").unwrap();
    let commands: Vec<&str> = text.split('`').filter(|part| part.contains("cargo test")).collect();
    assert!(commands.len() >= 10, "docs/reliability.md: {} commands", commands.len());
    let sources = rust_files(Path::new("tests"));
    let sources: String = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let test = words.iter().skip_while(|word| **word != "--test").nth(1).unwrap();
        assert!(Path::new("tests").join(test).with_extension("rs").exists(), "{command}");
        for (variable, _) in words.iter().filter_map(|word| word.split_once('=')) {
            assert!(sources.contains(&format!("\"{variable}\"")), "{command}: {variable}");
        }
    }
}

#[test]
fn a_lint_is_allowed_only_for_a_reason() {
    for file in rust_files(Path::new("src")).iter().chain(&rust_files(Path::new("tests"))) {
        let text = fs::read_to_string(file).unwrap();
        for opening in [concat!("#[", "allow("), concat!("#![", "allow(")] {
            for rest in text.split(opening).skip(1) {
                let attribute = rest.split(")]").next().unwrap();
                assert!(
                    attribute.contains("reason ="),
                    "{}: allow({attribute}) has no reason",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn nothing_knows_the_machine_it_was_written_on() {
    const MACHINE: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    for file in tracked_files() {
        // A file that is deleted and not yet committed is listed, too.
        let Ok(bytes) = fs::read(&file) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for folder in MACHINE {
            for (start, _) in text.match_indices(folder) {
                // Behind a name it is a part of another path, or of a URL.
                let before = text[..start].chars().next_back();
                let is_inside = before.is_some_and(|c| c.is_alphanumeric() || "._-~*".contains(c));
                let number = text[..start].lines().count();
                assert!(is_inside, "{}:{number}: {folder} is elsewhere", file.display());
            }
        }
    }
}

/// What stands behind each `root` in a line: the part of the program that is named.
fn named_after<'a>(root: &'a str, line: &'a str) -> impl Iterator<Item = &'a str> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '_';
    line.split(root).skip(1).map(move |rest| rest.split(is_end).next().unwrap())
}

/// What stands before the tests of a file.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

/// All lines of the program and its unit tests, each with its `file:number`.
fn source_lines() -> Vec<(String, String)> {
    rust_files(Path::new("src")).iter().flat_map(|file| lines(file)).collect()
}

/// The lines of a file, each with its `file:number`.
fn lines(file: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(file).unwrap();
    let place = |index| format!("{}:{}", file.display(), index + 1);
    text.lines().enumerate().map(|(index, line)| (place(index), line.to_owned())).collect()
}

/// Everything that is part of the project; just the Rust files where there is no git.
fn tracked_files() -> Vec<PathBuf> {
    match Command::new("git").args(["ls-files", "-z"]).output() {
        Ok(listed) if listed.status.success() => {
            let listed = String::from_utf8(listed.stdout).unwrap();
            listed.split_terminator('\0').map(PathBuf::from).collect()
        }
        _ => ["src", "tests"].iter().flat_map(|folder| rust_files(Path::new(folder))).collect(),
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

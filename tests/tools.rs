//! The matrix of tools: every Unix tool at every kind of place, run on a mount and, to know what it
//! is to do, on a disk. `docs/tools.md` is what comes of it.
//!
//! A table is a list of tools and a list of places; to add a tool, add a line. Each table is a test of
//! its own, and the last test puts them together. What does not fit into a cell, because several
//! processes or a terminal take part, is a session in `crowd` or `editors`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod common;

#[path = "tools/bench.rs"]
mod bench;
#[path = "tools/cell.rs"]
mod cell;
#[path = "tools/changing.rs"]
mod changing;
#[path = "tools/crowd.rs"]
mod crowd;
#[path = "tools/document.rs"]
mod document;
#[path = "tools/editors.rs"]
mod editors;
#[path = "tools/moving.rs"]
mod moving;
#[path = "tools/names.rs"]
mod names;
#[path = "tools/reading.rs"]
mod reading;
#[path = "tools/snapshot.rs"]
mod snapshot;
#[path = "tools/table.rs"]
mod table;
#[path = "tools/trees.rs"]
mod trees;
#[path = "tools/writing.rs"]
mod writing;

use bench::Bench;
use cell::run_cell;
use document::{Row, Section, document};
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use table::Table;

/// A test for each table, and the list of all for the document.
macro_rules! tables {
    ($($name:ident: $table:path;)*) => {
        $(
            #[test]
            fn $name() {
                let Some(section) = section(&$table) else { return };
                let problems = section.problems();
                assert!(problems.is_empty(), "{problems}");
            }
        )*

        /// The tables in the order of the document.
        static TABLES: &[&Table] = &[$(&$table),*];
    };
}

tables! {
    every_tool_can_make_a_file: writing::TABLE;
    every_tool_that_changes_a_file_does_or_says_why_not: changing::TABLE;
    every_tool_can_read_a_file: reading::TABLE;
    every_tool_moves_within_a_repository_or_says_why_not: moving::WITHIN_TABLE;
    every_tool_moves_across_repositories_or_says_why_not: moving::ACROSS_TABLE;
    every_tool_makes_a_name_or_says_why_not: names::MAKING_TABLE;
    every_tool_removes_or_says_why_not: names::REMOVING_TABLE;
    every_tool_copies_a_repository_or_says_why_not: trees::COPYING_TABLE;
    every_tool_can_look_through_a_tree: trees::LOOKING_TABLE;
}

/// Named so that it runs last: it waits for the others, and would take their place.
#[test]
fn what_each_tool_does_is_as_the_document_says() {
    let sections: Option<Vec<&Section>> = TABLES.iter().map(|table| section(table)).collect();
    let Some(sections) = sections else { return };
    let is_right = sections.iter().all(|section| section.problems().is_empty());
    assert!(is_right, "a table has a problem; its own test says which");
    common::keep_document("docs/tools.md", &document(&sections));
}

/// What comes of a table, found out by the first who asks. `None`, and a word about it, when
/// something that it needs is not here.
fn section(table: &'static Table) -> Option<&'static Section> {
    static SECTIONS: OnceLock<Vec<OnceLock<Section>>> = OnceLock::new();
    if let Some(lack) = common::lack_of(&[&["fuse", "root"], table.needs].concat()) {
        common::skip(&lack);
        return None;
    }
    let sections = SECTIONS.get_or_init(|| TABLES.iter().map(|_| OnceLock::new()).collect());
    let index = TABLES.iter().position(|other| other.title == table.title)?;
    Some(sections[index].get_or_init(|| fill(table)))
}

/// Tries every tool of a table at every place. Most of the time is spent waiting for the disk, so
/// several rows are tried at once.
fn fill(table: &'static Table) -> Section {
    const ROWS_AT_ONCE: usize = 4;
    let rows: Vec<OnceLock<Row>> = table.tools.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        // A mount of its own for each, so that a cell can wait until nothing goes on there.
        let bench = Bench::new(table);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(index) else { break };
            row.get_or_init(|| fill_row(&bench, table, index));
        }
    };
    thread::scope(|scope| (0..ROWS_AT_ONCE).for_each(|_| drop(scope.spawn(work))));
    Section::new(table, rows.into_iter().filter_map(OnceLock::into_inner).collect())
}

fn fill_row(bench: &Bench, table: &Table, row: usize) -> Row {
    let tool = &table.tools[row];
    let cells = table.places.iter().enumerate().map(|(column, place)| {
        let name = format!("c{row}-{column}");
        tool.fits(place).then(|| run_cell(bench, tool, place, &name))
    });
    cells.collect()
}

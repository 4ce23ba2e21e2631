//! `docs/tools.md`: the tables as Markdown, with every refusal explained.

use super::cell::{Outcome, Reason, Verdict};
use super::common;
use super::table::{Place, Table, Tool};
use std::fmt::Write as _;

/// What stands above the tables.
const HEAD: &str = "\
# What each tool does here

Every cell of these tables is a command that was run on a mount, and on a disk beside it. The file is
written by `cargo test --test tools`, which fails when it finds something else than is written here:
read the change, and commit it.

**works**: afterwards everything is as on the disk: names, content, modes, what was printed, and
times where the tool keeps them; and nothing is left behind. With a number, something was refused on
the way, and the tool did without. **as on a disk**: it fails there as well. An **error**: it was
refused, and nothing has changed. *in part*: what it did before that is right. *after removal*: the
tool has removed what was there before it began. *unsaid*: the tool does not look at what `close`
says, or cannot be told any more, and exits with 0. The numbers are those of the list of reasons at
the end, which is what `.regfs/errors` told. A cell is empty where it would make no sense.

`FILE` lies on a disk, `PLACE` is what stands at the head of the column, `FROM` and `TO` are the two
there. `R` and `S` are repositories, `D` a digest, `T` a tag.
";

/// A cell for each place; none where the tool makes no sense.
pub(crate) type Row = Vec<Option<Outcome>>;

/// A table with what was found.
pub(crate) struct Section {
    table: &'static Table,
    /// A row for each tool.
    rows: Vec<Row>,
}

impl Section {
    pub(crate) fn new(table: &'static Table, rows: Vec<Row>) -> Self {
        Self { table, rows }
    }

    /// Each cell with its tool and place.
    fn cells(&self) -> impl Iterator<Item = (&Tool, &Place, &Outcome)> {
        self.table.tools.iter().zip(&self.rows).flat_map(|(tool, row)| {
            let cells = self.table.places.iter().zip(row);
            cells.filter_map(move |(place, cell)| Some((tool, place, cell.as_ref()?)))
        })
    }

    /// What is neither done nor refused as it should be, for the one who mends it.
    pub(crate) fn problems(&self) -> String {
        let mut text = String::new();
        for (tool, place, outcome) in self.cells() {
            if let Verdict::Wrong(what) = &outcome.verdict {
                let (title, command, exit) = (place.title, tool.command, outcome.exit);
                let printed = &outcome.text;
                write!(text, "\n--- {title}\n$ {command}\n{printed}\n[exit {exit}]\n{what}\n")
                    .unwrap();
                for Reason { errno, reason, remedy } in &outcome.reasons {
                    writeln!(text, "  {errno}: {reason}; {remedy}").unwrap();
                }
            }
        }
        text
    }

    fn write(&self, text: &mut String, reasons: &[Reason]) {
        let Table { title, about, places, tools, .. } = self.table;
        let head: Vec<&str> = places.iter().map(|place| place.title).collect();
        write!(text, "\n## {title}\n\n{about}\n\n| | {} |\n", head.join(" | ")).unwrap();
        writeln!(text, "|---|{}", "---|".repeat(places.len())).unwrap();
        for (tool, row) in tools.iter().zip(&self.rows) {
            let cells = row.iter().map(|cell| {
                cell.as_ref().map_or_else(String::new, |outcome| outcome.in_words(reasons))
            });
            let cells: Vec<String> = cells.collect();
            writeln!(text, "| {} | {} |", code(tool.command), cells.join(" | ")).unwrap();
        }
        let told = self.told();
        if told.is_empty() {
            return;
        }
        text.push_str("\nWhat the tools print:\n\n| | exit | it prints | where |\n");
        text.push_str("|---|---|---|---|\n");
        for (command, exit, printed, places) in told {
            let (command, printed) = (code(command), code(&printed));
            writeln!(text, "| {command} | {exit} | {printed} | {} |", places.join("; ")).unwrap();
        }
    }

    /// What each tool prints that was refused, with its exit code, and where: the same once.
    fn told(&self) -> Vec<(&str, i32, String, Vec<&str>)> {
        let mut told: Vec<(&str, i32, String, Vec<&str>)> = Vec::new();
        let refused = self.cells().filter(|(.., outcome)| {
            !matches!(outcome.verdict, Verdict::Works | Verdict::FailsAsOnADisk)
        });
        for (tool, place, outcome) in refused {
            let printed = outcome.shown_text();
            let same = told.iter_mut().find(|(command, exit, text, _)| {
                *command == tool.command && *exit == outcome.exit && *text == printed
            });
            match same {
                Some((.., places)) => places.push(place.title),
                None => told.push((tool.command, outcome.exit, printed, vec![place.title])),
            }
        }
        told
    }
}

impl Outcome {
    /// The words of a cell.
    fn in_words(&self, reasons: &[Reason]) -> String {
        let mut numbers = String::new();
        for reason in &self.reasons {
            let index = reasons.iter().position(|other| other == reason).expect("all are listed");
            write!(numbers, " ({})", index + 1).unwrap();
        }
        let mut names: Vec<&str> = self.reasons.iter().map(|reason| &*reason.errno).collect();
        names.dedup();
        let names = names.join(", ");
        match &self.verdict {
            Verdict::Works => format!("works{numbers}"),
            Verdict::FailsAsOnADisk => "as on a disk".to_owned(),
            Verdict::Refused => format!("**{names}**{numbers}"),
            Verdict::RefusedInPart => format!("**{names}**, *in part*{numbers}"),
            Verdict::RefusedAfterRemoval => format!("**{names}**, *after removal*{numbers}"),
            Verdict::RefusedUnsaid => format!("**{names}**, *unsaid*{numbers}"),
            Verdict::Wrong(_) => "?".to_owned(),
        }
    }

    /// What a tool printed, as far as it says why.
    fn shown_text(&self) -> String {
        let mut lines: Vec<String> = self.text.lines().map(plain_words).collect();
        // rsync says twice that it fails, and where in its source.
        lines.retain(|line| !line.trim().is_empty() && !line.starts_with("rsync error:"));
        lines.dedup();
        // busybox goes on after an error, and finds the file gone already or not yet.
        let goes_on = |line: &String| line.contains("can't preserve");
        if !lines.iter().all(goes_on) {
            lines.retain(|line| !goes_on(line));
        }
        // One line for each thing in a folder comes in the order in which the disk lists them.
        if ["cp: ", "rm: "].iter().any(|name| lines.iter().all(|line| line.starts_with(name))) {
            lines.sort();
        }
        match lines.as_slice() {
            // A traceback says it at its end.
            [first, .., last] if first.starts_with("Traceback") => last.clone(),
            [] => "nothing".to_owned(),
            lines => lines.join("; "),
        }
    }
}

/// The whole document.
pub(crate) fn document(sections: &[&Section]) -> String {
    let mut reasons: Vec<Reason> = Vec::new();
    for section in sections {
        for (.., outcome) in section.cells() {
            for reason in &outcome.reasons {
                if !reasons.contains(reason) {
                    reasons.push(reason.clone());
                }
            }
        }
    }
    let mut text = HEAD.to_owned();
    for section in sections {
        section.write(&mut text, &reasons);
    }
    text.push_str("\n## Reasons, and what to do\n\n");
    for (index, Reason { errno, reason, remedy }) in reasons.iter().enumerate() {
        writeln!(text, "{}. **{errno}**: {reason}. *{remedy}.*", index + 1).unwrap();
    }
    text
}

/// A text as code in a table.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|").replace('`', "'"))
}

/// A text without what is another one in every run, or too long to be read.
pub(crate) fn plain_words(text: &str) -> String {
    let text = match text.split_once("this is not a manifest: ") {
        Some((before, _)) => format!("{before}this is not a manifest: …"),
        None => text.to_owned(),
    };
    let words = without_digests(&text);
    words.split(' ').map(common::invented_name).collect::<Vec<_>>().join(" ")
}

/// A text with `…` for each digest, and `XXXXXX` for six letters that a tool has put behind it.
fn without_digests(text: &str) -> String {
    const DIGEST_LENGTH: usize = 64;
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(|digit: char| digit.is_ascii_hexdigit()) {
        let run = &rest[start..];
        let length = run.find(|digit: char| !digit.is_ascii_hexdigit()).unwrap_or(run.len());
        if length < DIGEST_LENGTH {
            plain += &rest[..start + length];
            rest = &run[length..];
            continue;
        }
        plain += &rest[..start];
        plain.push('…');
        rest = &run[DIGEST_LENGTH..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if end == 6 {
            plain += "XXXXXX";
            rest = &rest[end..];
        }
    }
    plain + rest
}

//! `docs/tools.md`: the tables as Markdown, with every refusal explained.

use super::cell::{Outcome, Reason, Verdict};
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
says, and exits with 0. **forgotten**: a file in which nothing was written is no layer and no
manifest; the tool exits with 0, and what was there before, if anything, stays. The numbers are those of the list of reasons at
the end, which is what `.regfs/errors` told. An empty cell has no sense.

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
        let refused: Vec<_> =
            self.cells().filter(|(.., outcome)| !outcome.shown_text().is_empty()).collect();
        if refused.is_empty() {
            return;
        }
        text.push_str(
            "\nWhat the tools print where they fail:\n\n| | where | exit | it prints |\n",
        );
        text.push_str("|---|---|---|---|\n");
        for (tool, place, outcome) in refused {
            let printed = code(&outcome.shown_text());
            let (command, title, exit) = (code(tool.command), place.title, outcome.exit);
            writeln!(text, "| {command} | {title} | {exit} | {printed} |").unwrap();
        }
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
            Verdict::Forgotten => "forgotten".to_owned(),
            Verdict::RefusedUnsaid => format!("**{names}**, *unsaid*{numbers}"),
            Verdict::Wrong(_) => "?".to_owned(),
        }
    }

    /// What a tool that failed printed: the line that says why.
    fn shown_text(&self) -> String {
        if self.exit == 0 {
            return String::new();
        }
        let mut lines: Vec<String> = self.text.lines().map(plain_words).collect();
        lines.retain(|line| !line.trim().is_empty());
        lines.dedup();
        match lines.as_slice() {
            // A traceback says it at its end.
            [first, .., last] if first.starts_with("Traceback") => last.clone(),
            _ => lines.join("; "),
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
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        format!("{text}sha256:…{rest}")
    });
    ["sed", "Cu"].iter().fold(text, |text, prefix| without_letters(&text, prefix))
}

/// A text in which the six letters that a tool has chosen, behind `prefix`, are `XXXXXX`.
fn without_letters(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let chosen = part.chars().take(6).take_while(|letter| letter.is_alphanumeric()).count();
        let is_name = chosen == 6 && changed.ends_with(['/', '"', '\'', ' ']);
        let (letters, rest) = if is_name { ("XXXXXX", &part[6..]) } else { ("", part) };
        write!(changed, "{prefix}{letters}{rest}").unwrap();
    }
    changed
}

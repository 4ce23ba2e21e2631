//! What a table of the matrix is made of: tools down, places across. To add a tool, add a line to a
//! table; what comes of it is found out by the run.

/// What a file holds. Everything is text of lines, so that every tool can work on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// What every manifest here refers to; it is in `r` and `s`.
    Config,
    /// 150,000 bytes and some; a layer.
    Blob,
    /// Longer than the other, so that what is left of it is seen.
    OtherBlob,
    /// A manifest whose config is there.
    Manifest,
    /// Longer than the other.
    OtherManifest,
    /// A line of text: no manifest.
    Junk,
    /// What the tool makes of `FILE` on a disk.
    Result,
}

/// A kind of place: a column. In paths, `@blob` is the digest of [`Content::Blob`], and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The heading.
    pub(crate) title: &'static str,
    /// What `FROM` stands for in a command.
    pub(crate) from: &'static str,
    /// What `PLACE` or `TO` stands for.
    pub(crate) to: &'static str,
    /// What `FILE` holds, a file on a disk.
    pub(crate) file: Content,
    /// What is there before.
    pub(crate) before: &'static [(&'static str, Content)],
    /// What is typed after the command.
    pub(crate) then: &'static str,
}

impl Place {
    /// The place `to`, where nothing is, for a `FILE` that is a blob.
    pub(crate) const fn new(title: &'static str, to: &'static str) -> Self {
        Self { title, from: "", to, file: Content::Blob, before: &[], then: "" }
    }

    /// The way from one place to another.
    pub(crate) const fn way(title: &'static str, from: &'static str, to: &'static str) -> Self {
        Self { from, ..Self::new(title, to) }
    }

    /// With another content in `FILE`.
    pub(crate) const fn file(self, file: Content) -> Self {
        Self { file, ..self }
    }

    /// With these files there before.
    pub(crate) const fn with(self, before: &'static [(&'static str, Content)]) -> Self {
        Self { before, ..self }
    }

    /// With a command that is typed after the tool's.
    pub(crate) const fn then(self, then: &'static str) -> Self {
        Self { then, ..self }
    }
}

/// A command as a person types it: a row. `FILE`, `FROM`, `TO` and `PLACE` stand for paths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// The command.
    pub(crate) command: &'static str,
    /// Whether it is to keep the time of what it copies.
    pub(crate) keeps_time: bool,
    /// The headings under which it makes sense; empty for all.
    pub(crate) only: &'static [&'static str],
    /// For a heading, what would do on a disk what this means in a registry.
    pub(crate) meanings: &'static [(&'static str, &'static str)],
}

/// Stands for every heading in `Tool::meanings`.
pub(crate) const ANYWHERE: &str = "";

/// A tool that is tried at every place.
pub(crate) const fn tool(command: &'static str) -> Tool {
    Tool { command, keeps_time: false, only: &[], meanings: &[] }
}

impl Tool {
    /// One that keeps times.
    pub(crate) const fn keeps_time(self) -> Self {
        Self { keeps_time: true, ..self }
    }

    /// One that makes sense under these headings only.
    pub(crate) const fn only(self, only: &'static [&'static str]) -> Self {
        Self { only, ..self }
    }

    /// One that means something else than on a disk, where `meanings` say so.
    pub(crate) const fn means(self, meanings: &'static [(&'static str, &'static str)]) -> Self {
        Self { meanings, ..self }
    }

    /// Whether it makes sense there.
    pub(crate) fn fits(&self, place: &Place) -> bool {
        self.only.is_empty() || self.only.contains(&place.title)
    }

    /// The command that does on a disk what this does at `place`.
    pub(crate) fn on_a_disk(&self, place: &Place) -> &'static str {
        let meaning =
            self.meanings.iter().find(|(title, _)| [place.title, ANYWHERE].contains(title));
        meaning.map_or(self.command, |(_, command)| command)
    }
}

/// A table of the document.
#[derive(Debug)]
pub(crate) struct Table {
    /// The heading.
    pub(crate) title: &'static str,
    /// What it shows.
    pub(crate) about: &'static str,
    /// The programs it needs.
    pub(crate) needs: &'static [&'static str],
    /// The columns.
    pub(crate) places: &'static [Place],
    /// The rows.
    pub(crate) tools: &'static [Tool],
}

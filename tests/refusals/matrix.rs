//! Tools against a refusal: what each is, what it says, and that nothing came of it.

use super::document::keep_section;
use crate::common::{Mount, digest_of, eventually, invented_name, try_in};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// A command that is to be refused.
#[derive(Clone)]
pub(crate) struct Tool {
    /// As the shell gets it. `$FILE`, `$COPY`, `$UPLOAD`, `$TAR`, `$TARGET`, `$FOLDER` and `$NAME`
    /// stand for what [`Matrix`] says.
    command: String,
    /// Whether it ends well though it was refused: shells do not look at what close says.
    is_deaf: bool,
    /// The error it meets, where that is another than the others'.
    errno: Option<&'static str>,
    /// Whether it removes what has the name, and copies then.
    removes_first: bool,
}

/// A tool that sees what it is refused.
pub(crate) fn tool(command: impl Into<String>) -> Tool {
    Tool { command: command.into(), is_deaf: false, errno: None, removes_first: false }
}

impl Tool {
    /// The same, which does not see it.
    pub(crate) fn deaf(self) -> Self {
        Self { is_deaf: true, ..self }
    }

    /// The same, which meets another error.
    pub(crate) fn meets(self, errno: &'static str) -> Self {
        Self { errno: Some(errno), ..self }
    }

    /// The same, which removes what has the name before it copies, as rm would.
    pub(crate) fn removing(self) -> Self {
        Self { removes_first: true, ..self }
    }

    /// Whether its command begins with `start`.
    pub(crate) fn is(&self, start: &str) -> bool {
        self.command.starts_with(start)
    }

    /// As a person reads it: the variables are capital letters enough, and a program is short.
    fn shown(&self) -> String {
        self.command.replace('$', "").replace('|', "\\|")
    }
}

/// Every way to bring a file of another disk to a name in the mount.
pub(crate) fn copying_tools() -> Vec<Tool> {
    [
        "cp $FILE $TARGET",
        "cp -a $FILE $TARGET",
        "mv $COPY $TARGET",
        "cat $FILE > $TARGET",
        "tee $TARGET < $FILE > /dev/null",
        "dd if=$FILE of=$TARGET status=none",
        "dd if=$FILE of=$TARGET status=none conv=fsync",
        "rsync $FILE $TARGET",
        "rsync --inplace $FILE $TARGET",
        "tar xf $TAR -C $FOLDER",
        "install -m 644 $FILE $TARGET",
        "busybox cp $FILE $TARGET",
        "python3 -c 'import shutil; shutil.copyfile(\"$FILE\", \"$TARGET\")'",
    ]
    .map(tool)
    .into()
}

/// Every way to give a name to what lies in `uploads`.
pub(crate) fn moving_tools() -> Vec<Tool> {
    ["mv $UPLOAD $TARGET", "python3 -c 'import os; os.rename(\"$UPLOAD\", \"$TARGET\")'"]
        .map(tool)
        .into()
}

/// The tools against one refusal.
pub(crate) struct Matrix<'a> {
    pub(crate) mount: &'a Mount,
    /// The section of the document.
    pub(crate) title: &'static str,
    /// What is the case, in a sentence.
    pub(crate) case: &'static str,
    /// The name of the error that each tool meets.
    pub(crate) errno: &'static str,
    /// `$FILE`, beside the mount.
    pub(crate) file: PathBuf,
    /// `$TARGET`, below the mount. `$FOLDER` and `$NAME` are its parts.
    pub(crate) target: String,
    /// Whether the daemon is asked, and so has a line for each.
    pub(crate) has_lines: bool,
    /// Whether `$UPLOAD` was made beforehand, and stays.
    pub(crate) keeps_upload: bool,
    /// Whether nothing can be seen of the mount now.
    pub(crate) sees_nothing: bool,
    /// A command before each, so that the disk has come to rest.
    pub(crate) settle: Option<String>,
    /// Where the commands are typed; the mount when nothing is said.
    pub(crate) folder: Option<PathBuf>,
    /// More variables.
    pub(crate) more: Vec<(&'static str, String)>,
}

impl<'a> Matrix<'a> {
    /// A refusal by the daemon of `file`, which has `content`, under `target`.
    pub(crate) fn new(
        mount: &'a Mount, title: &'static str, case: &'static str, content: &[u8], target: &str,
    ) -> Self {
        let file = mount.beside().join("file");
        std::fs::write(&file, content).unwrap();
        let errno = title.split([':', ',']).next().unwrap();
        let target = target.to_owned();
        Self {
            mount,
            title,
            case,
            errno,
            file,
            target,
            has_lines: true,
            keeps_upload: false,
            sees_nothing: false,
            settle: None,
            folder: None,
            more: Vec::new(),
        }
    }

    /// Runs every tool, and keeps the section of the document.
    #[track_caller]
    pub(crate) fn run(&self, tools: &[Tool]) {
        let before = self.state();
        let rows: Vec<Row> = tools.iter().map(|tool| self.try_tool(tool, &before)).collect();
        self.keep(&rows);
    }

    /// The section that `rows` make.
    #[track_caller]
    pub(crate) fn keep(&self, rows: &[Row]) {
        let mut text = format!("{}\n\n| you type | exit | it says |\n|---|---|---|\n", self.case);
        for row in rows {
            writeln!(text, "| `{}` | {} | {} |", row.shown, row.exit, row.says).unwrap();
        }
        let mut lines: Vec<&str> = Vec::new();
        for line in rows.iter().filter_map(|row| row.line.as_deref()) {
            // One for each error, and one that names what was to be renamed. Not what was to be
            // linked: `ln` looks at both names before, and what is refused first depends on what
            // the kernel still remembers of them.
            let kind = |line: &str| (errno_of(line).to_owned(), line.contains(" rename "));
            if !lines.iter().any(|known| kind(known) == kind(line)) {
                lines.push(line);
            }
        }
        for line in lines {
            write!(text, "\n    {line}\n").unwrap();
        }
        keep_section(self.title, &text);
    }

    /// Runs one tool: it must be refused with the right error and leave everything as it was.
    #[track_caller]
    pub(crate) fn try_tool(&self, tool: &Tool, before: &BTreeSet<String>) -> Row {
        let command = &tool.command;
        self.prepare(command);
        let with_upload = self.state_at_rest();
        let lines_before = self.mount_errors();
        let (exit, text) = self.shell(command);
        assert_eq!(exit == Some(0), tool.is_deaf, "{}: {command}: {exit:?}\n{text}", self.title);
        let line = self.new_line(tool, &text, &lines_before);
        let what = format!("{}: {command} leaves everything as it was", self.title);
        // What a process leaves goes when its last close has been answered, a moment later.
        if self.state() != with_upload {
            std::thread::sleep(Duration::from_millis(300));
        }
        let now = self.state_at_rest();
        let changes = with_upload.symmetric_difference(&now);
        let changes: Vec<&String> =
            changes.filter(|entry| !tool.removes_first || !self.is_of_target(entry)).collect();
        assert_eq!(changes, NOTHING, "{what}");
        let mut says = self.readable(&says(&text));
        if tool.removes_first {
            assert!(!self.is_there("$TARGET"), "{command} removes first");
            self.must("cp $OLD $TARGET");
            says += "<br>(it had removed what was there, before it copied)";
        }
        if command.contains("mv $COPY") {
            assert_eq!(self.shell("cmp $FILE $COPY"), (Some(0), String::new()), "{what}");
        }
        self.clear(command);
        eventually(Duration::from_secs(10), &what, || self.state() == *before);
        let exit = exit.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        Row { shown: tool.shown(), exit, says, line }
    }

    /// Makes what the command needs.
    fn prepare(&self, command: &str) {
        if let Some(settle) = &self.settle {
            self.must(settle);
        }
        if command.contains("mv $COPY") {
            self.must("cp $FILE $COPY");
        }
        if command.contains("$UPLOAD") && !self.keeps_upload {
            self.must("cp $FILE $UPLOAD");
        }
        if command.contains("xf $TAR") {
            self.must("tar cf $TAR -P --transform \"s,.*,$NAME,\" $FILE");
        }
    }

    fn clear(&self, command: &str) {
        self.shell("rm -f $COPY $TAR");
        if command.contains("$UPLOAD") && !self.keeps_upload {
            self.shell("rm -f $UPLOAD");
        }
    }

    /// Whether an entry of [`Self::state`] is `$TARGET`, in the mount or in the store.
    fn is_of_target(&self, entry: &str) -> bool {
        let name = self.target.rsplit('/').next().unwrap();
        entry.contains(name) || entry.contains(&name.replace(':', "/"))
    }

    fn is_there(&self, what: &str) -> bool {
        self.shell(&format!("test -e {what}")).0 == Some(0)
    }

    #[track_caller]
    fn must(&self, command: &str) {
        let (exit, text) = self.shell(command);
        assert_eq!(exit, Some(0), "{}: {command}\n{text}", self.title);
    }

    pub(crate) fn shell(&self, command: &str) -> (Option<i32>, String) {
        let beside = self.mount.beside();
        let (folder, name) = self.target.rsplit_once('/').unwrap_or((".", &self.target));
        let mut variables = vec![
            ("FILE", self.file.display().to_string()),
            ("COPY", beside.join("copy").display().to_string()),
            ("TAR", beside.join("tar").display().to_string()),
            ("UPLOAD", "a/uploads/upload".to_owned()),
            ("TARGET", self.target.clone()),
            ("FOLDER", folder.to_owned()),
            ("NAME", name.to_owned()),
        ];
        variables.extend(self.more.iter().cloned());
        // The longest first: TARGET is not TAR and GET.
        variables.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        // Programs in quotes do not see what the shell would put in.
        let command = variables.iter().fold(command.to_owned(), |command, (name, value)| {
            let is_program = command.starts_with("python3 -c");
            if is_program { command.replace(&format!("${name}"), value) } else { command }
        });
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        try_in(self.folder.as_deref().unwrap_or(self.mount.path()), &variables, &command)
    }

    fn mount_errors(&self) -> Vec<String> {
        if !self.has_lines {
            return Vec::new();
        }
        let text = std::fs::read_to_string(self.mount.path().join(".regfs/errors")).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    /// The line that this refusal left in `.regfs/errors`.
    #[track_caller]
    fn new_line(&self, tool: &Tool, text: &str, before: &[String]) -> Option<String> {
        if !self.has_lines {
            return None;
        }
        let errno = tool.errno.unwrap_or(self.errno);
        let new = || self.mount_errors().into_iter().filter(|line| !before.contains(line));
        let mut line = None;
        // What nobody was told of gets its line after the last close, a moment later.
        for _ in 0..LINE_TRIES {
            line = new().find(|line| errno_of(line) == errno);
            if line.is_some() {
                break;
            }
            std::thread::sleep(LINE_PAUSE);
        }
        let line = line.unwrap_or_else(|| {
            let lines = new().collect::<Vec<_>>().join("\n");
            panic!("{}: {} has no line {errno}\n{text}\n{lines}", self.title, tool.command)
        });
        let (reason, remedy) = line.rsplit_once("; ").unwrap_or_default();
        assert!(reason.split_whitespace().count() > 8, "it names a reason: {line}");
        assert!(remedy.split_whitespace().count() > 2, "it names a remedy: {line}");
        Some(self.readable(&line))
    }

    /// Everything that can be seen in the mount, each file with its content, and every file of the
    /// store but those that go and come by themselves.
    pub(crate) fn state(&self) -> BTreeSet<String> {
        if self.sees_nothing {
            return BTreeSet::new();
        }
        let mut state = BTreeSet::new();
        add_files(self.mount.path(), "", true, &mut state);
        for folder in ["docker", "regfs/tmp"] {
            add_files(&self.mount.store().join(folder), "store ", false, &mut state);
        }
        state
    }

    /// The state once nothing is being made: the hash of an upload is kept in the background.
    fn state_at_rest(&self) -> BTreeSet<String> {
        let mut state = self.state();
        for _ in 0..LINE_TRIES {
            if !state.iter().any(|entry| entry.contains("/regfs/tmp/")) {
                break;
            }
            std::thread::sleep(LINE_PAUSE);
            state = self.state();
        }
        state
    }

    /// Without what differs from run to run.
    fn readable(&self, text: &str) -> String {
        let beside = self.mount.beside().display().to_string();
        let text = text
            .replace(&self.mount.path().display().to_string(), "/mnt")
            .replace(&self.mount.store().display().to_string(), "/srv/registry")
            .replace(&beside, "..");
        let words: Vec<String> = text.split(' ').map(same_in_each_run).collect();
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(pid) = words.iter().position(|word| *word == "pid") {
            words[pid + 1] = "PID";
        }
        words.join(" ")
    }
}

/// How often, and after which pause, `.regfs/errors` is looked at for a line.
const LINE_TRIES: u32 = 100;
const LINE_PAUSE: Duration = Duration::from_millis(50);

const NOTHING: Vec<&String> = Vec::new();

/// Adds everything in and below `folder`, with the content of each file if `contents`.
fn add_files(folder: &Path, before: &str, contents: bool, state: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        // It may go while this looks.
        let Ok(entry) = entry else { continue };
        let (path, name) = (entry.path(), entry.file_name());
        let shown = format!("{before}{}", path.display());
        match entry.file_type() {
            // States of the hash go and come by themselves.
            Ok(kind) if kind.is_dir() && name != "hashstates" => {
                if contents {
                    state.insert(shown + "/");
                }
                add_files(&path, before, contents, state);
            }
            Ok(kind) if kind.is_file() && contents => {
                let content = std::fs::read(&path).map(|bytes| digest_of(&bytes));
                let content = content.unwrap_or_else(|error| error.kind().to_string());
                state.insert(format!("{shown} {content}"));
            }
            Ok(kind) if kind.is_file() && is_kept(&path) => {}
            Ok(kind) if kind.is_file() => drop(state.insert(shown)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Whether it is what a finished upload has left for the next one.
fn is_kept(file: &Path) -> bool {
    let is_in_tmp = file.ancestors().nth(2).is_some_and(|folder| folder.ends_with("regfs/tmp"));
    is_in_tmp && (file.ends_with("name") || file.ends_with("startedat"))
}

/// What one tool did.
pub(crate) struct Row {
    shown: String,
    exit: String,
    says: String,
    /// Its line in `.regfs/errors`.
    line: Option<String>,
}

/// The name of the error in a line of `.regfs/errors`.
fn errno_of(line: &str) -> &str {
    line.split(": ").nth(1).unwrap_or_default()
}

/// What a tool says about it: of a Python program its last line, of rsync not that it ends.
fn says(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    if text.contains("Traceback") {
        lines = lines.split_off(lines.len() - 1);
    }
    lines.retain(|line| !line.starts_with("rsync error:"));
    if lines.is_empty() { "(nothing)".to_owned() } else { lines.join("<br>").replace('|', "\\|") }
}

/// A word of a message with its digests short, and stand-ins for times, identifiers and the names
/// that tools invent.
fn same_in_each_run(word: &str) -> String {
    let is_time = word.len() == 20 && word.ends_with('Z') && word.contains('T');
    if is_time {
        return "TIME".to_owned();
    }
    let mut text = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let length = rest[start..].find(|c: char| !(c.is_ascii_hexdigit() || c == '-'));
        let end = length.map_or(rest.len(), |length| start + length);
        let run = &rest[start..end];
        text += &rest[..start];
        match run.len() {
            64 => write!(text, "{}…", &run[..4]).unwrap(),
            36 if run.matches('-').count() == 4 => text += "UUID",
            _ => text += run,
        }
        rest = &rest[end..];
    }
    text += rest;
    invented_name(&text)
}

/// A folder of a disk, as [`super::disk`] makes them, on which a store can lie.
pub(crate) fn folder_on(disk: &Path) -> PathBuf {
    let store = disk.join("store");
    std::fs::create_dir_all(&store).unwrap();
    store
}

//! The mount without a kernel: what each call means, over the registry in memory.

use super::*;
use crate::fs::handles::Reading;
use crate::fs::node::Node;
use crate::model::{Area, Digest, Error};
use crate::registry::memory::MemoryRegistry;
use std::ffi::OsStr;

/// A mount of an empty registry, driven by paths.
struct Shell {
    fs: RegistryFs,
    caller: Caller,
}

const READ: OpenMode = OpenMode { read: true, write: false, truncate: false, exclusive: false };
const WRITE: OpenMode = OpenMode { read: false, write: true, ..READ };
const TRUNCATE: OpenMode = OpenMode { truncate: true, ..WRITE };

impl Shell {
    fn new() -> Self {
        let registry = Arc::new(MemoryRegistry::default());
        let shell =
            Self { fs: RegistryFs::new(registry, FsOptions::default()), caller: Caller::default() };
        shell.mkdir("a").unwrap();
        shell
    }

    fn split<'a>(&self, path: &'a str) -> Result<(Ino, &'a OsStr)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.ino(folder)?, OsStr::new(name)))
    }

    fn ino(&self, path: &str) -> Result<Ino> {
        path.split('/').filter(|part| !part.is_empty()).try_fold(Ino::ROOT, |ino, part| {
            self.fs.lookup(ino, OsStr::new(part)).map(|entry| entry.ino)
        })
    }

    fn mkdir(&self, path: &str) -> Result<()> {
        let (parent, name) = self.split(path)?;
        self.fs.mkdir(&self.caller, parent, name, 0o755).map(drop)
    }

    /// What `cat > path` does: open or create, write, close.
    fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let handle = self.create(path)?;
        let written =
            self.fs.write(handle, 0, content).and_then(|()| self.fs.flush(&self.caller, handle));
        self.fs.release(handle);
        written
    }

    fn create(&self, path: &str) -> Result<u64> {
        let (parent, name) = self.split(path)?;
        let created = self.fs.create(&self.caller, parent, name, 0o644, TRUNCATE)?;
        Ok(created.1.handle)
    }

    fn open(&self, path: &str, mode: OpenMode) -> Result<u64> {
        Ok(self.fs.open(self.ino(path)?, mode)?.handle)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let handle = self.open(path, READ)?;
        let mut buffer = Vec::new();
        self.fs.read(handle, 0, 1 << 20, &mut buffer)?;
        self.fs.release(handle);
        Ok(buffer)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.fs.rename(self.split(from)?, self.split(to)?, RenameMode::Replace)
    }

    fn ls(&self, path: &str) -> Vec<String> {
        let ino = self.ino(path).unwrap();
        let handle = self.fs.opendir(ino).unwrap();
        let mut names = Vec::new();
        let mut add = |row: crate::fs::folders::Row<'_>| {
            names.push(row.name.to_str().unwrap().to_owned());
            false
        };
        self.fs.readdir((ino, handle), 0, true, &mut add).unwrap();
        self.fs.release(handle);
        names.retain(|name| name != "." && name != "..");
        names.sort();
        names
    }

    /// An image with one layer, and the path of its tag.
    fn image(&self, tag: &str) -> String {
        let layer = layer_path(b"layer");
        if self.ino(&layer).is_err() {
            self.write(&layer, b"layer").unwrap();
        }
        let manifest = manifest(tag, &Digest::sha256(b"layer"));
        self.write(&format!("a/manifests/{tag}"), manifest.as_bytes()).unwrap();
        manifest
    }

    fn number(&self, fault: &Fault) -> String {
        errno::explain(fault).name()
    }
}

fn layer_path(content: &[u8]) -> String {
    format!("a/layers/{}", Digest::sha256(content))
}

fn manifest(note: &str, config: &Digest) -> String {
    format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}},"note":"{note}"}}"#)
}

#[test]
fn an_upload_becomes_a_layer_by_its_right_name_only() {
    let shell = Shell::new();
    shell.write("a/uploads/new", b"hello").unwrap();
    let wrong = shell.rename("a/uploads/new", &layer_path(b"other")).unwrap_err();
    assert_eq!(shell.number(&wrong), "EBADMSG");
    assert_eq!(shell.read("a/uploads/new").unwrap(), b"hello");
    let before = shell.ino("a/uploads/new").unwrap();
    shell.rename("a/uploads/new", &layer_path(b"hello")).unwrap();
    assert_eq!(shell.read(&layer_path(b"hello")).unwrap(), b"hello");
    assert_eq!(shell.ino(&layer_path(b"hello")).unwrap(), before);
    assert!(shell.ls("a/uploads").is_empty());
}

#[test]
fn an_open_upload_reads_on_after_it_became_a_layer_and_takes_no_more() {
    let shell = Shell::new();
    let handle = shell.create("a/uploads/new").unwrap();
    shell.fs.write(handle, 0, b"hello").unwrap();
    shell.rename("a/uploads/new", &layer_path(b"hello")).unwrap();
    let mut buffer = Vec::new();
    shell.fs.read(handle, 1, 3, &mut buffer).unwrap();
    assert_eq!(buffer, b"ell");
    assert!(shell.fs.write(handle, 0, b"x").is_err());
    shell.fs.release(handle);
    assert_eq!(shell.read(&layer_path(b"hello")).unwrap(), b"hello");
}

#[test]
fn a_layer_written_under_its_digest_is_seen_by_stat_and_by_nobody_else_until_it_is_right() {
    let shell = Shell::new();
    let path = layer_path(b"hello");
    let handle = shell.create(&path).unwrap();
    shell.fs.flush(&shell.caller, handle).unwrap();
    shell.fs.write(handle, 0, b"hel").unwrap();
    let part = shell.fs.flush(&shell.caller, handle).unwrap_err();
    assert_eq!(shell.number(&part), "EBADMSG");
    assert_eq!(shell.number(&shell.fs.flush(&shell.caller, handle).unwrap_err()), "EBADMSG");
    assert_eq!(shell.fs.getattr(shell.ino(&path).unwrap()).unwrap().stat.length, 3);
    assert!(shell.ls("a/layers").is_empty());
    assert!(shell.ls("a/uploads").is_empty());
    assert_eq!(shell.number(&shell.read(&path).unwrap_err()), "EBUSY");
    shell.fs.write(handle, 3, b"lo").unwrap();
    shell.fs.flush(&shell.caller, handle).unwrap();
    assert_eq!(shell.read(&path).unwrap(), b"hello");
    assert_eq!(shell.number(&shell.fs.write(handle, 5, b"!").unwrap_err()), "EPERM");
    shell.fs.release(handle);
}

#[test]
fn what_was_written_under_a_wrong_digest_is_gone_after_the_last_close() {
    let shell = Shell::new();
    let path = layer_path(b"whole");
    assert_eq!(shell.number(&shell.write(&path, b"part").unwrap_err()), "EBADMSG");
    assert!(matches!(shell.ino(&path), Err(Fault::NoEntry)));
    let repository = shell.fs.repository(&"a".parse().unwrap());
    assert!(repository.layers().uploads().unwrap().is_empty());
}

#[test]
fn two_writers_of_one_digest_do_not_disturb_each_other() {
    let shell = Shell::new();
    let path = layer_path(b"hello");
    let one = shell.create(&path).unwrap();
    let other = shell.open(&path, TRUNCATE).unwrap();
    shell.fs.write(one, 0, b"hel").unwrap();
    shell.fs.write(other, 0, b"hello").unwrap();
    shell.fs.flush(&shell.caller, other).unwrap();
    shell.fs.write(one, 3, b"lo").unwrap();
    shell.fs.flush(&shell.caller, one).unwrap();
    assert_eq!(shell.read(&path).unwrap(), b"hello");
}

#[test]
fn a_published_layer_can_be_made_again_and_not_be_changed() {
    let shell = Shell::new();
    let path = layer_path(b"hello");
    shell.write(&path, b"hello").unwrap();
    shell.write(&path, b"hello").unwrap();
    assert_eq!(shell.number(&shell.write(&path, b"other").unwrap_err()), "EBADMSG");
    assert_eq!(shell.number(&shell.open(&path, WRITE).unwrap_err()), "EPERM");
    assert_eq!(shell.read(&path).unwrap(), b"hello");
}

#[test]
fn the_empty_layer_is_made_by_closing_an_empty_file() {
    let shell = Shell::new();
    shell.write(&layer_path(b""), b"").unwrap();
    assert_eq!(shell.read(&layer_path(b"")).unwrap(), b"");
    let touched = shell.create(&layer_path(b"x")).unwrap();
    shell.fs.flush(&shell.caller, touched).unwrap();
    let now = AttributesChange { modified_at: Some(SystemTime::now()), ..Default::default() };
    let ino = shell.ino(&layer_path(b"x")).unwrap();
    let refused = shell.fs.setattr(ino, None, None, &now).unwrap_err();
    assert_eq!(shell.number(&refused), "EBADMSG");
}

#[test]
fn a_manifest_is_put_whole_when_it_is_closed() {
    let shell = Shell::new();
    let first = shell.image("1.0");
    assert_eq!(shell.read("a/manifests/1.0").unwrap(), first.as_bytes());
    let pinned = shell.open("a/manifests/1.0", READ).unwrap();
    let second = manifest("second", &Digest::sha256(b"layer"));
    let handle = shell.open("a/manifests/1.0", TRUNCATE).unwrap();
    shell.fs.write(handle, 0, &second.as_bytes()[..10]).unwrap();
    assert_eq!(shell.number(&shell.fs.flush(&shell.caller, handle).unwrap_err()), "EINVAL");
    assert_eq!(shell.read("a/manifests/1.0").unwrap(), first.as_bytes());
    shell.fs.write(handle, 10, &second.as_bytes()[10..]).unwrap();
    shell.fs.flush(&shell.caller, handle).unwrap();
    assert_eq!(shell.read("a/manifests/1.0").unwrap(), second.as_bytes());
    let mut buffer = Vec::new();
    shell.fs.read(pinned, 0, 1 << 20, &mut buffer).unwrap();
    assert_eq!(buffer, first.as_bytes());
}

#[test]
fn what_is_no_manifest_or_lacks_its_blobs_is_refused_and_leaves_nothing() {
    let shell = Shell::new();
    let junk = shell.write("a/manifests/x", b"hi\n").unwrap_err();
    assert_eq!(shell.number(&junk), "EINVAL");
    let missing = manifest("x", &Digest::sha256(b"nowhere"));
    let missing = shell.write("a/manifests/x", missing.as_bytes()).unwrap_err();
    assert_eq!(shell.number(&missing), "ENOLINK");
    let long = vec![b' '; (4 << 20) + 1];
    assert_eq!(shell.number(&shell.write("a/manifests/x", &long).unwrap_err()), "EFBIG");
    let handle = shell.create("a/manifests/x").unwrap();
    shell.fs.write(handle, 0, shell.image("y").as_bytes()).unwrap();
    assert!(shell.fs.write(handle, 4 << 20, b" ").is_err());
    let spoiled = shell.fs.flush(&shell.caller, handle).unwrap_err();
    assert_eq!(shell.number(&spoiled), "EFBIG", "a part of what was meant is not put");
    shell.fs.release(handle);
    assert!(matches!(shell.ino("a/manifests/x"), Err(Fault::NoEntry)));
    assert_eq!(shell.ls("a/manifests"), ["y"]);
}

#[test]
fn a_manifest_is_found_by_digest_and_not_listed_so() {
    let shell = Shell::new();
    let manifest = shell.image("1.0");
    let digest = Digest::sha256(manifest.as_bytes());
    assert_eq!(shell.read(&format!("a/manifests/{digest}")).unwrap(), manifest.as_bytes());
    assert_eq!(shell.ls("a/manifests"), ["1.0"]);
    let (parent, name) = (shell.ino("a/manifests").unwrap(), digest.to_string());
    shell.fs.unlink(parent, OsStr::new("1.0")).unwrap();
    assert!(shell.ls("a/manifests").is_empty());
    assert!(shell.read(&format!("a/manifests/{name}")).is_ok());
    shell.fs.unlink(parent, OsStr::new(&name)).unwrap();
    assert!(shell.read(&format!("a/manifests/{name}")).is_err());
}

#[test]
fn ln_tags_and_mv_retags() {
    let shell = Shell::new();
    let manifest = shell.image("1.0");
    let (ino, parent) = (shell.ino("a/manifests/1.0").unwrap(), shell.ino("a/manifests").unwrap());
    shell.fs.link(ino, parent, OsStr::new("latest")).unwrap();
    let taken = shell.fs.link(ino, parent, OsStr::new("latest")).unwrap_err();
    assert_eq!(shell.number(&taken), "EEXIST");
    shell.rename("a/manifests/1.0", "a/manifests/1.1").unwrap();
    assert_eq!(shell.ls("a/manifests"), ["1.1", "latest"]);
    assert_eq!(shell.read("a/manifests/latest").unwrap(), manifest.as_bytes());
    shell.image("2.0");
    let names = [OsStr::new("2.0"), OsStr::new("latest")];
    let exchange = (parent, names[0]);
    shell.fs.rename(exchange, (parent, names[1]), RenameMode::Exchange).unwrap();
    assert_eq!(shell.read("a/manifests/2.0").unwrap(), manifest.as_bytes());
    let kept = shell.fs.rename(exchange, (parent, names[1]), RenameMode::KeepExisting);
    assert_eq!(shell.number(&kept.unwrap_err()), "EEXIST");
}

#[test]
fn what_rsync_does_to_a_layer_and_a_manifest() {
    let shell = Shell::new();
    let digest = Digest::sha256(b"layer");
    let temporary = format!("a/layers/.{digest}.Xy12ab");
    let handle = shell.create(&temporary).unwrap();
    shell.fs.write(handle, 0, b"layer").unwrap();
    shell.fs.flush(&shell.caller, handle).unwrap();
    shell.fs.release(handle);
    assert_eq!(shell.ls("a/layers").len(), 1);
    assert!(shell.ls("a/uploads").is_empty());
    let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    let change =
        AttributesChange { permissions: Some(0o640), modified_at: Some(at), ..Default::default() };
    shell.fs.setattr(shell.ino(&temporary).unwrap(), None, None, &change).unwrap();
    shell.rename(&temporary, &layer_path(b"layer")).unwrap();
    let stat = shell.fs.getattr(shell.ino(&layer_path(b"layer")).unwrap()).unwrap().stat;
    assert_eq!((stat.attributes.permissions, stat.attributes.modified_at), (0o640, at));
    let manifest = manifest("x", &digest);
    shell.write("a/manifests/.1.0.Xy12ab", manifest.as_bytes()).unwrap();
    shell.rename("a/manifests/.1.0.Xy12ab", "a/manifests/1.0").unwrap();
    assert_eq!(shell.ls("a/manifests"), ["1.0"]);
}

#[test]
fn a_staging_folder_holds_files_until_they_are_moved_out() {
    let shell = Shell::new();
    shell.mkdir("a/layers/.~tmp~").unwrap();
    assert_eq!(shell.ls("a/layers"), [".~tmp~"]);
    let staged = format!("a/layers/.~tmp~/{}", Digest::sha256(b"layer"));
    shell.write(&staged, b"layer").unwrap();
    let (parent, name) = (shell.ino("a/layers").unwrap(), OsStr::new(".~tmp~"));
    assert!(matches!(shell.fs.rmdir(parent, name), Err(Fault::FolderNotEmpty)));
    shell.rename(&staged, &layer_path(b"layer")).unwrap();
    shell.fs.rmdir(parent, name).unwrap();
    assert_eq!(shell.ls("a/layers"), [Digest::sha256(b"layer").to_string()]);
}

#[test]
fn folders_of_uploads_lie_in_each_other() {
    let shell = Shell::new();
    for folder in ["a/uploads/x", "a/uploads/x/y", "a/manifests/.m", "a/manifests/.m/n"] {
        shell.mkdir(folder).unwrap();
        assert!(shell.mkdir(folder).is_err());
        shell.write(&format!("{folder}/file"), b"content").unwrap();
    }
    assert_eq!(shell.ls("a/uploads"), ["x"]);
    assert_eq!(shell.ls("a/uploads/x"), ["file", "y"]);
    assert_eq!(shell.ls("a/uploads/x/y"), ["file"]);
    assert_eq!(shell.ls("a/manifests/.m"), ["file", "n"]);
    shell.rename("a/uploads/x/y/file", "a/uploads/x/y/z").unwrap();
    assert!(matches!(shell.rename("a/uploads/x", "a/uploads/w"), Err(Fault::CrossDevice)));
    assert!(matches!(shell.rename("a/uploads/x/file", "a/uploads/x/y"), Err(Fault::IsADirectory)));
    assert!(matches!(shell.rename("a/manifests/.m", "a/uploads/x"), Err(Fault::FolderNotEmpty)));
    let name = Digest::sha256(b"content");
    shell.rename("a/uploads/x/y/z", &format!("a/layers/{name}")).unwrap();
    assert!(shell.ls("a/uploads/x/y").is_empty());
    shell.rename("a/uploads/x/y", "a/layers/.y").unwrap();
    assert_eq!(shell.ls("a/uploads/x"), ["file"]);
    shell.write("a/layers/.y/file", b"content").unwrap();
}

#[test]
fn a_layer_is_linked_and_copied_to_another_repository_without_its_bytes() {
    let shell = Shell::new();
    shell.mkdir("b").unwrap();
    shell.mkdir("c").unwrap();
    let path = layer_path(b"layer");
    shell.write(&path, b"layer").unwrap();
    let name = Digest::sha256(b"layer").to_string();
    let ino = shell.ino(&path).unwrap();
    shell.fs.link(ino, shell.ino("b/layers").unwrap(), OsStr::new(&name)).unwrap();
    assert_eq!(shell.read(&format!("b/layers/{name}")).unwrap(), b"layer");
    let (from, to) =
        (shell.open(&path, READ).unwrap(), shell.create(&format!("c/layers/{name}")).unwrap());
    assert_eq!(shell.fs.copy((from, 0), (to, 0), u64::MAX).unwrap(), 5);
    assert_eq!(shell.fs.copy((from, 5), (to, 5), u64::MAX).unwrap(), 0);
    shell.fs.flush(&shell.caller, to).unwrap();
    assert_eq!(shell.read(&format!("c/layers/{name}")).unwrap(), b"layer");
    assert_eq!(shell.fs.counters.bytes(), (10, 5, 0));
    shell.rename(&format!("c/layers/{name}"), &format!("b/layers/{name}")).unwrap();
    assert!(shell.read(&format!("c/layers/{name}")).is_err());
}

#[test]
fn a_namespace_shows_its_folders_only_with_content() {
    let shell = Shell::new();
    assert_eq!(shell.ls("a"), ["layers", "manifests", "uploads"]);
    shell.mkdir("a/b").unwrap();
    shell.mkdir("a/%layers").unwrap();
    assert_eq!(shell.ls("a"), ["%layers", "b"]);
    shell.write("a/uploads/x", b"x").unwrap();
    assert_eq!(shell.ls("a"), ["%layers", "b", "layers", "manifests", "uploads"]);
    assert_eq!(shell.ls(""), ["a"]);
    assert!(shell.ino(".regfs/errors").is_ok());
}

#[test]
fn names_that_cannot_exist_do_not_and_cannot_be_made() {
    let shell = Shell::new();
    for path in ["A", "a/layers/x", "a/manifests/-x", "a/layers/sha256:0000"] {
        assert!(matches!(shell.ino(path), Err(Fault::NoEntry)), "{path}");
        let refused = match path {
            "A" => shell.mkdir(path).unwrap_err(),
            _ => shell.write(path, b"").unwrap_err(),
        };
        assert_eq!(shell.number(&refused), "EINVAL", "{path}");
    }
    shell.write("a/uploads/x", b"x").unwrap();
    let refused = shell.rename("a/uploads/x", "a/layers/sha256:0000").unwrap_err();
    assert_eq!(shell.number(&refused), "EINVAL");
}

#[test]
fn virtual_attributes_can_be_set_to_what_they_are_only() {
    let shell = Shell::new();
    shell.write("a/uploads/x", b"hello").unwrap();
    let ino = shell.ino("a/uploads/x").unwrap();
    let (name, value) = (OsStr::new("user.regfs.digest"), Digest::sha256(b"hello").to_string());
    assert_eq!(shell.fs.getxattr(ino, name).unwrap(), value.as_bytes());
    let set = |value: &[u8]| shell.fs.setxattr(ino, name, Some(value), xattr::SetCondition::None);
    set(value.as_bytes()).unwrap();
    assert_eq!(shell.number(&set(b"other").unwrap_err()), "EPERM");
    let access = shell.fs.getxattr(ino, OsStr::new("system.posix_acl_access")).unwrap_err();
    assert_eq!(shell.number(&access), "EOPNOTSUPP");
}

#[test]
fn a_renamed_repository_keeps_its_open_files() {
    let shell = Shell::new();
    let handle = shell.create("a/uploads/x").unwrap();
    shell.fs.write(handle, 0, b"hel").unwrap();
    let ino = shell.ino("a/uploads/x").unwrap();
    shell.rename("a", "b").unwrap();
    shell.fs.write(handle, 3, b"lo").unwrap();
    assert_eq!(shell.fs.getattr(ino).unwrap().stat.length, 5);
    assert_eq!(shell.ino("b/uploads/x").unwrap(), ino);
    let to = format!("b/layers/{}", Digest::sha256(b"hello"));
    shell.rename("b/uploads/x", &to).unwrap();
    assert_eq!(shell.read(&to).unwrap(), b"hello");
}

#[test]
fn a_repository_is_removed_when_it_is_empty() {
    let shell = Shell::new();
    let manifest = shell.image("1.0");
    let (root, name) = (Ino::ROOT, OsStr::new("a"));
    assert_eq!(shell.number(&shell.fs.rmdir(root, name).unwrap_err()), "ENOTEMPTY");
    let (tags, layers) = (shell.ino("a/manifests").unwrap(), shell.ino("a/layers").unwrap());
    shell.fs.unlink(tags, OsStr::new("1.0")).unwrap();
    shell.fs.unlink(layers, OsStr::new(&Digest::sha256(b"layer").to_string())).unwrap();
    for area in Area::ALL {
        shell.fs.rmdir(shell.ino("a").unwrap(), OsStr::new(area.name())).unwrap();
    }
    shell.fs.rmdir(root, name).unwrap();
    assert!(shell.ls("").is_empty());
    drop(manifest);
}

#[test]
fn each_refusal_is_one_line_with_path_and_remedy() {
    let shell = Shell::new();
    let fault = Fault::Registry(Error::ReadOnly);
    let uploads = shell.ino("a/uploads").unwrap();
    shell.fs.refuse(Operation::Create, &shell.caller, None, (uploads, OsStr::new("x")), &fault);
    let text = String::from_utf8(shell.read(".regfs/errors").unwrap()).unwrap();
    assert!(text.contains("create a/uploads/x: EROFS: "), "{text}");
    let node = Node::ControlFile(node::ControlFile::Status);
    assert!(shell.fs.stat(&node).unwrap().0.length > 0);
}

/// `cp bad manifests/x` and at once `cp good manifests/x`: the second finds the name while the first
/// is being closed, and nothing behind it a moment later.
#[test]
fn a_name_that_goes_while_it_is_opened_is_looked_up_again() {
    let shell = Shell::new();
    let handle = shell.create("a/manifests/x").unwrap();
    let ino = shell.ino("a/manifests/x").unwrap();
    shell.fs.release(handle);
    assert!(matches!(shell.fs.getattr(ino), Err(Fault::Stale)));
    assert!(matches!(shell.fs.open(ino, READ), Err(Fault::Stale)));
    assert!(matches!(shell.ino("a/manifests/x"), Err(Fault::NoEntry)));
    shell.write("a/manifests/x", br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
}

/// Three processes read a layer that is pushed again and again: one opens it under a number that was its
/// own a moment ago, and would find the next one taken by others as well.
#[test]
fn an_open_that_is_sent_away_finds_a_number_that_nobody_reads_under() {
    let shell = Shell::new();
    shell.image("1.0");
    let path = format!("a/layers/{}", Digest::sha256(b"layer"));
    let old = shell.ino(&path).unwrap();
    let open = |ino| shell.fs.open(ino, READ).unwrap();
    let (mine, other) = (open(old), open(old));
    shell.fs.abandon(&other);
    let next = shell.ino(&path).unwrap();
    assert_ne!(next, old);
    shell.fs.abandon(&mine);
    let last = shell.ino(&path).unwrap();
    assert_ne!(last, next);
    assert!(matches!(open(last).reading, Reading::Direct));
}

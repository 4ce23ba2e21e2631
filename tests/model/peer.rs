//! A docker-registry beside the mount, and the few requests that it is asked.

use super::disk::Expected;
use super::outcome::Outcome;
use super::soak::alone;
use super::step::Step;
use super::words::{Path, Spot, content};
use crate::common::{Registry, scratch};
use regfs::model::RepositoryName;
use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::PathBuf,
    time::Duration,
};

/// The registry; it serves the store of one world after the other, by a link that is changed.
pub(crate) struct Peer {
    registry: Registry,
    link: PathBuf,
    _folder: tempfile::TempDir,
}

/// An answer.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Peer {
    pub(crate) fn start() -> Self {
        let _alone = alone();
        let folder = scratch();
        let link = folder.path().join("store");
        fs::create_dir(folder.path().join("none")).unwrap();
        symlink(folder.path().join("none"), &link).unwrap();
        Self { registry: Registry::serve(&link), link, _folder: folder }
    }

    /// From now on it serves this store.
    pub(crate) fn serve(&self, store: &std::path::Path) {
        fs::remove_file(&self.link).unwrap();
        symlink(store, &self.link).unwrap();
    }

    /// Does a step. A registry has no error numbers: whether it refuses must be as in the model, and
    /// how is its own.
    pub(crate) fn apply(&self, step: &Step) -> Outcome {
        let status = match step {
            Step::PushBlob(path, content) => self.push_blob(&name_of(path), content),
            Step::PushManifest(path, content, tag) => {
                self.push_manifest(&name_of(path), content, tag.as_deref())
            }
            Step::DeleteBlob(path, content) => self.delete("blobs", path, content),
            Step::DeleteManifest(path, content) => self.delete("manifests", path, content),
            _ => panic!("{step} is not for a docker-registry"),
        };
        match status {
            200..300 => Outcome::Done,
            status => Outcome::Answered(status),
        }
    }

    /// Pushes a blob in one piece; the status of the last answer.
    fn push_blob(&self, repository: &str, name: &str) -> u16 {
        let content = content(name);
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        let Some(location) = begun.header("location") else { return begun.status };
        // Without `http://HOST`.
        let path = location.find("/v2/").map_or(location, |start| &location[start..]);
        let to = format!("{path}&digest={}", content.digest);
        self.ask("PUT", &to, "application/octet-stream", &content.bytes).status
    }

    /// Pushes a manifest under a tag, or under its digest.
    fn push_manifest(&self, repository: &str, name: &str, tag: Option<&str>) -> u16 {
        let content = content(name);
        let is_image = content.bytes.windows(8).any(|window| window == b"\"config\"");
        let reference = tag.unwrap_or(&content.digest);
        let path = format!("/v2/{repository}/manifests/{reference}");
        let media_type = if is_image { MANIFEST } else { INDEX };
        self.ask("PUT", &path, media_type, &content.bytes).status
    }

    fn delete(&self, what: &str, path: &Path, content_name: &str) -> u16 {
        let path = format!("/v2/{}/{what}/{}", name_of(path), content(content_name).digest);
        self.ask("DELETE", &path, "", &[]).status
    }

    /// What it says of tags that is not as expected, in words.
    pub(crate) fn faults(&self, expected: &[Expected]) -> String {
        let mut text = String::new();
        for Expected { repository, tags, .. } in expected {
            let names: Vec<&String> = tags.iter().map(|(tag, _)| tag).collect();
            let seen = self.tags(repository);
            if names.iter().ne(&seen.iter().collect::<Vec<_>>()) {
                writeln!(text, "{repository}: tags {names:?}; the registry lists {seen:?}")
                    .unwrap();
            }
            for (tag, bytes) in tags {
                let path = format!("/v2/{repository}/manifests/{tag}");
                let answer = self.ask("GET", &path, "", &[]);
                if answer.body != *bytes {
                    let status = answer.status;
                    writeln!(text, "{repository}:{tag}: the registry answers {status}").unwrap();
                }
            }
        }
        text
    }

    /// The tags that it lists; none when it does not know the repository.
    fn tags(&self, repository: &RepositoryName) -> Vec<String> {
        let answer = self.ask("GET", &format!("/v2/{repository}/tags/list"), "", &[]);
        if answer.status != 200 {
            return Vec::new();
        }
        let list: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let tags = list["tags"].as_array().into_iter().flatten();
        let mut tags: Vec<String> = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    fn ask(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> Answer {
        let address = self.registry.address();
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
        head += &format!("Accept: {MANIFEST}\r\nAccept: {INDEX}\r\n");
        if !media_type.is_empty() {
            write!(head, "Content-Type: {media_type}\r\n").unwrap();
        }
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes)
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// The name by which a docker-registry knows what a path in the mount names.
fn name_of(path: &Path) -> String {
    match path.spot() {
        Spot::Repository(name) => name.to_string(),
        spot => panic!("{spot:?} is no repository"),
    }
}

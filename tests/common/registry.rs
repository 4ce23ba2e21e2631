//! docker-registry, as Debian ships it, on a store of ours.

use super::{process::run, scratch};
use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running docker-registry. Ends with the test.
pub(crate) struct Registry {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

/// How long the registry may take until it answers.
const START_PATIENCE: Duration = Duration::from_secs(15);
/// How often another port is tried when somebody else took the free one in between.
const TRIES_MAX: usize = 5;

impl Registry {
    /// Serves `store` on a free port of 127.0.0.1, with deleting enabled and nothing kept in
    /// memory.
    pub(crate) fn serve(store: &Path) -> Self {
        (0..TRIES_MAX)
            .find_map(|_| Self::try_serve(store))
            .expect("docker-registry ended at once on every port; its log is above")
    }

    /// Runs the registry's own garbage collector on `store`; gives what it prints.
    pub(crate) fn collect_garbage(store: &Path) -> String {
        let folder = scratch();
        let config = folder.path().join("config.yml");
        fs::write(&config, config_text(store, 0)).unwrap();
        run(Command::new(program()).arg("garbage-collect").arg(&config).env_clear())
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn try_serve(store: &Path) -> Option<Self> {
        let folder = scratch();
        let port = free_port();
        let config = folder.path().join("config.yml");
        fs::write(&config, config_text(store, port)).unwrap();
        let log_path = folder.path().join("log");
        let log = File::create(&log_path).unwrap();
        let mut child = Command::new(program())
            .arg("serve")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if child.try_wait().unwrap().is_some() {
                eprintln!("{}", fs::read_to_string(log_path).unwrap());
                return None;
            }
            assert!(start.elapsed() < START_PATIENCE, "docker-registry does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        Some(Self { child, port, _folder: folder })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program: REGFS_DOCKER_REGISTRY, or the one on PATH.
pub(super) fn program() -> PathBuf {
    std::env::var_os("REGFS_DOCKER_REGISTRY")
        .unwrap_or_else(|| OsString::from("docker-registry"))
        .into()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn config_text(store: &Path, port: u16) -> String {
    // The key of the store, once it has one: then both sign alike.
    let key = store.join("regfs/signing-key.json");
    let key = match key.exists() {
        true => format!(", signingkeyfile: {}", key.display()),
        false => String::new(),
    };
    format!(
        "version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
compatibility: {{schema1: {{enabled: true{key}}}}}
http: {{addr: '127.0.0.1:{port}', secret: of-the-tests}}
",
        store.display()
    )
}

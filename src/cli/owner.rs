//! Whose a mount is: that user sees into it, and may take it away.

use crate::fs::mountinfo::MountEntry;
use std::{
    fmt,
    process::{Command, Stdio},
};

/// The user who made a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    name: String,
}

impl Owner {
    /// Of one of our mounts, as the kernel tells it.
    pub(super) fn of(entry: &MountEntry) -> Option<Self> {
        let uid = entry.options.iter().find_map(|option| option.strip_prefix("user_id="))?;
        let uid = uid.parse().ok()?;
        Some(Self { uid, name: name_of(uid).unwrap_or_else(|| format!("user {uid}")) })
    }

    /// Whether this process may do what only the owner and root may.
    pub(super) fn is_obeyed(&self) -> bool {
        let user = rustix::process::geteuid();
        user.is_root() || user.as_raw() == self.uid
    }

    /// Who may do what only the owner and root may, in words.
    pub(super) fn or_root(&self) -> String {
        if self.uid == 0 { self.name.clone() } else { format!("{} or root", self.name) }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// `getent` asks whatever the machine keeps its users in, as `id` does.
fn name_of(uid: u32) -> Option<String> {
    let mut getent = Command::new("getent");
    let output = getent.args(["passwd", &uid.to_string()]).stderr(Stdio::null()).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    line.split(':').next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::mountinfo;

    fn owner(uid: &str) -> Owner {
        let line =
            format!("7 1 0:5 / /mnt rw - fuse.regfs /srv rw,user_id={uid},group_id=0,allow_other");
        Owner::of(&mountinfo::parse(line.as_bytes())[0]).unwrap()
    }

    #[test]
    fn an_owner_has_a_name_or_a_number() {
        assert_eq!(owner("0").or_root(), "root");
        assert_eq!(owner("4294000001").or_root(), "user 4294000001 or root");
    }
}

//! How the mount is mounted now: `mount -o remount` changes its flags, and only the kernel knows.

use crate::fs::mount::FLAGS;
use crate::fs::mountinfo::{self, MountEntry};
use std::sync::OnceLock;

/// What holds of every mount of ours, or of every mount that nobody asked otherwise: not worth a word.
const FLAGS_USUAL: [&str; 3] = ["nodev", "nosuid", "relatime"];

/// Which mount is ours, once it is made.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    id_and_device: OnceLock<(u64, String)>,
}

impl Mounted {
    /// It is the one with this number, of this device. The first word holds.
    pub(super) fn is(&self, id: u64, device: &str) {
        self.id_and_device.get_or_init(|| (id, device.to_owned()));
    }

    /// The options that hold now, of a mount that was made with `made`. Without a mount, as before it
    /// is made and after `umount --lazy`, nothing can have changed them.
    pub(super) fn options(&self, made: &str) -> String {
        match self.entry() {
            Some(entry) => options_now(made, &entry.options),
            None => made.to_owned(),
        }
    }

    fn entry(&self) -> Option<MountEntry> {
        let (id, device) = self.id_and_device.get()?;
        let mut entries = mountinfo::read().ok()?.into_iter();
        entries.find(|entry| entry.id == *id && entry.device == *device)
    }
}

/// The flags that the kernel shows, and of `made` what is none.
fn options_now(made: &str, shown: &[String]) -> String {
    let has = |name: &str| shown.iter().any(|option| option == name);
    let was_made = |name: &str| made.split(',').any(|option| option == name);
    let holds = |name: &str| match name {
        // The store was opened so, whatever the kernel lets through.
        "ro" => has("ro") || was_made("ro"),
        // The kernel shows this one by leaving out the others.
        "strictatime" => !has("relatime") && !has("noatime"),
        _ => has(name) && !FLAGS_USUAL.contains(&name),
    };
    let is_flag = |option: &str| option == "rw" || FLAGS.iter().any(|(name, _)| *name == option);
    let mut words = if holds("ro") { Vec::new() } else { vec!["rw"] };
    words.extend(FLAGS.iter().map(|(name, _)| *name).filter(|name| holds(name)));
    words.extend(made.split(',').filter(|option| !option.is_empty() && !is_flag(option)));
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(made: &str, shown: &str) -> String {
        options_now(made, &shown.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_those_of_the_kernel_and_the_rest_is_as_it_was_made() {
        let usual = "nosuid,nodev,relatime,user_id=0,group_id=0";
        assert_eq!(now("rw", &format!("rw,{usual}")), "rw");
        assert_eq!(now("rw,allow_other,uid=5", &format!("ro,{usual}")), "ro,allow_other,uid=5");
        assert_eq!(now("rw,noatime,relaxed", &format!("rw,noexec,{usual}")), "rw,noexec,relaxed");
        // Of the file system, not of one mount of it.
        assert_eq!(now("rw", &format!("rw,{usual},ro")), "ro");
    }

    #[test]
    fn a_store_that_was_opened_to_read_stays_so() {
        assert_eq!(now("ro,allow_other", "rw,nosuid,nodev,relatime"), "ro,allow_other");
    }

    #[test]
    fn what_the_kernel_does_not_show_holds() {
        assert_eq!(now("rw,strictatime", "rw,nosuid,nodev"), "rw,strictatime");
        assert_eq!(now("rw", "rw,nosuid,nodev,noatime"), "rw,noatime");
    }
}

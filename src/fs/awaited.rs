//! Opens that were sent away to come back under another inode, and are on their way.
//!
//! A file without a backing is not opened beside files with one (`backing.rs`): the name gets another
//! inode, and the kernel, told that the old one is stale, looks the name up and opens that. It does so
//! once only. Were others who read the layer first there, too, and by passthrough, the open would
//! fail for good; so for a moment they read directly. It is known by the node: the kernel gives the
//! new inode back while it makes up its mind.

use crate::fs::node::Node;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long an open is waited for: far longer than the kernel needs to look a name up, also on a machine
/// that has much else to do. All that it costs is that a layer is read directly for so long.
const AWAITED_FOR: Duration = Duration::from_secs(10);

/// The nodes of such opens, each with the time when the last was sent away. Lock 1 (ARCHITECTURE,
/// "Locks"): held for one map operation.
#[derive(Default)]
pub(super) struct Awaited {
    since: Mutex<HashMap<Node, Instant>>,
}

impl Awaited {
    /// An open of `node` was sent away.
    pub(super) fn insert(&self, node: Node) {
        let mut since = self.since.lock();
        since.retain(|_, since| since.elapsed() < AWAITED_FOR);
        since.insert(node, Instant::now());
    }

    /// Whether an open of `node` is on its way.
    pub(super) fn has(&self, node: &Node) -> bool {
        self.since.lock().get(node).is_some_and(|since| since.elapsed() < AWAITED_FOR)
    }
}

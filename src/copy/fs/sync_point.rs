//! A point in time after which every change of a file moves its change time (ctime).
//!
//! Owns the moment that a scan begins with, and the tick of the kernel's clock. A file whose change time is not older is racy, as in
//! git's index: a later change could have the same time. Must never call such a file settled.

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::fstatfs;

use super::listing::FileTime;
use super::mapped::Mapped;
use super::tree::Tree;

/// The longest time between two ticks of the kernel's clock for file times.
const TICK: Duration = Duration::from_millis(10);
/// ext4 and xfs: there a store through a mapping is known to move the change time after a sync, and the clock is this host's.
const FILESYSTEMS: [i64; 2] = [0xEF53, 0x5846_5342];

/// When a look began.
#[derive(Debug, Clone, Copy)]
pub struct SyncPoint {
    since: FileTime,
}

impl SyncPoint {
    /// Makes sure that every later store into a file of the tree, through a mapping too, moves its change time once it was opened to be read
    /// by [`Tree::open_file`].
    pub fn begin(tree: &Tree) -> Self {
        let since = now();
        // A change after this has a later time than `since`, whatever the kernel's tick.
        std::thread::sleep(TICK);
        tree.settle_with(Mapped::begin(tree.root(), has_reliable_ctime(tree.root())));
        Self { since }
    }

    /// Whether something changed so lately that what was read of it may be older than the record of it.
    pub fn is_racy(&self, ctime: FileTime) -> bool {
        // A filesystem that keeps whole seconds rounds down.
        ctime >= self.since || ctime.nsec == 0 && ctime.sec >= self.since.sec
    }
}

/// Whether change times may be believed without a second look at the content.
#[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
pub fn has_reliable_ctime(root: impl AsFd) -> bool {
    fstatfs(root).is_ok_and(|fs| FILESYSTEMS.contains(&(fs.f_type as i64)))
}

fn now() -> FileTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    FileTime { sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX), nsec: now.subsec_nanos() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_share_its_tick_with_a_later_change_is_fresh() {
        let moment = SyncPoint { since: FileTime { sec: 100, nsec: 5_000 } };
        for (sec, nsec, fresh) in [
            (100, 5_000, true),
            (100, 5_001, true),
            (101, 1, true),
            (100, 4_999, false),
            (99, 999_999_999, false),
            // Whole seconds: it may have been at any time of them.
            (100, 0, true),
            (99, 0, false),
        ] {
            assert_eq!(moment.is_racy(FileTime { sec, nsec }), fresh, "{sec}.{nsec}");
        }
    }

    #[test]
    fn what_changes_after_the_beginning_is_fresh_and_what_was_before_is_not() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let stamp = |name: &str| {
            let st = std::fs::metadata(dir.path().join(name)).unwrap();
            FileTime { sec: st.ctime(), nsec: u32::try_from(st.ctime_nsec()).unwrap() }
        };
        std::fs::write(dir.path().join("before"), "x").unwrap();
        std::thread::sleep(TICK);
        let moment = SyncPoint::begin(&Tree::open(dir.path()).unwrap());
        std::fs::write(dir.path().join("after"), "x").unwrap();
        assert!(!moment.is_racy(stamp("before")));
        assert!(moment.is_racy(stamp("after")));
    }
}

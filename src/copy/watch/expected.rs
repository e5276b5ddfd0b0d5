//! Whether a change watch will work on a host, judged by what is known of the host before anything is started there.
//!
//! Pure. Must never promise a watch where one of its conditions is not known to hold.

use serde::{Deserialize, Serialize};

use super::{FILESYSTEMS, LAYER, MOUNTS, NO_FILESYSTEM, NO_PROCESSES, NO_ROOT, OLD_KERNEL};
use crate::host::{Facts, PathFacts};

/// `CAP_SYS_ADMIN` for events of a whole filesystem, `CAP_SYS_PTRACE` for what other users' processes have open.
const RIGHTS: u64 = 1 << 21 | 1 << 19;
/// The first kernel that names entries in events.
const KERNEL: (u32, u32) = (5, 9);

/// How the passes after the first will find what changed on a source. Either finds every change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedScan {
    /// A change watch will say where to look.
    Watched,
    /// Every entry will be looked at.
    Swept {
        /// Why.
        why: String,
    },
    /// One of the two.
    Unknown {
        /// Why that is not known.
        why: String,
    },
}

impl std::fmt::Display for ExpectedScan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Watched => f.write_str("watched"),
            Self::Swept { why } => write!(f, "swept: {why}"),
            Self::Unknown { why } => write!(f, "watched or swept: {why}"),
        }
    }
}

/// What to expect of a tree on a host.
pub fn expected_scan(host: &Facts, tree: &PathFacts) -> ExpectedScan {
    let conditions = [
        (tree.filesystem.map(|kind| FILESYSTEMS.contains(&kind)), NO_FILESYSTEM, "its filesystem"),
        (kernel(&host.kernel).map(|version| version >= KERNEL), OLD_KERNEL, "the kernel's version"),
        (host.rights.map(|rights| rights & RIGHTS == RIGHTS), NO_ROOT, "what the login may do"),
        (host.sees_all, NO_PROCESSES, "which processes can be seen"),
        (tree.mounts.map(|n| n == 0), MOUNTS, "what is mounted in it"),
        (tree.layers.map(|n| n == 0), LAYER, "whether it is a layer of an overlay"),
    ];
    if let Some((_, why, _)) = conditions.iter().find(|(holds, ..)| *holds == Some(false)) {
        return ExpectedScan::Swept { why: (*why).to_owned() };
    }
    match conditions.iter().find(|(holds, ..)| holds.is_none()) {
        Some((.., what)) => ExpectedScan::Unknown { why: format!("the host does not say {what}") },
        None => ExpectedScan::Watched,
    }
}

/// `Linux 6.1.0-18-amd64` → (6, 1).
fn kernel(words: &str) -> Option<(u32, u32)> {
    let mut numbers = words.strip_prefix("Linux ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ClockSkew;

    fn host() -> Facts {
        Facts {
            os: "unknown".into(),
            kernel: "Linux 6.1.0-18-amd64".into(),
            arch: "x86_64".into(),
            uid: 0,
            user: "root".into(),
            cpus: None,
            memory: None,
            rights: Some(u64::MAX),
            sees_all: Some(true),
            missing: Vec::new(),
            clock: ClockSkew { millis: 0, error_millis: 0 },
            paths: Vec::new(),
        }
    }

    fn tree() -> PathFacts {
        PathFacts { filesystem: Some(0xef53), mounts: Some(0), layers: Some(0), ..PathFacts::default() }
    }

    #[test]
    fn a_watch_is_promised_only_where_every_condition_is_known_to_hold() {
        assert_eq!(expected_scan(&host(), &tree()), ExpectedScan::Watched);
        let swept = [
            (expected_scan(&Facts { rights: Some(0), ..host() }, &tree()), NO_ROOT),
            (expected_scan(&Facts { kernel: "Linux 5.8.18".into(), ..host() }, &tree()), OLD_KERNEL),
            (expected_scan(&Facts { sees_all: Some(false), ..host() }, &tree()), NO_PROCESSES),
            (expected_scan(&host(), &PathFacts { filesystem: Some(0x0102_1994), ..tree() }), NO_FILESYSTEM),
            (expected_scan(&host(), &PathFacts { mounts: Some(1), ..tree() }), MOUNTS),
            (expected_scan(&host(), &PathFacts { layers: Some(1), ..tree() }), LAYER),
        ];
        for (outlook, why) in swept {
            assert_eq!(outlook, ExpectedScan::Swept { why: why.to_owned() });
        }
        let unknown = [
            expected_scan(&Facts { rights: None, ..host() }, &tree()),
            expected_scan(&Facts { kernel: "FreeBSD 14.1".into(), ..host() }, &tree()),
            expected_scan(&Facts { sees_all: None, ..host() }, &tree()),
            expected_scan(&host(), &PathFacts { filesystem: None, ..tree() }),
            expected_scan(&host(), &PathFacts { mounts: None, ..tree() }),
            expected_scan(&host(), &PathFacts { layers: None, ..tree() }),
        ];
        for outlook in unknown {
            assert!(matches!(outlook, ExpectedScan::Unknown { .. }), "{outlook:?}");
        }
    }

    #[test]
    fn what_is_known_to_fail_counts_before_what_is_not_known() {
        let host = Facts { rights: Some(0), sees_all: None, ..host() };
        assert_eq!(expected_scan(&host, &tree()), ExpectedScan::Swept { why: NO_ROOT.to_owned() });
    }

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel("Linux 5.10.0"), Some((5, 10)));
        assert_eq!(kernel("Linux 6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel("Linux"), None);
    }
}

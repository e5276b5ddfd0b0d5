//! What is mounted below a tree: other filesystems, and those that the kernel makes up.
//!
//! Must never call a filesystem made up that keeps anything of its own.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, fstat, fstatfs, openat};

use super::listing::dev_of;

/// Kinds of filesystems that hold what the kernel makes up, by the number that `statfs` has for them, as in `linux/magic.h`.
const MADE_UP: [u64; 22] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x7363_6673, // securityfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x1980_0202, // mqueue
    0x958f_45f6, // hugetlbfs
    0x6573_5543, // fusectl
    0x4249_4e4d, // binfmt_misc
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x6759_6969, // rpc_pipefs
    0x6e73_6673, // nsfs
    0x6e66_7364, // nfsd
    0x0765_5821, // resctrl
];
/// A devtmpfs has the number of a tmpfs.
const TMPFS: u64 = 0x0102_1994;

/// Whether what is mounted on the directory `name` holds only what the kernel makes up.
pub fn is_made_up(parent: impl AsFd, name: &[u8]) -> bool {
    // Only pinned, not opened: nothing is mounted by looking.
    let pinned = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let Ok(dir) = pinned else { return false };
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "its width differs between architectures")]
    let kind = fstatfs(&dir).map(|fs| fs.f_type as u64 & 0xffff_ffff);
    match kind {
        Ok(TMPFS) => fstat(&dir).is_ok_and(|st| is_devtmpfs(dev_of(&st))),
        Ok(kind) => MADE_UP.contains(&kind),
        Err(_) => false,
    }
}

/// Whether a mounted filesystem is a devtmpfs, by the list of mounts.
fn is_devtmpfs(dev: u64) -> bool {
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    mounts.split(|b| *b == b'\n').any(|line| kind(line, dev) == Some(b"devtmpfs"))
}

/// `36 35 0:6 / /srv/dev rw,nosuid shared:2 - devtmpfs udev rw` → `devtmpfs`, for the filesystem `dev`.
fn kind(line: &[u8], dev: u64) -> Option<&[u8]> {
    let mut words = line.split(|b| *b == b' ');
    let (major, minor) = std::str::from_utf8(words.nth(2)?).ok()?.split_once(':')?;
    let on = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    words.find(|word| *word == b"-")?;
    words.next().filter(|_| on == dev)
}

/// The directories in a list of mounts that overlays write to.
pub fn layers(mounts: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    mounts.split(|b| *b == b'\n').filter_map(|line| {
        let options = line.split(|b| *b == b' ').next_back().unwrap_or_default();
        options.split(|b| *b == b',').find_map(|option| option.strip_prefix(b"upperdir=")).map(unescape)
    })
}

/// `\040` is a space.
pub fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = word;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_makes_up_is_told_from_what_keeps_something() {
        let root = std::fs::File::open("/").unwrap();
        assert!(is_made_up(&root, b"proc"));
        assert!(!is_made_up(&root, b"."));
        assert!(!is_made_up(&root, b"there is no such entry"));
    }

    #[test]
    fn names_of_mounts_are_unescaped() {
        assert_eq!(unescape(br"/a\040b\134c\x"), br"/a b\c\x");
        let mounts =
            b"1 2 0:3 / / rw - overlay o rw,lowerdir=/l,upperdir=/u\\040p,workdir=/w\n4 5 0:6 / /x rw - tmpfs t rw\n";
        assert_eq!(layers(mounts).collect::<Vec<_>>(), [b"/u p"]);
    }

    #[test]
    fn the_list_of_mounts_tells_kinds_by_device() {
        let line = b"36 35 0:6 / /srv/dev rw,nosuid shared:2 - devtmpfs udev rw,size=1k";
        assert_eq!(kind(line, rustix::fs::makedev(0, 6)), Some(&b"devtmpfs"[..]));
        assert_eq!(kind(line, rustix::fs::makedev(0, 7)), None);
        assert_eq!(kind(b"", 6), None);
    }
}

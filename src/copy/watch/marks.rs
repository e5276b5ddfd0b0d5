//! Asking the kernel for events of a whole filesystem.
//!
//! Must never claim to watch where changes can happen that raise no event: other filesystems than the tested ones, trees that
//! span several, layers of an overlay.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;

use super::events::{Event, parse};
use super::{FILESYSTEMS, NO_FILESYSTEM, NO_ROOT, OLD_KERNEL};
use crate::copy::fs::walk::dev_of;

/// `FAN_REPORT_FID`, `FAN_REPORT_DIR_FID` and `FAN_REPORT_NAME`, which the bindings do not name.
const REPORT: u32 = 0x200 | 0x400 | 0x800;
/// Events of the filesystem that a directory is on.
pub struct Marks {
    fanotify: Fanotify,
    /// Device and inode of the directory.
    pub root: (u64, u64),
}

impl Marks {
    /// Begins; the reason is for people.
    pub fn set(root: &Path) -> Result<Self, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat(CWD, root, flags, Mode::empty()).map_err(|e| format!("cannot open its root: {e}"));
        let dir = open()?;
        let st = fstat(&dir).map_err(|e| e.to_string())?;
        #[allow(clippy::unnecessary_cast, reason = "its width differs between architectures")]
        let (kind, inode) = (fstatfs(&dir).map_err(|e| e.to_string())?.f_type as u64, st.st_ino as u64);
        if !FILESYSTEMS.contains(&kind) {
            return Err(NO_FILESYSTEM.to_owned());
        }
        let init = InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | InitFlags::from_bits_retain(REPORT);
        let fanotify = Fanotify::init(init, EventFFlags::O_RDONLY).map_err(|e| why(e as i32))?;
        let marks = Self { fanotify, root: (dev_of(&st), inode) };
        marks.try_out(&dir, open)?;
        let changes = MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_CLOSE_WRITE
            | MaskFlags::FAN_ATTRIB
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MOVE
            | MaskFlags::FAN_ONDIR;
        let whole = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
        marks.fanotify.mark(whole, changes, &dir, None::<&Path>).map_err(|e| why(e as i32))?;
        Ok(marks)
    }

    /// An event whose inode is known shows that handles mean here what they are taken for.
    fn try_out(&self, dir: &OwnedFd, open: impl Fn() -> Result<OwnedFd, String>) -> Result<(), String> {
        let mask = MaskFlags::FAN_OPEN | MaskFlags::FAN_ONDIR;
        let mark = |flags| self.fanotify.mark(flags, mask, dir, None::<&Path>).map_err(|e| why(e as i32));
        mark(MarkFlags::FAN_MARK_ADD)?;
        drop(open()?);
        let mut understood = false;
        self.drain(&mut |event| understood |= event == Event::Inode(self.root.1))?;
        mark(MarkFlags::FAN_MARK_REMOVE)?;
        match understood {
            true => Ok(()),
            false => Err("its filesystem names files in an unknown way".to_owned()),
        }
    }

    /// Waits until there is something to read.
    pub fn wait(&self) -> Result<(), String> {
        let mut fds = [PollFd::from_borrowed_fd(self.fanotify.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Reads all that happened until now.
    pub fn drain(&self, each: &mut dyn FnMut(Event<'_>)) -> Result<(), String> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match rustix::io::read(self.fanotify.as_fd(), &mut buffer[..]) {
                Ok(0) | Err(Errno::AGAIN) => return Ok(()),
                Ok(n) => parse(buffer.get(..n).unwrap_or_default(), each),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.to_string()),
            }
        }
    }
}

fn why(errno: i32) -> String {
    match Errno::from_raw_os_error(errno) {
        Errno::PERM => NO_ROOT.to_owned(),
        Errno::NOSYS | Errno::INVAL => OLD_KERNEL.to_owned(),
        e => format!("the kernel refuses: {e}"),
    }
}

//! Programs that were written to torment filesystems write to the source while passes run; after they were killed, one pass makes both sides
//! the same. `COPY_WRITERS=60` runs each that is installed for so many seconds; without it nothing runs.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::copy::pair::Pair;
use crate::lab::process::find_program;
use crate::lab::skip::skip;

/// A program with its children.
struct Writer(Child);

impl Writer {
    fn start(program: &str, args: &[&str], dir: &Path) -> Option<Self> {
        let program = find_program(program).or_else(|| {
            skip(&format!("{program} is not there"));
            None
        })?;
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
        Some(Self(command.spawn().unwrap()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // In the middle of what it does.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        let _ = self.0.wait();
    }
}

fn passes_beside(pair: &Pair, seconds: u64, start: impl Fn(&Path) -> Option<Writer>) {
    let Some(writer) = start(&pair.source()) else { return };
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        pair.pass();
    }
    drop(writer);
    pair.pass();
    pair.assert_same();
    assert_eq!(pair.verify().different, 0);
}

#[test]
fn what_programs_that_torment_filesystems_write_is_the_same_after_them() {
    let Some(seconds) = std::env::var("COPY_WRITERS").ok().and_then(|n| n.parse().ok()) else { return };
    let names = [
        "dentry",
        "dir",
        "dirmany",
        "link",
        "symlink",
        "rename",
        "utime",
        "xattr",
        "fallocate",
        "touch",
        "unlink",
        "filename",
        "chmod",
        "copy-file",
        "hdd",
        "mmap",
    ];
    let mut stress: Vec<String> =
        ["--temp-path", ".", "--mmap-file", "--mmap-bytes", "8m", "--hdd-bytes", "16m"].map(str::to_owned).to_vec();
    stress.extend(names.iter().flat_map(|name| [format!("--{name}"), "1".to_owned()]));
    let stress: Vec<&str> = stress.iter().map(String::as_str).collect();
    let fio = [
        "--name=mapped",
        "--thread",
        "--ioengine=mmap",
        "--rw=randrw",
        "--bs=4k",
        "--size=16m",
        "--nrfiles=4",
        "--time_based",
        "--runtime=1h",
        "--fsync=0",
    ];
    for pair in [Pair::new(), Pair::sweeping()] {
        passes_beside(&pair, seconds, |dir| Writer::start("stress-ng", &stress, dir));
    }
    for pair in [Pair::new(), Pair::sweeping()] {
        passes_beside(&pair, seconds, |dir| Writer::start("fio", &fio, dir));
    }
}

//! An account of any size at SoftLayer's API, read into an inventory.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::lab::softlayer::world::{Machine, World};
use super::lab::softlayer::{KEY, SoftLayer, USER};

/// What an import has cost.
pub struct Import {
    pub took: Duration,
    /// Peak resident memory of the program, in MiB.
    pub peak: u64,
    /// Most requests in a second.
    pub busiest: usize,
}

/// Lists so many servers with `migrate inventory show`.
pub fn import(dir: &Path, hosts: usize) -> Import {
    let mut world = World::default();
    for n in 0..hosts {
        let private = Some(format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256));
        let tags = vec!["messenger".to_owned()];
        world.add_hardware(&Machine { hostname: format!("chat{n:05}"), private, tags, ..Machine::default() });
    }
    let api = SoftLayer::start(world);
    std::fs::write(dir.join("user"), USER).unwrap();
    std::fs::write(dir.join("key"), KEY).unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    let inventory = format!(
        "sources:\n  dallas:\n    softlayer: {{machines: hardware, username: {{file: {}}}, api_key: {{file: {}}}, endpoint: \"{}\"}}\n",
        at("user"),
        at("key"),
        api.endpoint()
    );
    std::fs::write(dir.join("inventory.yaml"), inventory).unwrap();
    let mut show = Command::new(env!("CARGO_BIN_EXE_migrate"));
    show.args(["inventory", "show", "--format", "json"]).arg(dir.join("inventory.yaml"));
    let began = Instant::now();
    let mut shown = show.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak.max(peak_of(shown.id()));
        match shown.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success());
    Import { took: began.elapsed(), peak: peak / 1024, busiest: api.busiest_second() }
}

/// In KiB; 0 once it has ended.
pub fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

//! Tests that run in a network namespace of their own, so that firewalls are theirs alone.

use std::fs::File;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Output};

use super::packages::program;

/// Whether this is the process in the namespace: otherwise the test of this name is run there, and must pass.
pub fn inside(test: &str) -> bool {
    program("nft", "nftables");
    let ip = program("ip", "iproute2");
    if std::env::var_os("MIGRATE_TEST_NETNS").is_some() {
        assert!(Command::new(ip).args(["link", "set", "lo", "up"]).status().unwrap().success());
        return true;
    }
    let me = std::env::current_exe().unwrap();
    let how = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
    let mut there = Command::new("unshare");
    there.arg(how).arg(me).args(["--exact", test, "--nocapture", "--test-threads=1"]).env("MIGRATE_TEST_NETNS", "1");
    let out = there.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
    false
}

fn ip(args: &[&str]) {
    assert!(Command::new(program("ip", "iproute2")).args(args).status().unwrap().success(), "ip {args:?}");
}

/// Joins hosts with the test, which has these addresses there. The prefix is `/24`.
pub fn bridge(name: &str, addresses: &[&str]) {
    ip(&["link", "add", name, "type", "bridge"]);
    addresses.iter().for_each(|address| ip(&["addr", "add", &format!("{address}/24"), "dev", name]));
    ip(&["link", "set", name, "up"]);
}

/// What nft is told so that nothing comes from these addresses or goes there.
fn cut(addresses: &[String]) -> String {
    let list = addresses.join(", ");
    format!(
        "add table ip cut; add chain ip cut in {{ type filter hook input priority 0; }}; add chain ip cut out {{ type filter hook output priority 0; }}; add rule ip cut in ip saddr {{ {list} }} drop; add rule ip cut out ip daddr {{ {list} }} drop"
    )
}

/// Cuts the test itself off from these addresses.
pub fn cut_off_from(addresses: &[String]) {
    assert!(Command::new(program("nft", "nftables")).arg(cut(addresses)).status().unwrap().success());
}

/// Ends that.
pub fn heal() {
    let healed =
        Command::new(program("nft", "nftables")).arg("add table ip cut; delete table ip cut").status().unwrap();
    assert!(healed.success());
}

/// A host with a network of its own, which reaches that of the test by one link.
pub struct Apart(Child);

impl Apart {
    /// With its address, and those that the test has on the link. The prefix is `/24`.
    pub fn start(address: &str, outside: &[&str]) -> Self {
        let host = Self::alone();
        let pid = host.0.id().to_string();
        ip(&["link", "add", "here", "type", "veth", "peer", "name", "there", "netns", &pid]);
        outside.iter().for_each(|address| ip(&["addr", "add", &format!("{address}/24"), "dev", "here"]));
        ip(&["link", "set", "here", "up"]);
        let set = format!("ip link set lo up; ip addr add {address}/24 dev there; ip link set there up");
        assert!(host.run(&format!("PATH=$PATH:/usr/sbin:/sbin; {set}")).status.success());
        host
    }

    /// One of several on a [`bridge`], by this port of it, with these addresses. The prefix is `/24`.
    pub fn on(bridge: &str, port: &str, addresses: &[&str]) -> Self {
        let host = Self::alone();
        let pid = host.0.id().to_string();
        ip(&["link", "add", port, "type", "veth", "peer", "name", "there", "netns", &pid]);
        ip(&["link", "set", port, "master", bridge, "up"]);
        let set = addresses.iter().map(|address| format!("ip addr add {address}/24 dev there; ")).collect::<String>();
        let up = "ip link set lo up; ip link set there up";
        assert!(host.run(&format!("PATH=$PATH:/usr/sbin:/sbin; {set}{up}")).status.success());
        host
    }

    fn alone() -> Self {
        let host = Self(Command::new("unshare").args(["-n", "sleep", "3600"]).spawn().unwrap());
        let pid = host.0.id();
        // It takes a moment until it is in a namespace of its own.
        let own = || std::fs::read_link("/proc/self/ns/net").unwrap();
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).map_or(true, |net| net == own()) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        host
    }

    /// Lets nothing more through between it and these addresses, without a word to either side.
    pub fn cut_off_from(&self, addresses: &[String]) {
        let out = self.run(&format!("PATH=$PATH:/usr/sbin:/sbin; nft '{}'", cut(addresses)));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }

    /// Ends that.
    pub fn heal(&self) {
        assert!(self.run("PATH=$PATH:/usr/sbin:/sbin; nft 'add table ip cut; delete table ip cut'").status.success());
    }

    /// What a command is begun with that is to run there.
    pub fn enter(&self) -> String {
        format!("nsenter -t {} -n", self.0.id())
    }

    /// Listens there.
    pub fn listen(&self, addr: &str) -> TcpListener {
        let network = File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let addr = addr.to_owned();
        // The thread moves there alone, and ends with that.
        let listens = std::thread::spawn(move || {
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(network.as_fd(), Some(kind)).unwrap();
            TcpListener::bind(addr).unwrap()
        });
        listens.join().unwrap()
    }

    /// Runs a command there.
    pub fn run(&self, script: &str) -> Output {
        Command::new("sh").args(["-c", &format!("exec {} sh -c \"$1\"", self.enter()), "sh", script]).output().unwrap()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

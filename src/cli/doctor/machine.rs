//! This machine: where runs are kept, its clock, limits, agents for hosts, and what logs in.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use super::super::connect;
use super::super::environment::Environment;
use super::Line;
use crate::ssh;
use crate::text::{self, escape};

/// Less room than this is used up by the journal of one large run.
const ROOM: u64 = 1 << 30;
/// Files that a run with many hosts has open at once.
const FILES: u64 = 4096;

pub async fn look(environment: &Environment, inventories: &[PathBuf]) -> Vec<Line> {
    let mut lines = state_dir(&environment.state_dir);
    lines.extend([clock().await, zone(), files()]);
    lines.extend(agents(environment).await);
    lines.extend(login(environment).await);
    lines.extend(ansible(inventories).await);
    lines
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes(), 200)
}

/// The directory itself, or what it would be made in.
fn state_dir(dir: &Path) -> Vec<Line> {
    const ABOUT: &str = "state directory";
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let Some(nearest) = absolute.ancestors().find(|path| path.exists()) else {
        return vec![Line::bad(
            ABOUT,
            format!("nothing is at {}", shown(&absolute)),
            "name another one by --state-dir",
        )];
    };
    let mut lines = Vec::new();
    let is_there = nearest == absolute;
    lines.push(match access(nearest, Access::WRITE_OK | Access::EXEC_OK) {
        _ if !nearest.is_dir() => {
            Line::bad(ABOUT, format!("{} is no directory", shown(nearest)), "name another one by --state-dir")
        }
        Err(_) => {
            let what = format!("{} cannot be written to by this user", shown(nearest));
            Line::bad(ABOUT, what, "name another one by --state-dir, or give this user the right to it")
        }
        Ok(()) if is_there => Line::well(ABOUT, format!("{} can be written to", shown(nearest))),
        Ok(()) => {
            Line::well(ABOUT, format!("{} is not there yet, and can be made in {}", shown(&absolute), shown(nearest)))
        }
    });
    if let (true, Ok(meta)) = (is_there, nearest.metadata())
        && meta.mode() & 0o022 != 0
    {
        let what = format!("others than its owner may write to {} (mode {:o})", shown(nearest), meta.mode() & 0o7777);
        lines.push(Line::look("its rights", what, format!("chmod go-w {}", shown(nearest))));
    }
    lines.push(match statvfs(nearest) {
        Ok(room) => {
            let free = room.f_bavail.saturating_mul(room.f_frsize);
            let said = format!("{} free at {}", text::bytes(free), shown(nearest));
            match free {
                0 => Line::bad("room", said, "make room: a run that cannot write its journal stops"),
                free if free < ROOM => {
                    Line::look("room", said, "make room before a large run: its journal is kept there")
                }
                _ => Line::well("room", said),
            }
        }
        Err(e) => Line::look("room", format!("cannot be told: {e}"), format!("df {}", shown(nearest))),
    });
    lines
}

/// Whether something keeps the clock in step: journals and receipts carry its time, and certificates are judged by it.
async fn clock() -> Line {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let asked = output("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).await;
    match asked.as_deref().map(str::trim) {
        Some("yes") => Line::well("clock", format!("{now}, kept in step")),
        Some("no") => {
            Line::look("clock", format!("{now}, and nothing keeps it in step"), "start systemd-timesyncd or chrony")
        }
        _ => Line::look(
            "clock",
            format!("{now}; whether something keeps it in step cannot be told"),
            "compare it with another machine's",
        ),
    }
}

fn zone() -> Line {
    let zone = jiff::tz::TimeZone::system();
    match zone.iana_name() {
        Some(name) => Line::well(
            "time zone",
            format!("{}; runs are told in UTC, and windows of a plan name their own", escape(name.as_bytes(), 60)),
        ),
        None => Line::look(
            "time zone",
            "it has no name; runs are told in UTC, and windows of a plan name their own",
            "timedatectl set-timezone ZONE",
        ),
    }
}

fn files() -> Line {
    let limit = getrlimit(Resource::Nofile);
    match (limit.current, limit.maximum) {
        (Some(now), _) if now < 256 => Line::bad("open files", format!("at most {now}"), format!("ulimit -n {FILES}")),
        (Some(now), most) if now < FILES => {
            let most = most.map_or("no limit".to_owned(), text::grouped);
            Line::look(
                "open files",
                format!("at most {}, which may be raised to {most}", text::grouped(now)),
                format!("ulimit -n {FILES}, for plans with many hosts"),
            )
        }
        (Some(now), _) => Line::well("open files", format!("at most {}", text::grouped(now))),
        (None, _) => Line::well("open files", "no limit"),
    }
}

/// The programs that go to hosts whose state is copied.
async fn agents(environment: &Environment) -> Vec<Line> {
    const ABOUT: &str = "copy agents";
    let next = "build with `cargo build --release`, which puts them in, or name a directory with them by --agents";
    let agents = match connect::agents(environment) {
        Ok(agents) => agents,
        Err(e) => return vec![Line::bad(ABOUT, format!("{e:#}"), next)],
    };
    match agents.load().await {
        Err(why) => vec![Line::bad(ABOUT, why, next)],
        Ok([]) => vec![Line::bad(ABOUT, "there are none", next)],
        Ok(all) => {
            let told = |program: &crate::copy::controller::AgentProgram| {
                let size = text::bytes(program.bytes.len() as u64);
                match program.needs_libraries {
                    true => Line::look(
                        ABOUT,
                        format!("{}, {size}: it is not static, so that old hosts cannot run it", program.machine),
                        next,
                    ),
                    false => Line::well(ABOUT, format!("{}, {size}, static", program.machine)),
                }
            };
            all.iter().map(told).collect()
        }
    }
}

/// What proves who we are, and which hosts are trusted.
async fn login(environment: &Environment) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut keys = 0;
    match &environment.ssh_auth_sock {
        None => {}
        Some(socket) => match ssh::keys_of_agent(socket).await {
            Ok(held) if held.is_empty() => {
                lines.push(Line::look(
                    "ssh-agent",
                    "it shows no key: it holds none, or it is locked",
                    "ssh-add, or ssh-add -X to unlock it",
                ));
            }
            Ok(held) => {
                keys += held.len();
                lines.push(Line::well("ssh-agent", format!("it holds {}", text::some(&held, 4))));
            }
            Err(why) => {
                let what = format!("none answers at {}: {why}", shown(socket));
                lines.push(Line::look("ssh-agent", what, "start one, or unset SSH_AUTH_SOCK"));
            }
        },
    }
    let Some(home) = &environment.home else {
        lines.push(Line::bad(
            "home directory",
            "HOME is not set: nobody knows where keys and known_hosts are",
            "set HOME",
        ));
        return lines;
    };
    for (path, key) in ssh::keys_of_files(home) {
        match key {
            Ok(()) => {
                keys += 1;
                lines.push(Line::well("key file", format!("{} can be used", shown(&path))));
            }
            Err(why) => lines.push(Line::look(
                "key file",
                format!("{}: {why}", shown(&path)),
                "add it to the ssh-agent (ssh-add), or name another key by `ssh: {key: …}`",
            )),
        }
    }
    if keys == 0 {
        let what = "neither an ssh-agent nor one of the usual files has a key that can be used";
        lines.push(Line::look(
            "keys",
            what,
            "ssh-keygen -t ed25519, or name a file by `ssh: {key: …}` in the inventory",
        ));
    }
    let known = home.join(".ssh/known_hosts");
    lines.push(match std::fs::read_to_string(&known) {
        Ok(text) => {
            let hosts = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count();
            Line::well("known hosts", format!("{} in {}", text::count(hosts as u64, "line"), shown(&known)))
        }
        Err(e) => {
            let next =
                "log in once to each host with `ssh` and compare its key, or name a file by `ssh: {known_hosts: …}`";
            Line::look("known hosts", format!("{} cannot be read: {e}", shown(&known)), next)
        }
    });
    lines.push(match output("ssh", &["-V"]).await {
        Some(_) => Line::well("ssh_config", "`ssh` is there, which resolves it"),
        None => Line::look(
            "ssh_config",
            "`ssh` is not there: OpenSSH's defaults hold, and its configuration is not read",
            "install openssh-client",
        ),
    });
    lines
}

/// Only where an inventory names it.
async fn ansible(inventories: &[PathBuf]) -> Option<Line> {
    let names = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains("ansible:"));
    inventories.iter().find(|path| names(path))?;
    Some(match output("ansible-inventory", &["--version"]).await {
        Some(said) => {
            let first = said.lines().next().unwrap_or_default();
            Line::well("ansible", escape(first.as_bytes(), 80))
        }
        None => Line::look(
            "ansible",
            "`ansible-inventory` is not there: only plain inventories can be read",
            "install ansible-core",
        ),
    })
}

/// What a program says; `None` where it is not there or fails.
async fn output(program: &str, args: &[&str]) -> Option<String> {
    let run =
        tokio::process::Command::new(program).args(args).stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let out = tokio::time::timeout(std::time::Duration::from_secs(10), run).await.ok()?.ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

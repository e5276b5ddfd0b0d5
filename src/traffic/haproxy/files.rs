//! haproxy.cfg from where it lies: on this machine, or on a host of the inventory.
//!
//! Must never read more than is bounded, and never show what it has read: passwords may stand there, too.

use std::path::{Path, PathBuf};

use super::config::{self, Config, File};
use super::{ConfigPath, Endpoint, Settings};
use crate::host::Command;
use crate::text::escape;
use crate::traffic::Commands;

/// The longest file that is read.
const LIMIT: usize = 4 * 1024 * 1024;

/// The most files of a directory.
const FILES: usize = 200;

/// Bytes that one command brings.
const CHUNK: usize = 48 * 1024;

/// The files that HAProxy reads for a path: the path, or what a directory has for it, in HAProxy's order.
const LIST: &str = "LC_ALL=C; export LC_ALL
if [ -d \"$1\" ]; then for f in \"$1\"/*.cfg; do if [ -f \"$f\" ]; then printf '%s\\n' \"$f\"; fi; done; else printf '%s\\n' \"$1\"; fi";

/// The `$2`th piece of a file, of `$3` bytes.
const PIECE: &str = "if [ ! -e \"$1\" ]; then exit 4; fi; if [ ! -r \"$1\" ]; then exit 5; fi
dd if=\"$1\" bs=\"$3\" skip=\"$2\" count=1 2>/dev/null";

/// A machine, and what HAProxy reads there when it starts.
pub(super) struct Machine {
    /// Inventory name of the host; `None`: this machine.
    pub host: Option<String>,
    /// `/etc/haproxy/haproxy.cfg on lb-1`.
    pub at: String,
    /// Its files in order; `Err` tells why they cannot be read.
    pub files: Result<Vec<Raw>, String>,
}

/// A file as it is.
pub(super) struct Raw {
    pub path: String,
    pub bytes: Vec<u8>,
}

impl Machine {
    /// What the files say together.
    pub fn config(&self) -> Result<Config, String> {
        let text = |raw: &Raw| String::from_utf8_lossy(&raw.bytes).into_owned();
        let file = |raw: &Raw| File { path: raw.path.clone(), text: text(raw) };
        Ok(config::parse(&self.files.as_ref().map_err(Clone::clone)?.iter().map(file).collect::<Vec<_>>()))
    }
}

/// Every configuration that the settings name.
pub(super) async fn read(settings: &Settings, commands: &dyn Commands) -> Vec<Machine> {
    let mut machines: Vec<(Option<&str>, Vec<&Path>)> = Vec::new();
    let mut read = Vec::new();
    for path in &settings.config {
        match path {
            ConfigPath::OnHost { host, path } => add(&mut machines, Some(host), path),
            ConfigPath::BesideSockets(path) => {
                for endpoint in &settings.endpoints {
                    match endpoint {
                        Endpoint::Unix(_) => add(&mut machines, None, path),
                        Endpoint::Ssh { host, .. } => add(&mut machines, Some(host), path),
                        Endpoint::Tcp(at) => {
                            let why = "a TCP socket does not tell on which host; write `config: ssh:HOST:PATH`";
                            let at = format!("{} of {at}", path.display());
                            read.push(Machine { host: None, at, files: Err(why.to_owned()) });
                        }
                    }
                }
            }
        }
    }
    for (host, paths) in machines {
        let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        let at = match host {
            None => names.join(", "),
            Some(host) => format!("{} on {host}", names.join(", ")),
        };
        let files = match host {
            None => here(paths.iter().map(|p| p.to_path_buf()).collect()).await,
            Some(host) => there(host, &names, commands).await,
        };
        read.push(Machine { host: host.map(str::to_owned), at, files });
    }
    read
}

/// One file of a machine.
pub(super) async fn one(host: Option<&str>, path: &str, commands: &dyn Commands) -> Result<Vec<u8>, String> {
    let read = match host {
        Some(host) => whole(host, path, commands).await?,
        None => {
            let path = PathBuf::from(path);
            let read = tokio::task::spawn_blocking(move || std::fs::read(path));
            read.await.map_err(|_| UNREAD.to_owned())?.map_err(|e| crate::outside::reason(&e))?
        }
    };
    bounded(read)
}

const UNREAD: &str = "it could not be read";

fn add<'a>(machines: &mut Vec<(Option<&'a str>, Vec<&'a Path>)>, host: Option<&'a str>, path: &'a Path) {
    match machines.iter_mut().find(|(h, _)| *h == host) {
        Some((_, paths)) if paths.contains(&path) => {}
        Some((_, paths)) => paths.push(path),
        None => machines.push((host, vec![path])),
    }
}

async fn here(paths: Vec<PathBuf>) -> Result<Vec<Raw>, String> {
    let read =
        tokio::task::spawn_blocking(move || paths.iter().map(|path| on_disk(path)).collect::<Result<Vec<_>, _>>());
    let files = read.await.map_err(|_| UNREAD.to_owned())??;
    Ok(files.into_iter().flatten().collect())
}

fn on_disk(path: &Path) -> Result<Vec<Raw>, String> {
    let io = |e: std::io::Error| crate::outside::reason(&e);
    let mut paths = vec![path.to_path_buf()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(io)?.map(|e| e.map(|e| e.path()));
        paths = entries.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let hidden = |p: &PathBuf| p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        paths.retain(|p| p.extension().is_some_and(|e| e == "cfg") && p.is_file() && !hidden(p));
        paths.sort();
    }
    let raw = |path: PathBuf| {
        let bytes = bounded(std::fs::read(&path).map_err(io)?)?;
        Ok(Raw { path: path.display().to_string(), bytes })
    };
    paths.into_iter().take(FILES).map(raw).collect()
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.len() > LIMIT { Err("it is longer than 4 MiB".to_owned()) } else { Ok(bytes) }
}

async fn there(host: &str, paths: &[String], commands: &dyn Commands) -> Result<Vec<Raw>, String> {
    let mut files = Vec::new();
    for path in paths {
        let listed = run(host, LIST, vec![path.clone()], commands).await?;
        for path in String::from_utf8_lossy(&listed).lines().take(FILES) {
            files.push(Raw { path: path.to_owned(), bytes: bounded(whole(host, path, commands).await?)? });
        }
    }
    Ok(files)
}

async fn whole(host: &str, path: &str, commands: &dyn Commands) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let args = vec![path.to_owned(), (bytes.len() / CHUNK).to_string(), CHUNK.to_string()];
        let piece = run(host, PIECE, args, commands).await?;
        bytes.extend_from_slice(&piece);
        if piece.len() < CHUNK || bytes.len() > LIMIT {
            return Ok(bytes);
        }
    }
}

async fn run(host: &str, script: &str, args: Vec<String>, commands: &dyn Commands) -> Result<Vec<u8>, String> {
    let command = Command { script: script.to_owned(), args, ..Command::default() };
    let output = commands.run(host, &command).await.map_err(|e| e.to_string())?;
    match output.status {
        0 => Ok(output.stdout),
        4 => Err("there is no such file".to_owned()),
        5 => Err("the login may not read it".to_owned()),
        status => Err(format!("reading it ended with status {status}: {}", escape(output.stderr.trim_ascii(), 120))),
    }
}

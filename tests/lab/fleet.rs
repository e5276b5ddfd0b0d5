//! The whole lab: source and target hosts with a service each, thousands of files, and something that directs traffic.
//!
//! All lies where the checked-in inventory says, below one root: `NAME/` for each host (its service in `NAME/uploads/`), `key` to
//! log in, `known_hosts`, `haproxy.sock` and `haproxy.cfg`, `tsig.key`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::bind::{Bind, Key, Zone};
use super::haproxy::{Backend, Haproxy};
use super::load::{Demand, Front, Load, Report};
use super::place::{HTTP, Place, SSH};
use super::resolver::Resolver;
use super::service::{Mode, Service};
use super::sshd::{self, Sshd};
use super::tree::{self, Content, Difference, Entry, Tree};

/// HAProxy's backend.
pub const BACKEND: &str = "uploads";
/// The zone, and the name in it that users ask for.
pub const ZONE: &str = "lab.example";
pub const NAME: &str = "uploads.lab.example";

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Source hosts, and as many target hosts; at most 3, as in the inventory.
    pub pairs: usize,
    /// Files that every source has, and that users read.
    pub common: usize,
    /// Files that only one source has.
    pub own: usize,
}

/// Where the files of the service are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Each host has its own, targets have none yet and stand by.
    Own,
    /// All hosts share one, and all of them serve.
    Shared,
}

/// What directs traffic.
pub enum Director {
    Haproxy(Box<Haproxy>),
    Dns { primary: Box<Bind>, secondary: Box<Bind>, resolver: Box<Bind> },
}

/// One host.
pub struct LabHost {
    pub name: String,
    pub sshd: Sshd,
    pub service: Service,
    /// Everything of the service.
    pub root: PathBuf,
    /// What it had at the start.
    pub seeds: Tree,
}

impl LabHost {
    /// What the service has now.
    pub fn tree(&self) -> Tree {
        tree::read(&self.root.join("data"))
    }
}

/// A running lab.
pub struct Fleet {
    // Fields are dropped in order: servers before their files, the reservation of addresses last.
    pub sources: Vec<LabHost>,
    pub targets: Vec<LabHost>,
    pub director: Director,
    files: Vec<(String, blake3::Hash)>,
    storage: Storage,
    pub place: Place,
}

impl Fleet {
    /// Behind HAProxy: sources have weight 100, targets 0.
    pub fn behind_haproxy(place: Place, size: Size, storage: Storage) -> Self {
        Self::start(place, size, storage, |place, sources, targets| {
            let mut backend = Backend::http(BACKEND);
            for (hosts, weight) in [(sources, 100), (targets, 0)] {
                for (name, ip) in hosts {
                    backend = backend.server(name, SocketAddr::new(*ip, HTTP), weight);
                }
            }
            let haproxy = Haproxy::start_on(place.address(80), &[backend]);
            symlink(&haproxy.admin, place.root().join("haproxy.sock")).expect("a link to the socket");
            symlink(haproxy.config(), place.root().join("haproxy.cfg")).expect("a link to the configuration");
            Director::Haproxy(Box::new(haproxy))
        })
    }

    /// Behind a name in a zone with a primary, one secondary and the resolver that users ask: the sources' addresses are there,
    /// with this TTL.
    pub fn behind_dns(place: Place, size: Size, storage: Storage, ttl: u32) -> Self {
        Self::start(place, size, storage, |place, sources, _| {
            let records: Vec<String> = sources.iter().map(|(_, ip)| format!("uploads {ttl} IN A {ip}")).collect();
            let records: Vec<&str> = records.iter().map(String::as_str).collect();
            let key = Key::generate("migrate", "hmac-sha256");
            let (primary, mut secondaries) = Bind::cluster(&Zone::new(ZONE, &records), &key, 1);
            let secondary = secondaries.remove(0);
            let resolver = Bind::resolver(ZONE, primary.addr);
            fs::write(place.root().join("tsig.key"), format!("{}\n", key.secret)).expect("the key file");
            for (fixed, server) in [(53, &primary), (54, &secondary), (55, &resolver)] {
                place.edit("inventories/lab.yaml", &format!("127.0.10.{fixed}:7053"), &server.addr.to_string());
            }
            Director::Dns { primary: primary.into(), secondary: secondary.into(), resolver: resolver.into() }
        })
    }

    fn start(
        place: Place,
        size: Size,
        storage: Storage,
        direct: impl FnOnce(&Place, &[(String, IpAddr)], &[(String, IpAddr)]) -> Director,
    ) -> Self {
        fit_inventory(&place, size.pairs);
        sshd::make_key(&place.root().join("key"), "ed25519", "lab");
        let names = |site: &str, first: u8| -> Vec<(String, IpAddr)> {
            (1..=size.pairs as u8).map(|n| (format!("{site}-{n}"), place.address(first + n))).collect()
        };
        let (sources, targets) = (names("dal", 10), names("fra", 20));
        let standby = if storage == Storage::Own { Mode::Standby } else { Mode::Serving };
        let host = |(name, ip): &(String, IpAddr), mode| start_host(&place, name, *ip, mode, storage);
        let mut sources: Vec<LabHost> = sources.iter().map(|at| host(at, Mode::Serving)).collect();
        let targets: Vec<LabHost> = targets.iter().map(|at| host(at, standby)).collect();
        let seeded = if storage == Storage::Own { sources.len() } else { 1 };
        for (host, n) in sources.iter_mut().zip(1..).take(seeded) {
            seed(host, size, n);
        }
        let files = common_files(&sources[0].seeds);
        write_known_hosts(&place, sources.iter().chain(&targets));
        let ends = |hosts: &[LabHost]| hosts.iter().map(|h| (h.name.clone(), h.sshd.addr().ip())).collect::<Vec<_>>();
        let director = direct(&place, &ends(&sources), &ends(&targets));
        Self { sources, targets, director, files, storage, place }
    }

    /// Where users go.
    pub fn front(&self) -> Front {
        match &self.director {
            Director::Haproxy(haproxy) => Front::Address(haproxy.frontend(BACKEND)),
            Director::Dns { resolver, .. } => Front::Name(Resolver::new(resolver.addr, NAME, HTTP)),
        }
    }

    /// Users on this many connections; one of eight requests is an upload.
    pub fn load(&self, connections: usize) -> Load {
        Load::start(self.front(), Demand { connections, uploads: 12, seed: 7, files: self.files.clone() })
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> &LabHost {
        let mut hosts = self.sources.iter().chain(&self.targets);
        hosts.find(|h| h.name == name).unwrap_or_else(|| panic!("the lab has no host {name}"))
    }

    /// Source and target of each pair.
    pub fn pairs(&self) -> impl Iterator<Item = (&LabHost, &LabHost)> {
        self.sources.iter().zip(&self.targets)
    }

    /// HAProxy, where it directs.
    pub fn haproxy(&self) -> &Haproxy {
        match &self.director {
            Director::Haproxy(haproxy) => haproxy,
            Director::Dns { .. } => panic!("this lab has no HAProxy"),
        }
    }

    /// The same, to be reloaded.
    pub fn haproxy_mut(&mut self) -> &mut Haproxy {
        match &mut self.director {
            Director::Haproxy(haproxy) => haproxy,
            Director::Dns { .. } => panic!("this lab has no HAProxy"),
        }
    }

    /// Writes that services refused because of their mode.
    pub fn refused(&self) -> u64 {
        self.sources.iter().chain(&self.targets).map(|h| h.service.counters().refused.load(Ordering::Relaxed)).sum()
    }

    /// Compares what is on every target with what must be there: all that its source had at the start, and every upload that
    /// either of the two has acknowledged.
    pub fn compare(&self, report: &Report) -> Vec<(String, Difference)> {
        let compared = |hosts: &[&LabHost], at: &LabHost| {
            let is = at.tree();
            let should = expected(hosts, report, &is);
            (at.name.clone(), tree::compare(&should, &is))
        };
        match self.storage {
            Storage::Own => self.pairs().map(|(source, target)| compared(&[source, target], target)).collect(),
            Storage::Shared => {
                let all: Vec<&LabHost> = self.sources.iter().chain(&self.targets).collect();
                vec![compared(&all, &self.targets[0])]
            }
        }
    }
}

/// The checked-in inventory has three pairs.
fn fit_inventory(place: &Place, pairs: usize) {
    assert!((1..=3).contains(&pairs), "the inventory has three pairs");
    if pairs < 3 {
        for (all, some) in [("[1-3]", "[1-"), ("[11-13]", "[11-1"), ("[21-23]", "[21-2")] {
            place.edit("inventories/lab.yaml", all, &format!("{some}{pairs}]"));
        }
    }
}

fn start_host(place: &Place, name: &str, ip: IpAddr, mode: Mode, storage: Storage) -> LabHost {
    let dir = place.root().join(name);
    let root = dir.join("uploads");
    fs::create_dir_all(&root).expect("the host's directory");
    fs::create_dir_all(dir.join("etc")).expect("the host's directory");
    // One key opens every host.
    for (from, to) in [("key", "etc/client_key"), ("key.pub", "etc/client_key.pub")] {
        fs::copy(place.root().join(from), dir.join(to)).expect("a copy of the key");
    }
    if storage == Storage::Shared {
        fs::create_dir_all(place.root().join("shared")).expect("the shared directory");
        symlink(place.root().join("shared"), root.join("data")).expect("a link to the shared directory");
    }
    LabHost {
        name: name.to_owned(),
        sshd: Sshd::start_at(&dir, name, SocketAddr::new(ip, SSH), &[]),
        service: Service::start(name, SocketAddr::new(ip, HTTP), &root, mode),
        root,
        seeds: Tree::new(),
    }
}

fn seed(host: &mut LabHost, size: Size, number: u64) {
    let data = host.root.join("data");
    tree::seed_files(&data, "common", size.common, 1);
    tree::seed_files(&data, "own", size.own, number);
    tree::seed_oddities(&data, "odd", number);
    host.seeds = tree::read(&data);
}

fn common_files(seeds: &Tree) -> Vec<(String, blake3::Hash)> {
    let common = seeds.iter().filter(|(name, _)| name.starts_with("common/"));
    common
        .filter_map(|(name, entry)| match entry.content {
            Content::File { hash, .. } => Some((name.clone(), hash)),
            _ => None,
        })
        .collect()
}

fn write_known_hosts<'a>(place: &Place, hosts: impl Iterator<Item = &'a LabHost>) {
    let lines: String = hosts.map(|h| fs::read_to_string(h.sshd.known_hosts()).expect("its known_hosts")).collect();
    fs::write(place.root().join("known_hosts"), lines).expect("known_hosts can be written");
}

/// Seeds must be there with all that belongs to them; of an upload, users know only its content.
fn expected(hosts: &[&LabHost], report: &Report, is: &Tree) -> Tree {
    let mut tree: Tree = hosts.iter().flat_map(|h| h.seeds.clone()).collect();
    for upload in report.uploads.iter().filter(|u| hosts.iter().any(|h| h.name == u.host)) {
        let found = is.get(&upload.name);
        let bytes = found.map_or(0, Entry::bytes);
        let content = Content::File { hash: upload.hash, bytes, links: 1 };
        let entry = match found {
            Some(found) => Entry { content, ..found.clone() },
            None => Entry { content, mode: 0, mtime: 0, owner: (0, 0) },
        };
        tree.insert(upload.name.clone(), entry);
    }
    tree
}

/// Bytes and files below all roots of these hosts at the start.
pub fn weigh<'a>(hosts: impl IntoIterator<Item = &'a LabHost>) -> (usize, u64) {
    let mut total = (0, 0);
    for host in hosts {
        total.0 += host.seeds.len();
        total.1 += host.seeds.values().map(Entry::bytes).sum::<u64>();
    }
    total
}

/// The path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the lab are UTF-8")
}

//! The whole lab: source and target hosts with a service each, thousands of files, and something that directs traffic.
//!
//! All lies where the checked-in inventory says, below one root: `NAME/` for each host (its service in `NAME/uploads/`), `key` to
//! log in, `known_hosts`, `haproxy.sock` and `haproxy.cfg`, `tsig.key`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::authority::NameServer;
use super::bind::{Bind, Key, Zone};
use super::haproxy::{Backend, Haproxy};
use super::load::{Demand, Front, Load, Report};
use super::place::{HTTP, Place, SSH};
use super::resolver::Resolver;
use super::route53::{self, Route53};
use super::service::{Mode, Service};
use super::softlayer::world::{Machine, World};
use super::softlayer::{KEY, SoftLayer, USER};
use super::sshd::{self, Sshd};
use super::tree::{self, Content, Difference, Entry, Tree};

/// HAProxy's backend.
pub const BACKEND: &str = "uploads";
/// The zone, and the name in it that users ask for.
pub const ZONE: &str = "lab.example";
pub const NAME: &str = "uploads.lab.example";

/// Cores, GiB of memory and dollars a month of what is rented.
const RENTED: [(u64, u64, f64); 3] = [(12, 64, 300.0), (20, 128, 487.5), (28, 256, 912.0)];

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
    /// HAProxy, and a name with the same hosts.
    Both(Box<Haproxy>, Box<Director>),
    Dns {
        primary: Box<Bind>,
        secondary: Box<Bind>,
        resolver: Box<Bind>,
    },
    Route53 {
        server: NameServer,
        resolver: Box<Bind>,
        api: Box<Route53>,
    },
    SoftLayer {
        server: NameServer,
        resolver: Box<Bind>,
        api: Box<SoftLayer>,
    },
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
            Director::Haproxy(Box::new(balancer(place, sources, targets, "")))
        })
    }

    /// Behind HAProxy, which checks its servers, and behind a name beside it: some users come by the one, some by the other.
    pub fn behind_both(place: Place, size: Size, storage: Storage, ttl: u32) -> Self {
        Self::start(place, size, storage, |place, sources, targets| {
            let haproxy = balancer(place, sources, targets, "check inter 300ms fall 10");
            Director::Both(Box::new(haproxy), Box::new(zone(place, sources, ttl)))
        })
    }

    /// Behind HAProxy, which checks its servers, and behind a name of a hosted zone beside it, whose record sets have weights.
    pub fn behind_route53_and_haproxy(place: Place, size: Size, storage: Storage, ttl: u32) -> Self {
        Self::start(place, size, storage, |place, sources, targets| {
            let haproxy = balancer(place, sources, targets, "check inter 300ms fall 10");
            Director::Both(Box::new(haproxy), Box::new(hosted_zone(place, sources, ttl)))
        })
    }

    /// Behind a name in a zone with a primary, one secondary and the resolver that users ask: the sources' addresses are there,
    /// with this TTL.
    pub fn behind_dns(place: Place, size: Size, storage: Storage, ttl: u32) -> Self {
        Self::start(place, size, storage, |place, sources, _| zone(place, sources, ttl))
    }

    /// Rented from SoftLayer, behind a name in a zone that it serves: the sources' addresses are there, with this TTL.
    pub fn behind_softlayer(place: Place, size: Size, storage: Storage, ttl: u32) -> Self {
        Self::start(place, size, storage, |place, sources, _| {
            let mut world = World::default();
            for ((name, ip), (cores, memory, fee)) in sources.iter().zip(RENTED) {
                let (hostname, private, tags) = (name.clone(), Some(ip.to_string()), vec!["uploads".to_owned()]);
                let fees = (fee, vec![112.5]);
                world.add_hardware(&Machine { hostname, private, tags, cores, memory, fees, ..Machine::default() });
            }
            let zone = world.add_zone(ZONE);
            for (_, ip) in sources {
                world.add_record(zone, "uploads", "a", &ip.to_string(), ttl);
            }
            for (file, text) in [("softlayer.user", USER), ("softlayer.key", KEY)] {
                fs::write(place.root().join(file), text).expect("the user's file");
            }
            let api = SoftLayer::start_at(SocketAddr::new(place.address(60), 7060), world);
            let server = api.name_server_at(SocketAddr::new(place.address(53), 7053));
            // BIND listens at addresses of interfaces alone, and of a network there is one.
            let fixed = SocketAddr::from(([127, 0, 0, 1], 7055));
            let resolver = match place.is_private() {
                true => Bind::resolver(ZONE, server.addr),
                false => Bind::resolver_at(fixed, ZONE, server.addr),
            };
            if place.is_private() {
                place.edit("inventories/softlayer.yaml", &fixed.to_string(), &resolver.addr.to_string());
            }
            Director::SoftLayer { server, resolver: resolver.into(), api: api.into() }
        })
    }

    /// SoftLayer's API, where it rents the sources.
    pub fn softlayer(&self) -> &SoftLayer {
        match &self.director {
            Director::SoftLayer { api, .. } => api,
            _ => panic!("nothing of this lab is rented"),
        }
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
        self.fronts().remove(0)
    }

    /// All ways that they may take.
    pub fn fronts(&self) -> Vec<Front> {
        fn of(director: &Director) -> Vec<Front> {
            match director {
                Director::Haproxy(haproxy) => vec![Front::Address(haproxy.frontend(BACKEND))],
                Director::Both(haproxy, name) => {
                    std::iter::once(Front::Address(haproxy.frontend(BACKEND))).chain(of(name)).collect()
                }
                Director::Dns { resolver, .. }
                | Director::Route53 { resolver, .. }
                | Director::SoftLayer { resolver, .. } => {
                    vec![Front::Name(Resolver::new(resolver.addr, NAME, HTTP))]
                }
            }
        }
        of(&self.director)
    }

    /// Users on so many connections by each way, who ask as often as those of [`Self::load`] do.
    pub fn loads(&self, connections: usize) -> Vec<Load> {
        let pause = Duration::from_millis(10 * connections as u64);
        let demand = |seed| Demand { connections, pause, uploads: 12, seed, files: self.files.clone() };
        self.fronts().into_iter().zip(7..).map(|(front, seed)| Load::start(front, demand(seed))).collect()
    }

    /// Users on this many connections, who ask some two hundred times a second in all; one of eight requests is an upload.
    /// Users without a pause would take the processors from what is tested, and from the tests beside it.
    pub fn load(&self, connections: usize) -> Load {
        self.load_with_pause(connections, Duration::from_millis(5 * connections as u64))
    }

    /// The same; each user rests so long after an answer.
    pub fn load_with_pause(&self, connections: usize, pause: Duration) -> Load {
        Load::start(self.front(), Demand { connections, pause, uploads: 12, seed: 7, files: self.files.clone() })
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
            Director::Haproxy(haproxy) | Director::Both(haproxy, _) => haproxy,
            _ => panic!("this lab has no HAProxy"),
        }
    }

    /// The same, to be reloaded.
    pub fn haproxy_mut(&mut self) -> &mut Haproxy {
        match &mut self.director {
            Director::Haproxy(haproxy) | Director::Both(haproxy, _) => haproxy,
            _ => panic!("this lab has no HAProxy"),
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

/// HAProxy with all hosts: sources have weight 100, targets 0.
fn balancer(place: &Place, sources: &[(String, IpAddr)], targets: &[(String, IpAddr)], options: &str) -> Haproxy {
    let mut backend = Backend::http(BACKEND);
    for (hosts, weight) in [(sources, 100), (targets, 0)] {
        for (name, ip) in hosts {
            backend = backend.server(name, SocketAddr::new(*ip, HTTP), weight);
        }
    }
    backend.servers.iter_mut().for_each(|server| options.clone_into(&mut server.options));
    let haproxy = Haproxy::start_on(place.address(80), &[backend]);
    symlink(&haproxy.admin, place.root().join("haproxy.sock")).expect("a link to the socket");
    symlink(haproxy.config(), place.root().join("haproxy.cfg")).expect("a link to the configuration");
    haproxy
}

/// A name with the sources' addresses in a zone with a primary, one secondary and a resolver.
fn zone(place: &Place, sources: &[(String, IpAddr)], ttl: u32) -> Director {
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
}

/// A name with the sources' addresses in a hosted zone, each with a record set of weight 100, a name server and a resolver.
fn hosted_zone(place: &Place, sources: &[(String, IpAddr)], ttl: u32) -> Director {
    let set = |(name, ip): &(String, IpAddr)| {
        let parts = [("SetIdentifier", name.as_str()), ("Weight", "100")];
        route53::set(&format!("{NAME}."), "A", ttl, &[&ip.to_string()], &parts)
    };
    let api = Route53::start(sources.iter().map(set).collect());
    let server = api.name_server(ZONE);
    let resolver = Bind::resolver(ZONE, server.addr);
    let keys = place.root().join("aws.credentials");
    let profile = format!("[mover]\naws_access_key_id = {}\naws_secret_access_key = secret\n", route53::KEY_ID);
    fs::write(&keys, profile).expect("the credentials");
    let zone = format!(
        "route53: {{ zone: {}, domain: {ZONE}, endpoint: \"{}\", servers: [\"{}\"], credentials: {{ profile: mover, file: \"{}\" }} }}",
        route53::ZONE,
        api.endpoint(),
        server.addr,
        keys.display()
    );
    place.edit("inventories/lab.yaml", "  zone:\n    dns:", &format!("  zone:\n    {zone}\n  other-zone:\n    dns:"));
    Director::Route53 { server, resolver: resolver.into(), api: api.into() }
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

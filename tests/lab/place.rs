//! Where a fleet lives: loopback addresses, a directory, and the plans and inventories made to fit them.
//!
//! The files in `plans/` and `inventories/` name fixed addresses and a fixed directory. The demo uses them as they are; tests,
//! which run beside each other, use copies in which only these are replaced.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

/// First three parts of the addresses in the checked-in files.
const NET: [u8; 3] = [127, 0, 10];
/// The directory in the checked-in files.
const ROOT: &str = "/tmp/migrate-lab";
/// SSH port of every host.
pub const SSH: u16 = 7022;
/// Port of the service on every host.
pub const HTTP: u16 = 7080;
/// Held as long as a fleet uses a net.
const RESERVED: u16 = 7000;

/// Addresses and a directory that nobody else uses as long as this exists.
pub struct Place {
    net: [u8; 3],
    root: PathBuf,
    _reservation: TcpListener,
    _private: Option<tempfile::TempDir>,
}

impl Place {
    /// The one that the checked-in files name. What an earlier lab has left there is removed.
    pub fn checked_in() -> Result<Self, String> {
        let reservation = reserve(NET).map_err(|e| format!("another lab seems to run on 127.0.10.x: {e}"))?;
        let root = PathBuf::from(ROOT);
        if let Ok(meta) = fs::symlink_metadata(&root) {
            let own = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
            if !own {
                return Err(format!("{ROOT} belongs to somebody else; remove it first"));
            }
            fs::remove_dir_all(&root).map_err(|e| format!("cannot remove {ROOT}: {e}"))?;
        }
        fs::DirBuilder::new().mode(0o700).create(&root).map_err(|e| format!("cannot create {ROOT}: {e}"))?;
        Ok(Self { net: NET, root, _reservation: reservation, _private: None })
    }

    /// One of its own, with copies of all plans and inventories in `plans/` and `inventories/` below its root.
    pub fn private() -> Self {
        let dir = tempfile::Builder::new().prefix("lab-").tempdir().expect("a private directory");
        let (net, reservation) = free_net();
        let root = dir.path().canonicalize().expect("the private directory");
        let place = Self { net, root, _reservation: reservation, _private: Some(dir) };
        for dir in ["plans", "inventories"] {
            place.copy_all(dir);
        }
        place
    }

    fn copy_all(&self, dir: &str) {
        let to = self.root.join(dir);
        fs::create_dir_all(&to).expect("a directory in the private directory");
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
        for entry in fs::read_dir(&from).unwrap_or_else(|e| panic!("cannot read {}: {e}", from.display())) {
            let path = entry.expect("a directory entry").path();
            let text = fs::read_to_string(&path).expect("a YAML file");
            let name = path.file_name().expect("a file name");
            fs::write(to.join(name), self.fit(&text)).expect("a copy in the private directory");
        }
    }

    /// The text with the addresses and the directory of this place.
    fn fit(&self, text: &str) -> String {
        let dotted = |[a, b, c]: [u8; 3]| format!("{a}.{b}.{c}.");
        text.replace(&dotted(NET), &dotted(self.net)).replace(ROOT, &self.root.display().to_string())
    }

    /// Changes the copy of a plan or inventory; both texts as in the checked-in file.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let (from, to) = (self.fit(from), self.fit(to));
        assert!(text.contains(&from), "{file} does not hold {from:?}");
        fs::write(&path, text.replace(&from, &to)).expect("the copy can be written");
    }

    /// Whether it has copies of plans and inventories, which may be changed.
    pub fn is_private(&self) -> bool {
        self._private.is_some()
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The address with this last part.
    pub fn address(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        IpAddr::V4(Ipv4Addr::new(a, b, c, last))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self._private.is_none() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn reserve(net: [u8; 3]) -> std::io::Result<TcpListener> {
    let [a, b, c] = net;
    TcpListener::bind(SocketAddr::from(([a, b, c, 254], RESERVED)))
}

/// Another process may have taken a net already, so the reservation decides.
fn free_net() -> ([u8; 3], TcpListener) {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let second = u8::try_from(20 + std::process::id() % 200).unwrap_or(20);
    loop {
        let third = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(third < 255, "no free net below 127.{second}");
        // Single hosts of other tests take addresses from the low end.
        let net = [127, second, 255 - third];
        if let Ok(listener) = reserve(net) {
            return (net, listener);
        }
    }
}

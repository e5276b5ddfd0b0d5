//! Owners by number and by name, to a host on which the same names have other numbers. Only root can give files away.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use migrate::copy::controller::{Channel, Local, Transport};
use migrate::model::{Host, Owners};
use migrate::outside::Error;

use crate::copy::pair::Pair;
use crate::copy::tree::is_root;
use crate::lab::packages::program;
use crate::lab::skip::skip;

/// The target sees its own users and groups.
struct OtherUsers {
    passwd: String,
    group: String,
}

const OTHER_HOST: &str = r#"mount --bind "$0" /etc/passwd && mount --bind "$1" /etc/group && shift && exec "$@""#;

#[async_trait]
impl Transport for OtherUsers {
    async fn open(&self, host: &Host, argv: &[&str]) -> Result<Channel, Error> {
        if host.name != "new" {
            return Local.open(host, argv).await;
        }
        let outer = ["unshare", "--mount", "sh", "-c", OTHER_HOST, &self.passwd, &self.group];
        Local.open(host, &[&outer, argv].concat()).await
    }
}

/// `daemon` and `www-data` have changed places there, and nobody is called `bin`.
fn pair() -> Option<Pair> {
    let mounts = || Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|s| s.success());
    if !is_root() || !mounts() {
        skip("only root can give files away, and needs mounts of its own");
        return None;
    }
    let mut pair = Pair::new();
    pair.job.rules.owners = Owners::Names;
    let write = |name: &str, text: &str| {
        let path = pair.dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let passwd = write("passwd", "root:x:0:0::/root:/bin/sh\ndaemon:x:33:33::/:/bin/sh\nwww-data:x:1:1::/:/bin/sh\n");
    let group = write("group", "root:x:0:\ndaemon:x:33:\nwww-data:x:1:\n");
    Some(pair.through(OtherUsers { passwd, group }))
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn make_tree(root: &Path) {
    fs::create_dir(root.join("dir")).unwrap();
    for (name, uid, gid) in
        [("daemon", 1, 1), ("www", 33, 33), ("bin", 2, 2), ("nobody's", 54321, 54321), ("mixed", 1, 33)]
    {
        fs::write(root.join(name), name).unwrap();
        lchown(root.join(name), Some(uid), Some(gid)).unwrap();
    }
    fs::set_permissions(root.join("daemon"), fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("nowhere", root.join("link")).unwrap();
    fs::write(root.join("large"), vec![7; 9 << 20]).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    for name in ["dir", "link", "large", "fifo"] {
        lchown(root.join(name), Some(33), Some(1)).unwrap();
    }
}

#[test]
fn owners_go_by_their_names_and_unknown_ones_by_their_numbers() {
    let Some(pair) = pair() else { return };
    make_tree(&pair.source());
    let first = pair.pass();
    assert_eq!(first.nameless, 4, "bin and 54321, as users and as groups");
    for (name, owns) in [
        ("daemon", (33, 33)),
        ("www", (1, 1)),
        ("bin", (2, 2)),
        ("nobody's", (54321, 54321)),
        ("mixed", (33, 1)),
        ("dir", (1, 33)),
        ("link", (1, 33)),
        ("large", (1, 33)),
        ("fifo", (1, 33)),
    ] {
        assert_eq!(owner(&pair.target().join(name)), owns, "{name}");
    }
    assert_eq!(fs::metadata(pair.target().join("daemon")).unwrap().mode() & 0o7777, 0o4755);
    assert_eq!(pair.pass().files_sent, 0);
    let verified = pair.verify();
    assert_eq!(verified.different, 0, "{:?}", verified.examples);
}

#[test]
fn the_targets_own_view_of_owners_is_understood_and_what_is_wrong_there_is_found() {
    let Some(mut pair) = pair() else { return };
    make_tree(&pair.source());
    pair.pass();
    // Nobody knows any more who wrote there: the target is listed and agrees with the record.
    fs::remove_dir_all(pair.dir.path().join("work-target/roots")).unwrap();
    assert_eq!(pair.pass().files_sent, 0);
    // The number that the file has on the source is somebody else's there.
    lchown(pair.target().join("daemon"), Some(1), Some(1)).unwrap();
    let verified = pair.verify();
    assert_eq!(verified.examples, ["daemon: owner differs"]);
    pair.job.checksum = true;
    assert_eq!(pair.pass().files_sent, 1);
    assert_eq!(owner(&pair.target().join("daemon")), (33, 33));
    // An owner who comes later is known by name, too.
    pair.job.checksum = false;
    lchown(pair.source().join("bin"), Some(33), None).unwrap();
    pair.pass();
    assert_eq!(owner(&pair.target().join("bin")), (1, 2));
    // By number is another rule: everything gets its number.
    pair.job.rules.owners = Owners::Numbers;
    pair.pass();
    assert_eq!(owner(&pair.target().join("daemon")), (1, 1));
    pair.assert_same();
}

fn set_acl(path: &Path, acl: &[&str]) {
    let set = Command::new(program("setfacl", "acl")).args(acl).arg(path).output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// What `getfacl` says, by number, without whom it belongs to.
fn acl(path: &Path) -> Vec<String> {
    let out =
        Command::new(program("getfacl", "acl")).args(["-n", "-p", "-E", "--omit-header"]).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn users_and_groups_in_acls_go_by_their_names_too() {
    let Some(mut pair) = pair() else { return };
    let (from, to) = (pair.source(), pair.target());
    make_tree(&from);
    // Whom only an ACL names: nothing in the tree belongs to them.
    for name in ["daemon", "www", "bin", "nobody's", "mixed", "dir", "link", "large", "fifo"] {
        lchown(from.join(name), Some(0), Some(0)).unwrap();
    }
    set_acl(&from, &["-m", "u:1:rx"]);
    set_acl(&from.join("daemon"), &["-m", "u:1:rw,u:33:r,u:2:x,g:33:rwx,g:54321:r"]);
    set_acl(&from.join("dir"), &["-m", "g:1:rx", "-m", "d:u:33:rwx,d:g:1:r"]);
    set_acl(&from.join("large"), &["-m", "u:33:r"]);
    set_acl(&from.join("fifo"), &["-m", "g:33:rw"]);
    let first = pair.pass();
    assert_eq!(first.nameless, 2, "bin as a user, and the group 54321");
    assert_eq!(acl(&to), ["user::rwx", "user:33:r-x", "group::r-x", "mask::r-x", "other::r-x"]);
    let expected = [
        "user::rwx",
        "user:1:r--",
        "user:2:--x",
        "user:33:rw-",
        "group::r-x",
        "group:1:rwx",
        "group:54321:r--",
        "mask::rwx",
        "other::r-x",
    ];
    assert_eq!(acl(&to.join("daemon")), expected);
    let dir = acl(&to.join("dir"));
    for line in ["group:33:r-x", "default:user:1:rwx", "default:group:33:r--"] {
        assert!(dir.iter().any(|there| there == line), "{line}: {dir:?}");
    }
    assert!(acl(&to.join("large")).contains(&"user:1:r--".to_owned()));
    assert!(acl(&to.join("fifo")).contains(&"group:1:rw-".to_owned()));
    assert_eq!(pair.verify().different, 0);
    // What is on the target is understood, and what is wrong there is found.
    set_acl(&to.join("large"), &["-x", "u:1", "-m", "u:33:r"]);
    assert_eq!(pair.verify().examples, ["large: extended attributes differ"]);
    pair.job.checksum = true;
    pair.pass();
    pair.job.checksum = false;
    assert_eq!(pair.verify().different, 0);
    // Somebody whom the first pass did not know.
    set_acl(&from.join("www"), &["-m", "g:1:r"]);
    pair.pass();
    assert!(acl(&to.join("www")).contains(&"group:33:r--".to_owned()));
    assert_eq!(pair.verify().different, 0);
    pair.job.rules.owners = Owners::Numbers;
    pair.pass();
    pair.assert_same();
}

//! Certificates by a CA of the lab's own, made with OpenSSL.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::program;

/// A CA in a directory: `ca.pem`, `ca.key`.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one.
    pub fn start(dir: &Path) -> Self {
        let authority = Self { dir: dir.to_owned() };
        let subject = ["-nodes", "-subj", "/CN=lab CA", "-days", "3650", "-keyout", "ca.key", "-out", "ca.pem"];
        authority.openssl(&[&["req", "-x509"], &KEY[..], &subject[..]].concat());
        authority
    }

    /// A certificate `NAME.pem` with its key `NAME.key` for an alternative name (`DNS:web.example`, `IP:127.0.0.1`), which ends so many days
    /// from now, and of which a chain is `NAME.chain.pem`.
    pub fn issue(&self, name: &str, alternative: &str, days: u32) {
        let (key, request, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let (extensions, days) = (format!("{name}.ext"), days.to_string());
        std::fs::write(self.dir.join(&extensions), format!("subjectAltName={alternative}\n"))
            .expect("a file is written");
        let subject = ["-nodes", "-subj", "/CN=lab", "-keyout", &key, "-out", &request];
        self.openssl(&[&["req", "-new"], &KEY[..], &subject[..]].concat());
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", &days, "-extfile", &extensions];
        self.openssl(&[&["x509", "-req", "-in", &request, "-out", &pem], &by[..]].concat());
        let read = |name: &str| std::fs::read_to_string(self.dir.join(name)).expect("a certificate");
        let chain = format!("{}{}", read(&pem), read("ca.pem"));
        std::fs::write(self.dir.join(format!("{name}.chain.pem")), chain).expect("a file is written");
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn openssl(&self, args: &[&str]) {
        let out = Command::new(program("openssl", "openssl")).args(args).current_dir(&self.dir).output();
        let out = out.expect("openssl runs");
        assert!(out.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

/// How keys are made.
const KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

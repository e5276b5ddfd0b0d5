//! Plans and inventories in a private directory, and what becomes of them.

use std::path::{Path, PathBuf};

use migrate::config::{LoadOptions, load, load_inventory};
use migrate::spec::Spec;
use migrate::yaml::Diagnostics;

pub fn good(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec/good").join(name)
}

pub fn options() -> LoadOptions {
    LoadOptions { home: Some(PathBuf::from("/home/user")), dir: None }
}

pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new(plan: &str, inventory: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("plan.yaml", plan);
        files.write("inventory.yaml", inventory);
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn load(&self) -> Result<(Spec, Diagnostics), Diagnostics> {
        load(&self.path("plan.yaml"), None, &options())
    }

    /// All problems as text, with the directory taken out.
    pub fn problems(&self) -> String {
        let found = match self.load() {
            Ok((_, warnings)) => warnings,
            Err(problems) => problems,
        };
        self.show(&found)
    }

    pub fn inventory_problems(&self) -> String {
        match load_inventory(&[&self.path("inventory.yaml")], &options()) {
            Ok((_, _, warnings)) => self.show(&warnings),
            Err(problems) => self.show(&problems),
        }
    }

    pub fn show(&self, found: &Diagnostics) -> String {
        found.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

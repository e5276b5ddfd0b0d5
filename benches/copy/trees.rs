//! The trees that are carried, and the changes to them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Random bytes, quickly and the same every time.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    pub fn fill(&mut self, buf: &mut [u8]) {
        let mut key = [0; 8];
        key.copy_from_slice(&self.below(u64::MAX).to_le_bytes());
        blake3::Hasher::new().update(&key).finalize_xof().fill(buf);
    }
}

/// 100 files a directory, 1 to 16 KiB each.
pub fn small(root: &Path, files: u64) {
    let mut noise = Noise::new(1);
    let mut buf = vec![0; 16 << 10];
    for dir in 0..files / 100 {
        let dir = root.join(format!("{:03}/{dir:06}", dir / 100));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..100 {
            let len = 1024 + noise.below(15 << 10) as usize;
            noise.fill(&mut buf[..len]);
            fs::write(dir.join(format!("file-{file:04}")), &buf[..len]).unwrap();
        }
    }
}

/// Files with next to no content, for counting only.
pub fn many(root: &Path, files: u64) {
    for dir in 0..files / 1000 {
        let dir = root.join(format!("{dir:06}"));
        fs::create_dir_all(&dir).unwrap();
        for file in 0..1000 {
            fs::write(dir.join(format!("file-{file:04}")), b"content\n").unwrap();
        }
    }
}

pub fn large(root: &Path, files: u64, bytes: u64) {
    fs::create_dir_all(root).unwrap();
    let mut noise = Noise::new(2);
    let mut buf = vec![0; 1 << 20];
    for file in 0..files {
        let mut out = fs::File::create(root.join(format!("large-{file}"))).unwrap();
        for _ in 0..bytes >> 20 {
            noise.fill(&mut buf);
            out.write_all(&buf).unwrap();
        }
    }
}

/// 20,000 files, 2 GiB: most are small, some are not.
pub fn mixed(root: &Path) {
    let mut noise = Noise::new(3);
    let mut buf = vec![0; 16 << 20];
    for n in 0..20_000u64 {
        let dir = root.join(format!("{:02}/{:03}", n / 2000, n / 100));
        fs::create_dir_all(&dir).unwrap();
        let len = match n % 200 {
            0 => (10 << 20) + noise.below(6 << 20) as usize,
            1..=9 => (256 << 10) + noise.below(1 << 20) as usize,
            _ => 512 + noise.below(64 << 10) as usize,
        };
        noise.fill(&mut buf[..len]);
        fs::write(dir.join(format!("{n:05}.dat")), &buf[..len]).unwrap();
    }
}

/// Writes one in `every` of the files below `root` anew.
pub fn change_files(root: &Path, every: usize, seed: u64) {
    let mut files = Vec::new();
    list(root, &mut files);
    files.sort();
    let mut noise = Noise::new(seed);
    for file in files.iter().step_by(every) {
        let len = fs::metadata(file).unwrap().len() as usize;
        let mut buf = vec![0; len];
        noise.fill(&mut buf);
        fs::write(file, buf).unwrap();
    }
}

/// Writes 1 % of the 64 KiB blocks of each file anew.
pub fn change_blocks(root: &Path, seed: u64) {
    const BLOCK: u64 = 64 << 10;
    let mut noise = Noise::new(seed);
    let mut buf = vec![0; BLOCK as usize];
    for entry in fs::read_dir(root).unwrap().flatten() {
        let file = OpenOptions::new().write(true).open(entry.path()).unwrap();
        let blocks = file.metadata().unwrap().len() / BLOCK;
        for _ in 0..blocks / 100 {
            noise.fill(&mut buf);
            file.write_all_at(&buf, noise.below(blocks) * BLOCK).unwrap();
        }
    }
}

/// Has the kernel hold what is below `root` in memory, whatever it had dropped: the content, too, where that is to be read.
pub fn hold(root: &Path, content: bool) {
    let mut files = Vec::new();
    list(root, &mut files);
    let mut buf = vec![0; 1 << 20];
    for file in files {
        fs::symlink_metadata(&file).unwrap();
        let mut input = content.then(|| fs::File::open(&file).unwrap());
        while input.as_mut().is_some_and(|input| std::io::Read::read(input, &mut buf).unwrap() > 0) {}
    }
}

/// Hashes every file below `root`.
pub fn hash_all(root: &Path) {
    let mut files = Vec::new();
    list(root, &mut files);
    for file in files {
        let mut hasher = blake3::Hasher::new();
        let mut input = fs::File::open(file).unwrap();
        let mut buf = vec![0; 1 << 20];
        while let Ok(n @ 1..) = std::io::Read::read(&mut input, &mut buf) {
            hasher.update(&buf[..n]);
        }
        std::hint::black_box(hasher.finalize());
    }
}

/// The same by the program of that name.
pub fn b3sum(root: &Path) {
    let mut files = Vec::new();
    list(root, &mut files);
    for files in files.chunks(2000) {
        let output = std::process::Command::new("b3sum").args(files).output().unwrap();
        assert!(output.status.success());
    }
}

fn list(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

//! A run on disk, with as many of its records as are wanted.

use std::io::Write;
use std::path::{Path, PathBuf};

use migrate::event::{Event, Record};
use migrate::journal::{blob, format};
use migrate::step::Graph;
use migrate::store::file::ChunkDir;

/// The journal of a run, to which more records can be added.
pub struct Kept {
    journal: PathBuf,
    head: String,
}

impl Kept {
    /// Puts `fleet-1` into a state directory, with its first records.
    pub fn begin(dir: &Path, graph: &Graph, records: &[Record]) -> Self {
        let run = dir.join("runs/fleet-1");
        std::fs::create_dir_all(&run).unwrap();
        let journal = run.join("journal");
        let graph = blob::keep(&mut ChunkDir::beside(&journal), graph).unwrap();
        std::fs::write(&journal, format::header()).unwrap();
        let mut kept = Self { journal, head: format::hash(b"") };
        let named = |record: &Record| {
            let mut record = record.clone();
            if let Event::Started(started) = &mut record.event {
                started.graph = graph.clone();
            }
            record
        };
        kept.add(&records.iter().map(named).collect::<Vec<_>>());
        kept
    }

    /// Writes more records.
    pub fn add(&mut self, records: &[Record]) {
        let mut bytes = Vec::new();
        for record in records {
            let (frame, next) = format::encode(record, &self.head).unwrap();
            bytes.extend_from_slice(&frame);
            self.head = next;
        }
        let mut journal = std::fs::OpenOptions::new().append(true).open(&self.journal).unwrap();
        journal.write_all(&bytes).unwrap();
    }
}

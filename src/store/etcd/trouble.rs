//! Why a cluster does not do what it was asked for, and what to do then.

use crate::journal::{BlobError, JournalError};
use crate::lock::LockError;
use crate::store::StoreError;
use crate::text;

/// Why etcd did not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No server can be reached, or none answers.
    #[error("no server of the cluster answers: {0}")]
    Unreachable(String),
    /// There are servers, and too few of them.
    #[error("the cluster has no leader, or lost it in the middle of this: {0}")]
    NoLeader(String),
    /// The alarm NOSPACE.
    #[error("the cluster takes no more writes: its space is used up (alarm NOSPACE)")]
    NoSpace,
    /// User and password.
    #[error("the login was refused: {0}")]
    Login(String),
    /// The user may not do it.
    #[error("the user may not read or write these keys: {0}")]
    Denied(String),
    /// The password cannot be had.
    #[error("{0}")]
    Secret(String),
    /// It says no for another reason.
    #[error("etcd refused: {0}")]
    Refused(String),
    /// What it answers is not what etcd answers.
    #[error("this is not what etcd answers: {0}")]
    Strange(String),
}

impl Trouble {
    /// What a refusal of the gateway means.
    pub fn refusal(status: u16, words: &str) -> Self {
        let said = text::escape(words.as_bytes(), 200);
        let has = |part: &str| words.contains(part);
        if has("database space exceeded") {
            return Self::NoSpace;
        }
        if has("permission denied") {
            return Self::Denied(said);
        }
        if has("authentication failed") || has("user name is empty") || has("invalid auth token") {
            return Self::Login(said);
        }
        if status == 503 || has("no leader") || has("leader changed") || has("timed out") {
            return Self::NoLeader(said);
        }
        Self::Refused(said)
    }

    /// Whether another try, perhaps at another server, may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::NoLeader(_) => true,
            Self::NoSpace
            | Self::Login(_)
            | Self::Denied(_)
            | Self::Secret(_)
            | Self::Refused(_)
            | Self::Strange(_) => false,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        let what = match self {
            Self::Unreachable(_) => {
                "look whether etcd runs there (`etcdctl endpoint health`), at the way from here to it, and at the address in --store or MIGRATE_STORE"
            }
            Self::NoLeader(_) => {
                "more than half of its servers must run and reach each other: `etcdctl endpoint status` tells"
            }
            Self::NoSpace => {
                "compact and defragment it (`etcdctl compact`, `etcdctl defrag`), or raise --quota-backend-bytes; then `etcdctl alarm disarm`"
            }
            Self::Login(_) => "mend `user` and what `password` refers to in --store or MIGRATE_STORE",
            Self::Denied(_) => {
                "`etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX/` lets its role do so"
            }
            Self::Secret(_) => "mend what `password` refers to in --store or MIGRATE_STORE",
            Self::Refused(_) => "see what the log of etcd says of it",
            Self::Strange(_) => {
                "see what answers at the address in --store or MIGRATE_STORE: etcd 3.4 or newer is wanted"
            }
        };
        format!("{what}. Nothing more is begun meanwhile; the same command goes on from there")
    }

    /// As a store tells it.
    pub fn of_store(self, place: &str) -> StoreError {
        StoreError::Unusable { place: place.to_owned(), why: self.to_string(), hint: self.hint() }
    }

    /// As a journal tells it.
    pub fn of_journal(self, place: &str) -> JournalError {
        JournalError::Store { place: place.to_owned(), why: self.to_string(), hint: self.hint() }
    }

    /// As the locks tell it.
    pub fn of_locks(self, place: &str) -> LockError {
        LockError::Store { place: place.to_owned(), why: self.to_string(), hint: self.hint() }
    }

    /// As chunks tell it.
    pub fn of_chunk(self, hash: &str) -> BlobError {
        BlobError::Store { hash: hash.to_owned(), why: self.to_string(), hint: self.hint() }
    }
}

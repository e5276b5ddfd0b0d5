//! One controller and what makes it trustworthy: its journal when the disk fails it, its locks, its accounts.

mod support;

mod audit;
mod audit_cli;
mod failing_disk;
mod large;
mod lock;
mod stale;

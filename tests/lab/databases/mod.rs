//! Databases of the lab on two hosts, to be moved from one to the other: real servers, each on its own address.

pub mod client;
pub mod cluster;
pub mod logical;
pub mod mariadb;
pub mod pair;
pub mod pooler;
pub mod redis;
pub mod runs;

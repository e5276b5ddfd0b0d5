//! The live view: a small server and one page, which show all runs of a store and pass on what people ask of them.
//!
//! Owns HTTP: who may ask, what is answered, and the page. Everything that is shown comes from where the commands have it; everything
//! that acts is behind [`Desk`]. Must never act itself, never answer what its [`guard`] has not let through, and never hold a run up.

mod acts;
mod answer;
mod desk;
mod followed;
mod guard;
mod page;
mod people;
mod routes;
mod runs;
mod server;
mod stream;
mod tls;
mod view;

pub use desk::{Desk, Errand, Refused, Wanted};
pub use guard::Doors;
pub use people::{People, PeopleError, own_token};
pub use server::{Serving, serve};
pub use tls::{TlsError, acceptor};

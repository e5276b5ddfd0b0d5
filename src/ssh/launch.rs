//! How a program is started on a host: the one place that makes command lines for login shells and for keys that are bound to a
//! command.
//!
//! Must never let a word of the program's arguments change where another one begins.

use super::quote;
use crate::model::Host;
use crate::outside::{Error, Kind};

/// The command line that starts `argv` on a host.
pub(crate) fn command_line(host: &Host, argv: &[&str]) -> Result<String, Error> {
    quote::command_line(argv)
        .ok_or_else(|| Error::new(host.name.clone(), Kind::Config, "a command argument holds a NUL byte"))
}

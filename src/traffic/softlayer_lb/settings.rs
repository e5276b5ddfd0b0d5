//! Which account, as inventories say it. A pool is one balancer of it, by name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::softlayer::Access;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// How long a balancer may be at work on a change, unless something else is said.
const WITHIN: Duration = Duration::from_secs(600);

/// The balancers of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How to log in.
    pub access: Access,
    /// How long a balancer may be at work on a change.
    pub within: Duration,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "softlayer_lb";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let home = value.cx.home.map(std::path::Path::to_path_buf);
        value.map("softlayer_lb director", "softlayer_lb: {within: 10m}", |m| {
            let hour = Duration::from_secs(3600);
            let within = m.get("within").map_or(Some(WITHIN), |v| v.duration(Duration::from_secs(1)..=hour));
            let access = Access::read(m, home);
            Some(Self { access, within: within? })
        })?
    }
}

//! A check for tests alone: it is about a service, and asks nobody outside.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{About, Clients, ProbeKind, Subject, Verdict};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Passes when there is a pool to visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visit(pub Template);

impl Settings for Visit {
    const KEY: &'static str = "test_visit";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let role = Role::Own(|text| match text.split_once('/') {
            Some(_) => Ok(()),
            None => Err(Unfit::new("is no director and pool", "for example \"{{ director }}/{{ pool }}\"")),
        });
        let used = template::read(value, role, Sides::Service, "a pool", "test_visit: \"{{ director }}/{{ pool }}\"")?;
        let visit = Self(used.template.value.clone());
        uses.push(used);
        Some(visit)
    }
}

#[async_trait]
impl ProbeKind for Visit {
    fn about(&self) -> About {
        About::Service
    }

    async fn probe(&self, subject: &Subject<'_>, _: Duration, _: &Clients) -> Verdict {
        match self.0.render_plain(&subject.vars()) {
            Ok(pool) => Verdict::pass(format!("visit {pool} → open")),
            Err(why) => Verdict::unknown(format!("visit → {why}")),
        }
    }
}

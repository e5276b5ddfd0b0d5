//! Members of pools.

use std::collections::BTreeMap;

use crate::model::Template;
use crate::traffic::DirectorKind;
use crate::yaml::diagnostic::{Diagnostic, Sink};

use super::Draft;

/// The member that hosts are, unless the plan says otherwise.
pub fn default_member(director: &dyn DirectorKind) -> Template {
    Template(director.default_member().to_owned())
}

/// No two hosts of the plan are the same member of the same pool.
pub fn unique(draft: &mut Draft<'_>, sink: &Sink) {
    let mut seen: BTreeMap<(&str, String, String), &str> = BTreeMap::new();
    for (service, pairs) in draft.plan.services.iter().zip(&draft.pairs) {
        for traffic in service.settings.directors() {
            let Some(director) = draft.inventories.inventory.directors.get(&traffic.director.value) else { continue };
            let director = director.kind();
            let pool = director.pool_name(&traffic.pool.value).unwrap_or_else(|_| traffic.pool.value.clone());
            let given = traffic.member.as_ref();
            let template = given.map_or_else(|| default_member(director), |m| m.template.value.clone());
            let at = given.map_or(&traffic.director.at, |m| &m.template.at);
            for name in pairs.iter().flatten().flat_map(|pair| [&pair.source, &pair.target]) {
                let Some(host) = draft.inventories.inventory.hosts.get(name) else { continue };
                let Ok(member) = template.render_plain(&host.vars) else { continue };
                if given.is_none()
                    && let Err(unfit) = director.check_member(&member)
                {
                    let shown = crate::text::escape(member.as_bytes(), 80);
                    let message = format!("host `{name}` would be the member `{shown}`, which {}", unfit.why);
                    sink.push(
                        Diagnostic::error(at, message)
                            .hint("give `member`, with a variable that holds what the host is"),
                    );
                }
                let key = (traffic.director.value.as_str(), pool.clone(), member.clone());
                match seen.get(&key) {
                    Some(other) if *other != name => {
                        let message = format!(
                            "hosts `{other}` and `{name}` are the same member `{}` of the pool",
                            crate::text::escape(member.as_bytes(), 80)
                        );
                        sink.push(
                            Diagnostic::error(at, message)
                                .hint("every host needs a member of its own, such as \"{{ name }}\""),
                        );
                        break;
                    }
                    _ => drop(seen.insert(key, name)),
                }
            }
        }
    }
}

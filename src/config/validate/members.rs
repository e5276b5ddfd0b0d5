//! Members of pools.

use std::collections::BTreeMap;

use crate::model::Template;
use crate::traffic::DirectorConfig;
use crate::yaml::diagnostic::{Diagnostic, Sink};

use super::Draft;

/// The member that hosts are, unless the plan says otherwise.
pub fn default_member(director: Option<&DirectorConfig>) -> Template {
    Template(match director {
        Some(DirectorConfig::Rfc2136(_)) => "{{ address }}".to_owned(),
        Some(DirectorConfig::Haproxy(_)) | None => "{{ name }}".to_owned(),
    })
}

/// No two hosts of the plan are the same member of the same pool.
pub fn unique(draft: &mut Draft<'_>, sink: &Sink) {
    let mut seen: BTreeMap<(&str, &str, String), &str> = BTreeMap::new();
    for (service, pairs) in draft.plan.services.iter().zip(&draft.pairs) {
        let Some(traffic) = &service.settings.traffic else { continue };
        let Some(director) = draft.atlas.inventory.directors.get(&traffic.director.value) else { continue };
        let given = traffic.member.as_ref();
        let template = given.map_or_else(|| default_member(Some(director)), |m| m.template.value.clone());
        let at = given.map_or(&traffic.director.at, |m| &m.template.at);
        for name in pairs.iter().flatten().flat_map(|pair| [&pair.source, &pair.target]) {
            let Some(host) = draft.atlas.inventory.hosts.get(name) else { continue };
            let Ok(member) = template.render_plain(&host.vars) else { continue };
            if given.is_none()
                && matches!(director, DirectorConfig::Rfc2136(_))
                && member.parse::<std::net::IpAddr>().is_err()
            {
                let message =
                    format!("host `{name}` has the address `{member}`; members of a DNS name are IP addresses");
                sink.push(
                    Diagnostic::error(at, message).hint("give `member` with a variable that holds the IP address"),
                );
            }
            let key = (traffic.director.value.as_str(), traffic.pool.value.as_str(), member.clone());
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

//! Whom a check is about: one host, or a service as its users reach it.
//!
//! Owns what templates of checks may use of either. Must never know what is asked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::HealthCheck;
use crate::model::{Host, shared};

/// Of what a check is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// Of each host.
    Host,
    /// Once, of the service as a whole.
    Service,
}

/// The name of a subject, as steps hold it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectName {
    /// Inventory name of a host. Many steps of a plan ask the same one, and share it.
    Host(#[serde(deserialize_with = "shared::text")] Arc<str>),
    /// A service.
    Service(ServiceRef),
}

impl SubjectName {
    /// The host of that name.
    pub fn host(name: &str) -> Self {
        Self::Host(name.into())
    }

    /// Of what it is the name.
    pub fn about(&self) -> About {
        match self {
            Self::Host(_) => About::Host,
            Self::Service(_) => About::Service,
        }
    }
}

impl SubjectName {
    /// The subject, with what is known of hosts; `None` when there is no such host.
    pub fn known<'a>(&'a self, hosts: &'a BTreeMap<String, Host>) -> Option<Subject<'a>> {
        match self {
            Self::Host(name) => hosts.get(&**name).map(Subject::Host),
            Self::Service(service) => Some(Subject::Service(service)),
        }
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Service(service) => write!(f, "service {}", service.name),
        }
    }
}

/// A service, and where its users reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Its name in the plan.
    pub name: String,
    /// Director and pool; `None` when nothing directs its traffic.
    pub through: Option<PoolRef>,
}

/// A pool of a director.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PoolRef {
    /// Inventory name of the director.
    pub director: String,
    /// Its name there.
    pub pool: String,
}

impl ServiceRef {
    /// What templates may use: `name`, and where there is traffic `director` and `pool`.
    pub fn vars(&self) -> BTreeMap<String, String> {
        let mut vars = BTreeMap::from([("name".to_owned(), self.name.clone())]);
        if let Some(PoolRef { director, pool }) = &self.through {
            vars.extend([("director".to_owned(), director.clone()), ("pool".to_owned(), pool.clone())]);
        }
        vars
    }
}

/// A subject with everything that is known of it.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// A host.
    Host(&'a Host),
    /// A service.
    Service(&'a ServiceRef),
}

impl<'a> Subject<'a> {
    /// What templates may use.
    pub fn vars(&self) -> Cow<'a, BTreeMap<String, String>> {
        match self {
            Self::Host(host) => Cow::Borrowed(&host.vars),
            Self::Service(service) => Cow::Owned(service.vars()),
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(&host.name),
            Self::Service(service) => write!(f, "service {}", service.name),
        }
    }
}

/// Checks, and those whom they are about: each check is asked of every subject of its sort.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// Those who are asked.
    of: Vec<SubjectName>,
    /// What they are asked.
    #[serde(deserialize_with = "shared::few")]
    checks: Vec<Arc<HealthCheck>>,
}

impl Checks {
    /// The checks among `checks` that are about one of `of`.
    pub fn new(of: impl IntoIterator<Item = SubjectName>, checks: &[Arc<HealthCheck>]) -> Self {
        let of: Vec<_> = of.into_iter().filter(|s| checks.iter().any(|c| c.about() == s.about())).collect();
        let checks = checks.iter().filter(|c| of.iter().any(|s| c.about() == s.about())).cloned().collect();
        Self { of, checks }
    }

    /// Whether nobody is asked anything.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Those who are asked, for people.
    pub fn subjects(&self) -> Vec<String> {
        self.of.iter().map(ToString::to_string).collect()
    }

    /// Inventory names of the hosts that are asked.
    pub fn hosts(&self) -> Vec<&str> {
        let hosts = self.of.iter().filter_map(|subject| match subject {
            SubjectName::Host(name) => Some(&**name),
            SubjectName::Service(_) => None,
        });
        hosts.collect()
    }

    /// What is asked.
    pub fn checks(&self) -> &[Arc<HealthCheck>] {
        &self.checks
    }

    /// Each subject by itself, with what it is asked.
    pub fn each_subject(&self) -> impl Iterator<Item = (&SubjectName, Self)> {
        self.of.iter().map(|subject| (subject, Self::new([subject.clone()], &self.checks)))
    }

    /// Every check with each subject that it is about, subject by subject.
    pub fn each(&self) -> impl Iterator<Item = (&SubjectName, &HealthCheck)> {
        self.of.iter().flat_map(|subject| {
            let own = self.checks.iter().filter(|c| c.about() == subject.about());
            own.map(move |check| (subject, &**check))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{of_host, of_service};

    #[test]
    fn every_check_is_asked_of_those_whom_it_is_about() {
        let service = ServiceRef { name: "web".into(), through: None };
        let of = [SubjectName::Host("a".into()), SubjectName::Host("b".into()), SubjectName::Service(service)];
        let checks = Checks::new(of.clone(), &[of_host("x").into(), of_service("y").into()]);
        let asked: Vec<String> = checks.each().map(|(s, c)| format!("{s} {}", c.probe.key())).collect();
        assert_eq!(asked, ["a tcp", "b tcp", "service web test_visit"]);
        let hosts_only = Checks::new(of[..2].to_vec(), &[of_service("y").into()]);
        assert!(hosts_only.is_empty() && hosts_only.each().next().is_none());
    }

    #[test]
    fn a_service_without_traffic_has_no_pool_to_name() {
        let pool = PoolRef { director: "edge".into(), pool: "www".into() };
        let mut service = ServiceRef { name: "web".into(), through: Some(pool) };
        assert_eq!(service.vars().keys().collect::<Vec<_>>(), ["director", "name", "pool"]);
        service.through = None;
        assert_eq!(service.vars().keys().collect::<Vec<_>>(), ["name"]);
    }
}

//! Exec probes: a command on the host, over SSH; exit status 0 passes.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{About, Clients, ProbeKind, Subject, Verdict, first_line, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Use};
use crate::host::{Command, Hosts, Output};
use crate::model::{Host, Template};
use crate::outside::Error;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// A command on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec(pub Template);

impl Settings for Exec {
    const KEY: &'static str = "exec";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let example = "exec: systemctl is-active web";
        let used = template::read(value, Role::Command, Sides::Both, "a command", example)?;
        let exec = Self(used.template.value.clone());
        uses.push(used);
        Some(exec)
    }
}

#[async_trait]
impl ProbeKind for Exec {
    fn fits(&self, about: About) -> bool {
        about == About::Host
    }

    fn logs_in(&self) -> bool {
        true
    }

    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, clients: &Clients) -> Verdict {
        match subject {
            Subject::Host(host) => run(&*clients.hosts, &self.0, host, timeout).await,
            Subject::Service(_) => {
                Verdict::unknown(format!("run `{}` → a service is not a host to run it on", quote(&self.0.0)))
            }
        }
    }
}

async fn run(hosts: &dyn Hosts, script: &Template, host: &Host, timeout: Duration) -> Verdict {
    let script = match script.render_shell(&host.vars) {
        Ok(script) => script,
        Err(why) => return Verdict::unknown(format!("run `{}` → {}", quote(&script.0), quote(why.to_string()))),
    };
    let asked = format!("run `{}`", quote(&script));
    let command = Command { script, timeout: Some(timeout), ..Command::default() };
    match tokio::time::timeout(timeout, hosts.query(host, &command)).await {
        Ok(Ok(output)) => ended(&asked, &output),
        Ok(Err(error)) => Verdict::unknown(format!("{asked} → {}", trouble(&error))),
        Err(_) => Verdict::unknown(format!("{asked} → no result in {}", text::duration(timeout))),
    }
}

fn ended(asked: &str, output: &Output) -> Verdict {
    let said = match first_line(&output.stderr) {
        line if line.is_empty() => first_line(&output.stdout),
        line => line,
    };
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let evidence = format!("{asked} → exit {}{said}", output.status);
    if output.status == 0 { Verdict::pass(evidence) } else { Verdict::fail(evidence) }
}

fn trouble(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{error} ({})", quote(hint)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::check::Outcome;
    use crate::model::SshTarget;
    use crate::outside::Kind;
    use crate::ssh::Remote;

    /// Ends every command the way it was told to.
    struct Ends(Result<(i32, &'static str), Kind>);

    #[async_trait]
    impl Remote for Ends {
        async fn run(&self, host: &Host, _: &Command) -> Result<Output, Error> {
            match self.0 {
                Ok((status, said)) => Ok(Output { status, stdout: vec![], stderr: said.into(), truncated: false }),
                Err(kind) => Err(Error::new(host.name.as_str(), kind, "no route")),
            }
        }
    }

    fn host() -> Host {
        let vars = [("name", "fra-1"), ("root", "/srv/it's here")];
        Host {
            name: "fra-1".into(),
            site: None,
            address: "127.0.0.1".into(),
            ssh: SshTarget::default(),
            tags: Default::default(),
            capacity: 100,
            cost_per_month: None,
            vars: vars.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    async fn verdict(ends: Result<(i32, &'static str), Kind>) -> Verdict {
        run(&Ends(ends), &Template("ls {{ root }}".into()), &host(), Duration::from_secs(1)).await
    }

    #[tokio::test]
    async fn the_exit_status_decides_and_the_first_line_of_the_error_explains() {
        let verdict_0 = verdict(Ok((0, ""))).await;
        assert_eq!(verdict_0, Verdict::pass(r"run `ls '/srv/it'\''s here'` → exit 0".into()));
        let verdict_2 = verdict(Ok((2, "\nno \x1b[31msuch\nfile"))).await;
        assert_eq!(verdict_2, Verdict::fail(r"run `ls '/srv/it'\''s here'` → exit 2: no \u{1b}[31msuch".into()));
    }

    #[tokio::test]
    async fn a_command_whose_end_nobody_saw_is_unknown() {
        for kind in [Kind::Unreachable, Kind::Lost, Kind::UnknownHostKey] {
            assert_eq!(verdict(Err(kind)).await.outcome, Outcome::Unknown);
        }
    }
}

//! What hosts are asked that are to be alike in more than a login tells of every host.
//!
//! Must never change anything there.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Parity;
use crate::state::Question;
use crate::step::Answer;

/// What the question is about.
const ABOUT: &str = "parity";
/// How long a host may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Prints a line for each thing: its name, a blank, and its value, which is empty where there is none.
const SCRIPT: &str = r#"
z=$(readlink /etc/localtime) && z=${z##*/zoneinfo/} || z=$(cat /etc/timezone 2>/dev/null)
printf 'timezone %s\n' "${z:-UTC}"
awk '/^Max open files/ { print "files", $4 ":" $5 } /^Max processes/ { print "processes", $3 ":" $4 }' /proc/self/limits
for n in $MIGRATE_SYSCTLS; do
v=$(cat "/proc/sys/$(printf %s "$n" | tr . /)" 2>/dev/null | tr -s '\t ' '  ' | tr '\n' ' ')
printf '%s %s\n' "$n" "$v"
done
for n in $MIGRATE_PACKAGES; do
v=$(dpkg-query -W -f '${Version}' "$n" 2>/dev/null || rpm -q --qf '%{VERSION}-%{RELEASE}' "$n" 2>/dev/null || apk info -ve "$n" 2>/dev/null) || v=
printf '%s %s\n' "$n" "$v"
done
"#;

/// The question for one host.
pub fn question(host: &str, parity: &Parity) -> Question {
    let env = [("MIGRATE_SYSCTLS", parity.sysctls.join(" ")), ("MIGRATE_PACKAGES", parity.packages.join(" "))];
    Question {
        host: host.to_owned(),
        about: about(parity),
        script: SCRIPT.to_owned(),
        env: env.map(|(name, value)| (name.to_owned(), value)).into(),
        timeout: TIMEOUT,
    }
}

/// With the host it names the answer: several services of one host may compare different things.
pub fn about(parity: &Parity) -> String {
    [&[ABOUT.to_owned()], &*parity.sysctls, &*parity.packages].concat().join(" ")
}

/// Values by name; `None` for a host that has not run the script: every one that has says its time zone.
pub fn values(answer: &Answer) -> Option<BTreeMap<&str, &str>> {
    let lines = answer.stdout.lines().filter_map(|line| line.split_once(' '));
    let values: BTreeMap<_, _> = lines.map(|(name, value)| (name, value.trim())).collect();
    values.contains_key("timezone").then_some(values)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_host_says_what_it_has_and_what_it_lacks() {
        let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let parity = Parity {
            sysctls: words(&["kernel.ostype", "no.such"]),
            packages: words(&["dash", "no-such"]),
            ..Parity::default()
        };
        let asked = question("a", &parity);
        assert_eq!(asked.about, "parity kernel.ostype no.such dash no-such");
        let said = Command::new("/bin/sh").args(["-c", &asked.script]).envs(&asked.env).output().unwrap();
        let answer = Answer {
            status: said.status.code().unwrap(),
            stdout: String::from_utf8(said.stdout).unwrap(),
            stderr: String::new(),
        };
        let values = values(&answer).unwrap();
        assert_eq!((values["kernel.ostype"], values["no.such"], values["no-such"]), ("Linux", "", ""));
        assert!(values["dash"].starts_with(|c: char| c.is_ascii_digit()), "{values:?}");
        assert_eq!(
            super::values(&Answer { stdout: "This account is not available.\n".into(), ..answer.clone() }),
            None
        );
        assert!(values["files"].contains(':') && !values["timezone"].is_empty(), "{values:?}");
    }
}

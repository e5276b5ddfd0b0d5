//! Credentials of AWS, from where people have them: the environment, a profile of a file, the output of a command, the machine's role.
//!
//! Looked up at each use, so that those which end by themselves can be renewed. Must never show any of it.

use jiff::Timestamp;
use serde::Deserialize;

use super::metadata::Role;
use super::settings::From;
use super::sign::Credentials;
use crate::secret::{SecretRef, Secrets};

/// The variables of AWS's own tools.
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const TOKEN: &str = "AWS_SESSION_TOKEN";

/// Looks them up; else why there are none, for people.
pub(super) async fn find(from: &From, secrets: &dyn Secrets, role: &Role) -> Result<Credentials, String> {
    let look = |reference: &SecretRef| secrets.resolve(reference).map_err(|e| e.to_string());
    match from {
        From::Environment => {
            let variable = |name: &str| look(&SecretRef::Env(name.to_owned()));
            let (key_id, secret) = (variable(KEY_ID)?, variable(SECRET)?);
            // Long-lived keys have none.
            let token = variable(TOKEN).ok().map(|t| t.reveal().to_owned()).filter(|t| !t.is_empty());
            checked(Credentials { key_id: key_id.reveal().to_owned(), secret: secret.reveal().to_owned(), token })
        }
        From::Profile { file, profile } => {
            let text = look(&SecretRef::File(file.clone()))?;
            in_profile(text.reveal(), profile).and_then(checked)
        }
        From::Command(words) => {
            let text = look(&SecretRef::Exec(words.clone()))?;
            let found = from_process(text.reveal(), "the command")?;
            checked(found.0)
        }
        From::Metadata(server) => role.get(server).await,
    }
}

pub(super) fn checked(found: Credentials) -> Result<Credentials, String> {
    // They become parts of headers.
    let fits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let all = [Some(&found.key_id), Some(&found.secret), found.token.as_ref()];
    let good = all.into_iter().flatten().all(|text| fits(text));
    match good {
        true => Ok(found),
        false => Err("a part of them is empty or holds characters that none has".to_owned()),
    }
}

/// `[profile]` and `key = value`, as AWS's tools write them.
fn in_profile(text: &str, profile: &str) -> Result<Credentials, String> {
    let mut section = "";
    let (mut key_id, mut secret, mut token, mut there) = (None, None, None, false);
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            // `config` has `[profile x]`, `credentials` has `[x]`.
            section = name.trim().strip_prefix("profile ").unwrap_or(name.trim()).trim();
            there |= section == profile;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| section == profile) else { continue };
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    match (key_id, secret) {
        (Some(key_id), Some(secret)) => Ok(Credentials { key_id, secret, token }),
        _ if there => Err("the profile has no `aws_access_key_id` and `aws_secret_access_key`".to_owned()),
        _ => Err("the file has no such profile".to_owned()),
    }
}

/// What `credential_process`, `aws configure export-credentials` and metadata servers say, and when it ends.
pub(super) fn from_process(text: &str, who: &str) -> Result<(Credentials, Option<Timestamp>), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Told {
        access_key_id: String,
        secret_access_key: String,
        #[serde(alias = "Token")]
        #[serde(default)]
        session_token: Option<String>,
        #[serde(default)]
        expiration: Option<String>,
    }
    // The parser's words could hold a part of it.
    let told: Told = serde_json::from_str(text)
        .map_err(|_| format!("{who} does not print JSON with `AccessKeyId` and `SecretAccessKey`"))?;
    let ends = told.expiration.map(|at| at.parse::<Timestamp>()).transpose();
    let ends = ends.map_err(|_| format!("{who} prints an `Expiration` that is no time"))?;
    if ends.is_some_and(|at| at <= Timestamp::now()) {
        return Err(format!("what {who} prints has expired"));
    }
    let Told { access_key_id: key_id, secret_access_key: secret, session_token: token, .. } = told;
    Ok((Credentials { key_id, secret, token }, ends))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::secret::{Secret, SecretError};

    /// Everything that can be looked up, by the words for it.
    struct Fixed(BTreeMap<&'static str, &'static str>);

    impl Secrets for Fixed {
        fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
            let name = match reference {
                SecretRef::Env(name) => name.clone(),
                SecretRef::File(path) => path.display().to_string(),
                SecretRef::Exec(words) => words.join(" "),
            };
            let missing = || SecretError { from: name.clone(), why: "it is not there".to_owned() };
            self.0.get(name.as_str()).map(|value| Secret::new(*value)).ok_or_else(missing)
        }
    }

    async fn found(
        from: &From,
        fixed: &[(&'static str, &'static str)],
    ) -> Result<(String, String, Option<String>), String> {
        find(from, &Fixed(fixed.iter().copied().collect()), &Role::default())
            .await
            .map(|c| (c.key_id, c.secret, c.token))
    }

    fn of(key_id: &str, secret: &str, token: Option<&str>) -> Result<(String, String, Option<String>), String> {
        Ok((key_id.to_owned(), secret.to_owned(), token.map(str::to_owned)))
    }

    #[tokio::test]
    async fn the_environment_has_them_with_a_token_or_without() {
        let both = [("AWS_ACCESS_KEY_ID", "AK"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(found(&From::Environment, &both).await, of("AK", "s", None));
        let all = [both[0], both[1], ("AWS_SESSION_TOKEN", "t")];
        assert_eq!(found(&From::Environment, &all).await, of("AK", "s", Some("t")));
        assert!(found(&From::Environment, &both[..1]).await.is_err());
    }

    #[tokio::test]
    async fn a_profile_is_found_in_both_files_of_awss_tools() {
        let file = "[default]\naws_access_key_id=A0\naws_secret_access_key = s0\n\n# ours\n[profile mover]\n\
                    aws_access_key_id = A1\naws_secret_access_key = s1=/+\naws_session_token = t1\nregion = eu-central-1\n[empty]\n";
        let files = [("/credentials", file)];
        let from = |profile: &str| From::Profile { file: "/credentials".into(), profile: profile.to_owned() };
        assert_eq!(found(&from("default"), &files).await, of("A0", "s0", None));
        assert_eq!(found(&from("mover"), &files).await, of("A1", "s1=/+", Some("t1")));
        assert_eq!(found(&from("nope"), &files).await, Err("the file has no such profile".to_owned()));
        assert!(found(&from("empty"), &files).await.unwrap_err().contains("has no `aws_access_key_id`"));
    }

    #[tokio::test]
    async fn a_command_prints_them_as_credential_process_does() {
        let from = From::Command(vec!["aws".to_owned(), "export".to_owned()]);
        let says = async |text| found(&from, &[("aws export", text)]).await;
        let good = r#"{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2999-01-01T00:00:00Z"}"#;
        assert_eq!(says(good).await, of("A", "s", Some("t")));
        let old = r#"{"AccessKeyId": "A", "SecretAccessKey": "hunter2", "Expiration": "2001-01-01T00:00:00Z"}"#;
        assert_eq!(says(old).await, Err("what the command prints has expired".to_owned()));
        for bad in [
            "hunter2",
            "{\"SecretAccessKey\": \"hunter2\"}",
            "{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"hunter2 \\n\"}",
        ] {
            let why = says(bad).await.unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}

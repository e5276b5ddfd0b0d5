//! AWS Signature Version 4, as much of it as Route 53 needs.
//!
//! Pure. Must never let a secret into anything but the signature.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::text::hex;

/// Route 53 is one service for all regions, which answers as this one.
const SCOPE: &str = "us-east-1/route53/aws4_request";

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub key_id: String,
    pub secret: String,
    /// For those that end by themselves.
    pub token: Option<String>,
}

/// A request before it is signed.
pub(super) struct Unsigned<'a> {
    pub method: &'a str,
    pub host: &'a str,
    /// As it stands in the request: Route 53's paths hold nothing that would have to be encoded.
    pub path: &'a str,
    /// Names and values, not encoded.
    pub query: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
    /// `20150830T123600Z`.
    pub time: &'a str,
}

impl Unsigned<'_> {
    /// The query as it is sent and as it is signed.
    pub fn query(&self) -> String {
        let mut pairs: Vec<String> = self.query.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
        pairs.sort();
        pairs.join("&")
    }

    /// The headers to add: name and value.
    pub fn sign(&self, with: &Credentials) -> Vec<(&'static str, String)> {
        let mut headers = vec![("host", self.host.to_owned()), ("x-amz-date", self.time.to_owned())];
        headers.extend(with.token.clone().map(|token| ("x-amz-security-token", token)));
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let (method, path, query, body) = (self.method, self.path, self.query(), hash(self.body));
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body}");
        let day = self.time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{SCOPE}");
        let to_sign = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", self.time, hash(canonical.as_bytes()));
        let words = std::iter::once(day).chain(SCOPE.split('/'));
        let key = words.fold(format!("AWS4{}", with.secret).into_bytes(), |key, word| mac(&key, word.as_bytes()));
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let credential = format!("{}/{scope}", with.key_id);
        headers.push((
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"),
        ));
        headers.retain(|(name, _)| *name != "host");
        headers
    }
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn mac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    mac.update(bytes);
    mac.finalize().into_bytes().to_vec()
}

fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(unsigned: &Unsigned<'_>, token: Option<&str>) -> String {
        let credentials = Credentials {
            key_id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            token: token.map(str::to_owned),
        };
        let headers = unsigned.sign(&credentials);
        headers.into_iter().find(|(name, _)| *name == "authorization").unwrap().1
    }

    const GET: Unsigned<'_> = Unsigned {
        method: "GET",
        host: "route53.amazonaws.com",
        path: "/2013-04-01/hostedzone/Z1/rrset",
        query: &[("type", "A"), ("name", "*.example.com."), ("maxitems", "300")],
        body: b"",
        time: "20150830T123600Z",
    };

    /// The values are those of botocore 1.43 for the same requests.
    #[test]
    fn requests_are_signed_as_the_makers_own_client_signs_them() {
        insta::assert_snapshot!(signed(&GET, None), @"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/route53/aws4_request, SignedHeaders=host;x-amz-date, Signature=8f64ccd14907cf3b4f65999b52c0c89f3242ea88381ee45d41a8203de9da7957");
        let post =
            Unsigned { method: "POST", query: &[], body: b"<x/>", path: "/2013-04-01/hostedzone/Z1/rrset", ..GET };
        insta::assert_snapshot!(signed(&post, Some("a+token/==")), @"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/route53/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=d4268f7d9ca46d1f90e1221c18c84874840278f51a9fe75a36b98853d003a196");
        assert_eq!(GET.query(), "maxitems=300&name=%2A.example.com.&type=A");
    }
}

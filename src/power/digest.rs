//! Digest authentication with SHA-256 (RFC 7616), which Shellys of the second generation ask for. Pure.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest member of a challenge that is looked at.
const MEMBER_MAX: usize = 256;

/// What a server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
}

impl Challenge {
    /// From a `WWW-Authenticate` header; `None`: another scheme, or a digest that is not SHA-256 with `auth`.
    pub fn read(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let member = |name: &str| {
            let mut found = members(rest).filter(|(key, _)| key.eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value)
        };
        let qop = member("qop")?;
        let fits = member("algorithm")?.eq_ignore_ascii_case("SHA-256")
            && qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"));
        fits.then_some(())?;
        Some(Challenge {
            realm: member("realm")?,
            nonce: member("nonce")?,
            opaque: member("opaque"),
        })
    }

    /// The `Authorization` header for one request. `target`: path with query. Each nonce is used once.
    pub fn answer(&self, user: &str, password: &str, method: &str, target: &str, cnonce: &str) -> String {
        const COUNT: &str = "00000001";
        let (realm, nonce) = (&self.realm, &self.nonce);
        let who = hash(&format!("{user}:{realm}:{password}"));
        let what = hash(&format!("{method}:{target}"));
        let response = hash(&format!("{who}:{nonce}:{COUNT}:{cnonce}:auth:{what}"));
        let mut out = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", \
             algorithm=SHA-256, qop=auth, nc={COUNT}, cnonce=\"{cnonce}\", response=\"{response}\""
        );
        if let Some(opaque) = &self.opaque {
            let _ = write!(out, ", opaque=\"{opaque}\"");
        }
        out
    }
}

/// `key=value` or `key="value"`, separated by commas.
fn members(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (key, after) = rest.trim_start_matches([' ', ',', '\t']).split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        rest = after;
        // It goes back into a header: nothing that could end it.
        let value: String = value
            .chars()
            .filter(|c| !c.is_control())
            .take(MEMBER_MAX)
            .collect();
        Some((key.trim(), value))
    })
}

fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // RFC 7616, 3.9.1.
        let header = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=SHA-256, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let challenge = Challenge::read(header).expect("a challenge");
        let answer = challenge.answer(
            "Mufasa",
            "Circle of Life",
            "GET",
            "/dir/index.html",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        );
        assert!(
            answer.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""),
            "{answer}"
        );
        assert!(answer.ends_with("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
    }

    #[test]
    fn a_shelly_is_understood_and_others_are_not() {
        let shelly =
            "Digest qop=\"auth\", realm=\"shellypro4pm-f008d1d8b8b8\", nonce=\"60dc2c69\", algorithm=SHA-256";
        assert_eq!(
            Challenge::read(shelly),
            Some(Challenge {
                realm: "shellypro4pm-f008d1d8b8b8".to_owned(),
                nonce: "60dc2c69".to_owned(),
                opaque: None
            })
        );
        for other in [
            "",
            "Digest",
            "Basic realm=\"x\"",
            "Digest realm=\"x\", nonce=\"y\", algorithm=MD5, qop=\"auth\"",
            "Digest realm=\"x\", nonce=\"y, algorithm=SHA-256",
            "Digest realm=\"x\", algorithm=SHA-256, qop=\"auth\"",
        ] {
            assert_eq!(Challenge::read(other), None, "{other}");
        }
    }
}

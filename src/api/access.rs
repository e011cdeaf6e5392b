//! Who asks, what they may do, and whether a browser was tricked into asking. Pure.

use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, header};

/// What a request can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Look.
    Read,
    /// Everything that a printer does: start, pause, heat, send G-code.
    Control,
    /// Bring files.
    Files,
    /// Keys, webhooks, backups, draining. Includes all others.
    Admin,
}

const ALL: [Scope; 4] = [Scope::Read, Scope::Control, Scope::Files, Scope::Admin];

impl Scope {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Control => "control",
            Scope::Files => "files",
            Scope::Admin => "admin",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Scope::Read => 1,
            Scope::Control => 2,
            Scope::Files => 4,
            Scope::Admin => 8,
        }
    }
}

/// Several scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything.
    pub const EVERYTHING: Scopes = Scopes(15);
    /// What a person at this machine may do where it needs no key: all but what outlives them.
    pub const LOCAL: Scopes = Scopes(7);

    /// Reads words with commas: those of ours, and those of the cloud's scopes that mean the same.
    ///
    /// # Errors
    /// The word that is not known, or an empty text.
    pub fn parse(text: &str) -> Result<Scopes, String> {
        let mut out = Scopes::default();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            let scopes: &[Scope] = match word {
                "read" | "printers.read" | "files.read" | "print_history.read" | "operations.read" => {
                    &[Scope::Read]
                }
                "control" | "printers.actions" | "printer.manage" => &[Scope::Control],
                "files" | "files.temp_upload" => &[Scope::Files],
                // Whoever fills a queue brings the files for it.
                "queue.manage" => &[Scope::Control, Scope::Files],
                "admin" | "webhooks.read" | "webhooks.write" | "integrations.manage" => &[Scope::Admin],
                other => return Err(other.chars().take(40).collect()),
            };
            out.0 |= scopes.iter().fold(0, |bits, scope| bits | scope.bit());
        }
        if out.0 == 0 {
            return Err(String::new());
        }
        Ok(out)
    }

    /// Whether this one is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & (scope.bit() | Scope::Admin.bit()) != 0
    }

    /// The words.
    pub fn words(self) -> Vec<&'static str> {
        let given = ALL.iter().filter(|s| self.0 & s.bit() != 0);
        given.map(|s| s.word()).collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may open the unix socket.
    Socket,
    /// Somebody on this machine, where it needs no key.
    Loopback,
    /// The holder of a key.
    Key {
        /// Its number.
        id: i64,
        /// Its name.
        name: String,
        /// What it may do.
        scopes: Scopes,
    },
}

impl Caller {
    /// Whether they may.
    pub fn may(&self, scope: Scope) -> bool {
        let scopes = match self {
            Caller::Socket => Scopes::EVERYTHING,
            Caller::Loopback => Scopes::LOCAL,
            Caller::Key { scopes, .. } => *scopes,
        };
        scopes.has(scope)
    }

    /// For the log.
    pub fn name(&self) -> &str {
        match self {
            Caller::Socket => "unix socket",
            Caller::Loopback => "this machine, without a key",
            Caller::Key { name, .. } => name,
        }
    }
}

/// The key that a request brings, in either documented header. An empty one is none.
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let bearer = text("authorization")
        .and_then(|v| v.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    text("x-api-key")
        .filter(|k| !k.is_empty())
        .or(bearer.filter(|k| !k.is_empty()))
}

/// Whether a request to this machine's own address came through something that stands before us: then
/// it is not from this machine.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|h| headers.contains_key(*h))
}

/// Names by which this host may be called.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// The host's own names (with and without `.local`), and further ones.
    pub fn new<'a>(own: impl IntoIterator<Item = &'a str>, further: &[String]) -> Names {
        let mut names = vec!["localhost".to_owned()];
        for name in own {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            let short = name.split('.').next().unwrap_or_default();
            names.extend([format!("{short}.local"), short.to_owned(), name.clone()]);
        }
        names.extend(
            further
                .iter()
                .map(|n| n.trim_end_matches('.').to_ascii_lowercase()),
        );
        Names(names)
    }

    /// Whether a `Host` header calls this host. An address always does: a foreign page can make a name
    /// of its own lead here (DNS rebinding), but not an address.
    pub fn know(&self, host: &str) -> bool {
        let Some(name) = host_name(host) else { return false };
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.contains(&name)
    }
}

/// The part of `host:port` before the port.
fn host_name(host: &str) -> Option<&str> {
    let host = host.trim();
    let name = match host.rfind(']') {
        Some(end) => host.get(..=end)?,
        None => host.split(':').next()?,
    };
    Some(name).filter(|n| !n.is_empty())
}

/// Whether a browser sends this on behalf of a page that is not ours. Programs send none of these headers.
pub fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("null"));
    if let Some(origin) = text(header::ORIGIN) {
        let own = origin.split_once("://").map(|(_, rest)| rest);
        if own.is_none_or(|own| !own.eq_ignore_ascii_case(host.trim())) {
            return true;
        }
    }
    let site = headers.get("sec-fetch-site").and_then(|v| v.to_str().ok());
    matches!(site, Some("cross-site" | "same-site"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.insert(*name, value.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn scopes_are_words_and_admin_is_all() {
        let scopes = Scopes::parse("read, files.temp_upload").expect("known");
        assert_eq!(scopes.to_string(), "read,files");
        assert!(scopes.has(Scope::Files) && !scopes.has(Scope::Control) && !scopes.has(Scope::Admin));
        let admin = Scopes::parse("admin").expect("known");
        assert!(ALL.iter().all(|s| admin.has(*s)));
        assert_eq!(Scopes::parse("read,fly"), Err("fly".to_owned()));
        assert_eq!(Scopes::parse(" , "), Err(String::new()));
        assert!(!Caller::Loopback.may(Scope::Admin) && Caller::Loopback.may(Scope::Control));
    }

    #[test]
    fn a_key_comes_in_one_of_two_headers() {
        assert_eq!(presented(&with(&[("x-api-key", "k")])), Some("k"));
        assert_eq!(presented(&with(&[("authorization", "bearer  k ")])), Some("k"));
        assert_eq!(presented(&with(&[("authorization", "Basic abc")])), None);
        assert_eq!(
            presented(&with(&[("x-api-key", ""), ("authorization", "Bearer ")])),
            None
        );
    }

    #[test]
    fn a_name_that_is_not_ours_is_not_answered() {
        let names = Names::new(["Shop-Pi", "box.example.org"], &["printers.lan".to_owned()]);
        for ours in [
            "127.0.0.1:7380",
            "192.168.1.9",
            "[::1]:7380",
            "[fe80::1]",
            "localhost:7380",
            "SHOP-PI",
            "shop-pi.local.:80",
            "printers.lan",
            "box.local",
            "box.example.org",
        ] {
            assert!(names.know(ours), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:7380",
            "localhost.evil.example",
            "",
            ":7380",
            "127.0.0.1.evil.example",
        ] {
            assert!(!names.know(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_page_from_elsewhere_is_foreign_and_a_program_is_not() {
        let foreign = |rows: &[(&'static str, &str)]| is_foreign(&with(rows), "pi.local:7380");
        assert!(!foreign(&[]));
        assert!(!foreign(&[
            ("origin", "http://pi.local:7380"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!foreign(&[("origin", "https://PI.local:7380")]));
        assert!(
            foreign(&[("origin", "http://pi.local")]),
            "another port is another origin"
        );
        assert!(foreign(&[("origin", "null")]));
        assert!(foreign(&[("origin", "http://evil.example")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site")]));
    }
}

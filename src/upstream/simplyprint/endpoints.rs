//! Where the cloud is: the configuration, and the environment variables of the vendor's own client.

/// Addresses of the cloud, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Websocket, `wss://…`.
    pub ws: String,
    /// REST, `https://…`.
    pub api: String,
}

/// The vendor's named backends: name, websocket, REST (public client code).
const BACKENDS: &[(&str, &str, &str)] = &[
    (
        "production",
        "wss://ws.simplyprint.io",
        "https://api.simplyprint.io",
    ),
    (
        "test",
        "wss://testws3.simplyprint.io",
        "https://testapi.simplyprint.io",
    ),
    (
        "staging",
        "wss://wsstaging.simplyprint.io",
        "https://apistaging.simplyprint.io",
    ),
    (
        "pilot",
        "wss://pilotws.simplyprint.io",
        "https://pilotapi.simplyprint.io",
    ),
    ("local", "ws://localhost:8081", "http://localhost:8080/api"),
];

impl Endpoints {
    /// The configured addresses, overridden by `SIMPLYPRINT_BACKEND`, `SIMPLYPRINT_WS_URL` and
    /// `SIMPLYPRINT_API_URL`, as tools made for the vendor's client expect.
    pub fn resolve(ws: &str, api: &str, env: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| env(name).filter(|v| !v.trim().is_empty());
        let named = var("SIMPLYPRINT_BACKEND")
            .and_then(|name| BACKENDS.iter().find(|b| b.0.eq_ignore_ascii_case(name.trim())));
        let (ws, api) = match named {
            Some((_, ws, api)) => ((*ws).to_owned(), (*api).to_owned()),
            None => (ws.to_owned(), api.to_owned()),
        };
        let plain = |url: String| url.trim().trim_end_matches('/').to_owned();
        Endpoints {
            ws: plain(var("SIMPLYPRINT_WS_URL").unwrap_or(ws)),
            api: plain(var("SIMPLYPRINT_API_URL").unwrap_or(api)),
        }
    }

    /// Hosts of the cloud itself. Files may lie there even when that is this machine.
    pub fn hosts(&self) -> Vec<String> {
        [&self.ws, &self.api]
            .into_iter()
            .filter_map(|url| host_of(url))
            .collect()
    }
}

/// Host of a URL, lower case, without port and brackets.
pub fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => host.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_configuration() {
        let none = |_: &str| None;
        let plain = Endpoints::resolve("wss://a/", "https://b", none);
        assert_eq!((plain.ws.as_str(), plain.api.as_str()), ("wss://a", "https://b"));
        let env = |name: &str| match name {
            "SIMPLYPRINT_WS_URL" => Some("ws://127.0.0.1:8081".to_owned()),
            "SIMPLYPRINT_API_URL" => Some(String::new()),
            _ => None,
        };
        let mixed = Endpoints::resolve("wss://a", "https://b", env);
        assert_eq!(mixed.ws, "ws://127.0.0.1:8081");
        assert_eq!(mixed.api, "https://b", "an empty variable says nothing");
        let backend = |name: &str| (name == "SIMPLYPRINT_BACKEND").then(|| "test".to_owned());
        assert_eq!(
            Endpoints::resolve("wss://a", "https://b", backend).ws,
            "wss://testws3.simplyprint.io"
        );
    }

    #[test]
    fn hosts_are_found_in_urls() {
        for (url, host) in [
            ("ws://127.0.0.1:8081", Some("127.0.0.1")),
            ("https://API.example/x:y@z", Some("api.example")),
            ("https://user:pw@h.example:1/", Some("h.example")),
            ("http://[::1]:80/", Some("::1")),
            ("nonsense", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }
}

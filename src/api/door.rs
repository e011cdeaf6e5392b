//! What stands before every route: is this host meant, who asks, may they, how often, and a line in the
//! log for every effect.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::{self, Caller, Names, Scope};
use super::envelope::Problem;
use super::keys::Keys;
use super::mcp;
use super::rate::{Rates, Standing};
use crate::agent::clock;

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Over the unix socket: its permissions are the authorization.
    Socket,
    /// Over the network, or this machine's part of it.
    Tcp(SocketAddr),
}

/// The number under which this machine's requests without a key are counted.
const LOOPBACK_ID: i64 = 0;

/// The rules of the door.
#[derive(Debug)]
pub struct Door {
    names: Names,
    loopback_key: bool,
    rates: Mutex<Rates>,
}

/// Whoever asks this has asked too often.
#[derive(Clone, Copy, Debug)]
pub struct Late(pub Standing);

/// The printers that a request acted upon, told by its endpoint for the log.
#[derive(Clone, Debug)]
pub struct Touched(pub Vec<i64>);

impl Door {
    /// `loopback_key`: whether this machine needs a key too; `per_min`: requests a minute and key.
    pub fn new(names: Names, loopback_key: bool, per_min: u32) -> Self {
        Door {
            names,
            loopback_key,
            rates: Mutex::new(Rates::new(per_min)),
        }
    }

    /// Forgets the counts of keys that are no more.
    pub fn forget_rates(&self, keys: &Keys) {
        self.rates().keep(|id| id == LOOPBACK_ID || keys.has(id));
    }

    /// Requests a minute and key; `None`: no limit.
    pub fn limit(&self) -> Option<u32> {
        self.rates().limit()
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn caller(
        &self,
        keys: &Keys,
        entrance: Option<Entrance>,
        headers: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let peer = match entrance {
            Some(Entrance::Socket) => return Ok(Caller::Socket),
            Some(Entrance::Tcp(peer)) => Some(peer),
            None => None,
        };
        if let Some(key) = access::presented(headers) {
            return keys.holder(key, clock::now().wall).ok_or_else(unknown);
        }
        let here =
            peer.is_some_and(|p| p.ip().to_canonical().is_loopback()) && !access::is_forwarded(headers);
        if here && !self.loopback_key {
            return Ok(Caller::Loopback);
        }
        Err(unknown())
    }
}

/// The documented words for no key and for a wrong one.
fn unknown() -> Problem {
    Problem::with(StatusCode::UNAUTHORIZED, "No API key provided, or not logged in").coded("refused/no-key")
}

fn host(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|v| v.to_str().ok());
    let authority = request.uri().authority().map(|a| a.as_str());
    header.or(authority).map(str::to_owned)
}

/// A request that calls this host by a name that is not its own was led here by somebody's name server.
pub(super) async fn host_is_ours(State(api): State<Api>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Entrance>() == Some(&Entrance::Socket) {
        return next.run(request).await;
    }
    match host(&request) {
        Some(host) if api.door.names.know(&host) => next.run(request).await,
        Some(host) => {
            let host: String = host.chars().take(80).collect();
            Problem::with(
                StatusCode::FORBIDDEN,
                format!("This host is not called {host:?}. Use its address, or add the name to `hosts` under [api]."),
            )
            .into_response()
        }
        None => Problem::bad("The request names no host.").into_response(),
    }
}

/// Lets in who has a key (or needs none), not too often; notes every effect.
pub(super) async fn admit(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let entrance = request.extensions().get::<Entrance>().copied();
    let from_socket = entrance == Some(Entrance::Socket);
    let own_host = host(&request).unwrap_or_default();
    if !from_socket && access::is_foreign(request.headers(), &own_host) {
        return Problem::with(
            StatusCode::FORBIDDEN,
            "A page of another site may not use this host. Open the page that this host serves.",
        )
        .into_response();
    }
    let caller = match api.door.caller(&api.keys, entrance, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => {
            let mut response = problem.into_response();
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            return response;
        }
    };
    // Nobody is ever told to wait with an emergency stop.
    let urgent = request.uri().path().ends_with("/printers/actions/EmergencyStop");
    let standing = match &caller {
        Caller::Socket => None,
        _ if urgent => None,
        Caller::Loopback => api.door.rates().ask(LOOPBACK_ID, clock::now().mono),
        Caller::Key { id, .. } => api.door.rates().ask(*id, clock::now().mono),
    };
    let over = standing.filter(|s| !s.passes);
    // There the tool is named in the body: whoever reads it answers for the limit.
    let reads_on = request.uri().path() == mcp::PATH;
    if let Some(standing) = over.filter(|_| reads_on) {
        request.extensions_mut().insert(Late(standing));
    } else if let Some(standing) = over {
        let words = format!(
            "Too many requests with this key; try again in {} s.",
            standing.wait_s
        );
        let mut response = Problem::with(StatusCode::TOO_MANY_REQUESTS, words).into_response();
        tell(&mut response, &api, standing);
        return response;
    }
    let asked = is_effect(request.method(), request.uri().path())
        .then(|| format!("{} {}", request.method(), request.uri()));
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    if let Some(asked) = asked {
        let printers = response.extensions().get::<Touched>().map(|t| t.0.clone());
        let from = match entrance {
            Some(Entrance::Tcp(peer)) => peer.ip().to_string(),
            _ => String::new(),
        };
        tracing::info!(
            code = "api/audit",
            who = caller.name(),
            from,
            printers = ?printers.unwrap_or_default(),
            status = response.status().as_u16(),
            "{}",
            asked.chars().take(300).collect::<String>()
        );
    }
    if let Some(standing) = standing {
        tell(&mut response, &api, standing);
    }
    response
}

/// Whether a request changes or gives away something that somebody may ask about later. Names of what only
/// looks begin with `Get` in this dialect, also where it is a POST; a backup holds every credential.
fn is_effect(method: &Method, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return matches!(name, "ResolveAll" | "Backup");
    }
    if path == mcp::PATH {
        // Its tools tell of their effects themselves.
        return false;
    }
    if path.starts_with("/p/") {
        // What follows may be the name of a file.
        return name != "login";
    }
    !name.starts_with("Get")
}

/// The headers that tell how much is left.
fn tell(response: &mut Response, api: &Api, standing: Standing) {
    let limit = api.door.rates().limit().unwrap_or_default();
    let reset = clock::now()
        .wall
        .as_second()
        .saturating_add(i64::try_from(standing.wait_s).unwrap_or(0));
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(standing.left));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    if !standing.passes {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(standing.wait_s));
    }
}

/// Lets through who may do this. Nobody is let through whom [`admit`] has not seen.
pub async fn needs(scope: Scope, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.may(scope) => next.run(request).await,
        Some(_) => Problem::with(
            StatusCode::FORBIDDEN,
            format!(
                "This key does not allow it: it needs the scope \"{}\".",
                scope.word()
            ),
        )
        .into_response(),
        None => unknown().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_of_effects_and_not_of_looks() {
        for (method, path, effect) in [
            (Method::GET, "/0/printers/Get", false),
            (Method::POST, "/0/printers/Get", false),
            (Method::POST, "/api/0/jobs/GetPaginatedPrintJobs", false),
            (Method::POST, "/0/webhooks/GetLogs", false),
            (Method::POST, "/p/ender3/api/login", false),
            (Method::POST, "/0/printers/actions/Pause", true),
            (Method::POST, "/0/files/Upload", true),
            (Method::POST, "/p/ender3/api/files/local", true),
            (Method::POST, "/p/ender3/api/files/local/Get", true),
            (Method::GET, "/0/printers/notification/ResolveAll", true),
            (Method::GET, "/0/agent/Backup", true),
            (Method::POST, "/0/agent/keys/Create", true),
            (Method::POST, "/mcp", false),
        ] {
            assert_eq!(is_effect(&method, path), effect, "{method} {path}");
        }
    }
}

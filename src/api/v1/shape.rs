//! How the two shapes say things. Pure.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use uuid::Uuid;

use crate::api::envelope::Problem;
use crate::config::model::V1;
use crate::job::record::JobState;
use crate::json::json;
use crate::printer::model::StateWord;

/// The code of a command whose effect nobody saw.
pub const UNVERIFIED: &str = "unverified/unverified";

/// The version of SoLoPrint's interface that is spoken.
pub const SOLO_SERIES: &str = "v1";
/// Its stamp.
pub const SOLO_VERSION: &str = "2026-04-02";
/// Where it is documented.
pub const SOLO_DOCS: &str = "https://www.soloprint.app/developers/api-docs";
/// What has changed in it.
pub const SOLO_CHANGELOG: &str = "https://www.soloprint.app/developers/changelog";

/// Documented for every response of SoLoPrint's shape.
pub const SOLO_HEADERS: [(&str, &str); 4] = [
    ("x-soloprint-api-series", SOLO_SERIES),
    ("x-soloprint-api-version", SOLO_VERSION),
    ("x-soloprint-api-docs", SOLO_DOCS),
    ("x-soloprint-api-changelog", SOLO_CHANGELOG),
];

/// Every word for where a printer stands.
pub const STATES: &[StateWord] = &[
    StateWord::Operational,
    StateWord::Printing,
    StateWord::Pausing,
    StateWord::Paused,
    StateWord::Resuming,
    StateWord::Cancelling,
    StateWord::Downloading,
    StateWord::Offline,
    StateWord::Error,
    StateWord::NotReady,
];

/// What is documented and has no place on a host beside printers: where the path begins (behind
/// `/v1`), and why.
const ELSEWHERE: &[(V1, &str, &str)] = &[
    (
        V1::SoloPrint,
        "/org/sso/",
        "Sign-in of people is the cloud's; this host has keys: layerd key create.",
    ),
    (
        V1::SoloPrint,
        "/org/users",
        "People and their roles are kept in the cloud; this host has keys: layerd key create.",
    ),
    (
        V1::SoloPrint,
        "/platform/classes",
        "Classes are kept in the cloud.",
    ),
    (
        V1::SoloPrint,
        "/platform/user-groups",
        "Groups of people are kept in the cloud.",
    ),
    (
        V1::SoloPrint,
        "/platform/sso/",
        "Sign-in of people is the cloud's.",
    ),
    (
        V1::SoloPrint,
        "/spools",
        "Spools are kept in the cloud; what a printer itself reports of its materials is in /v1/printers.",
    ),
    (
        V1::AutoPrintFarm,
        "/groups",
        "Groups of printers are kept in the cloud; a filter by group finds nothing here.",
    ),
    (
        V1::AutoPrintFarm,
        "/materials",
        "The stock of material is kept in the cloud; what a printer itself reports is in /v1/printers.",
    ),
    (
        V1::AutoPrintFarm,
        "/analytics",
        "Analytics and costs are the cloud's; this host counts in /metrics and /0/printers/GetCounters.",
    ),
];

/// Why a documented path is not served here.
pub fn kept_elsewhere(kind: V1, path: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(whose, begins, _)| {
            let rest = path.strip_prefix(begins);
            *whose == kind
                && rest.is_some_and(|r| r.is_empty() || r.starts_with('/') || begins.ends_with('/'))
        })
        .map(|(_, _, words)| *words)
}

/// Marks a response that has its shape.
#[derive(Clone, Copy, Debug)]
pub struct Told;

/// A failure in the configured shape; everything else as it is.
pub fn told(kind: V1, brought_key: bool, response: Response) -> Response {
    let status = response.status();
    if response.extensions().get::<Told>().is_some() {
        return response;
    }
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if status.is_client_error() || status.is_server_error() => {
            Problem::with(status, "The request was not understood.")
        }
        None => return response,
    };
    let (status, body) = failure(kind, brought_key, &problem);
    let (mut parts, _) = response.into_parts();
    parts.extensions.remove::<Problem>();
    parts.extensions.insert(Told);
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    parts.status = status;
    Response::from_parts(parts, body.to_string().into())
}

/// Status and body of a failure.
pub fn failure(kind: V1, brought_key: bool, problem: &Problem) -> (StatusCode, Value) {
    // What the native shape says with 200 is a conflict with the state of things.
    let status = match (problem.status, kind) {
        (StatusCode::OK, V1::SoloPrint) => StatusCode::CONFLICT,
        (StatusCode::OK, _) => StatusCode::BAD_REQUEST,
        (other, _) => other,
    };
    let code = code(kind, brought_key, problem);
    let body = if kind == V1::SoloPrint {
        json!({"error": code, "details": problem.message})
    } else {
        let (message, details) = match problem.message.split_once(". ") {
            Some((first, rest)) => (first, Some(rest)),
            None => (problem.message.as_str(), None),
        };
        let message = message.trim_end_matches('.');
        json!({"success": false, "error": {"code": code, "message": message, "details": details}})
    };
    (status, body)
}

/// Codes that say no more than the status does.
const BY_STATUS: &[&str] = &[
    "refused/not-available",
    "refused/not-found",
    "refused/bad-request",
    "layerd/failed",
    "refused/no-key",
];

/// One word in snake case.
fn code(kind: V1, brought_key: bool, problem: &Problem) -> String {
    let own = !BY_STATUS.contains(&problem.code);
    if own && problem.status != StatusCode::TOO_MANY_REQUESTS {
        let last = problem.code.rsplit('/').next().unwrap_or_default();
        return last.replace('-', "_");
    }
    let word = match (problem.status, kind) {
        (StatusCode::UNAUTHORIZED, V1::SoloPrint) if brought_key => "invalid_bearer_token",
        (StatusCode::UNAUTHORIZED, V1::SoloPrint) => "missing_bearer_token",
        (StatusCode::UNAUTHORIZED, _) => "invalid_api_key",
        (StatusCode::FORBIDDEN, _) => "insufficient_permissions",
        (StatusCode::NOT_FOUND, _) => "not_found",
        (StatusCode::METHOD_NOT_ALLOWED, _) => "method_not_allowed",
        (StatusCode::NOT_ACCEPTABLE, _) => "not_acceptable",
        (StatusCode::REQUEST_TIMEOUT, _) => "request_timeout",
        (StatusCode::PAYLOAD_TOO_LARGE, _) => "payload_too_large",
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => "unsupported_media_type",
        (StatusCode::TOO_MANY_REQUESTS, _) => "rate_limit_exceeded",
        (StatusCode::OK, _) => "not_available",
        (status, _) if status.is_server_error() => "internal_error",
        _ => "invalid_request",
    };
    word.to_owned()
}

/// The number behind a prefix, or alone.
pub fn number(text: &str, prefix: &str) -> Option<i64> {
    let text = text.strip_prefix(prefix).unwrap_or(text);
    text.parse().ok().filter(|n| *n > 0)
}

/// The id of a printer.
pub fn printer_id(id: i64) -> String {
    format!("prt_{id}")
}

/// The id of a job.
pub fn job_id(uid: Uuid) -> String {
    format!("job_{}", uid.simple())
}

/// AutoPrintFarm's word for where a job stands. `stands`: its printer has paused.
pub fn job_status(state: JobState, stands: bool) -> &'static str {
    match state {
        JobState::Queued | JobState::Fetching | JobState::Checking | JobState::Armed | JobState::Starting => {
            "queued"
        }
        JobState::Running if stands => "paused",
        JobState::Running => "printing",
        JobState::Done => "completed",
        JobState::Cancelled => "cancelled",
        JobState::Failed | JobState::Interrupted => "failed",
    }
}

/// The states behind such a word.
pub fn job_states(word: &str) -> Option<&'static [JobState]> {
    Some(match word {
        "queued" => &[
            JobState::Queued,
            JobState::Fetching,
            JobState::Checking,
            JobState::Armed,
            JobState::Starting,
        ],
        "printing" | "paused" => &[JobState::Running],
        "completed" => &[JobState::Done],
        "cancelled" => &[JobState::Cancelled],
        "failed" => &[JobState::Failed, JobState::Interrupted],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_documented_bodies() {
        let key = Problem::with(StatusCode::UNAUTHORIZED, "No API key provided.").coded("refused/no-key");
        let (status, body) = failure(V1::SoloPrint, false, &key);
        assert_eq!(
            (status.as_u16(), &body["error"]),
            (401, &json!("missing_bearer_token"))
        );
        assert_eq!(
            failure(V1::SoloPrint, true, &key).1["error"],
            "invalid_bearer_token"
        );
        let printer = Problem::not_found("Printer not found. No printer with ID prt_abc123")
            .coded("refused/invalid-printer");
        assert_eq!(
            failure(V1::AutoPrintFarm, true, &printer),
            (
                StatusCode::NOT_FOUND,
                json!({"success": false, "error": {
                    "code": "invalid_printer", "message": "Printer not found",
                    "details": "No printer with ID prt_abc123"}})
            )
        );
        let state = Problem::said("Printer 1 is operational.").coded("refused/wrong-state");
        let (status, body) = failure(V1::SoloPrint, true, &state);
        assert_eq!((status.as_u16(), &body["error"]), (409, &json!("wrong_state")));
        let (status, body) = failure(V1::AutoPrintFarm, true, &state);
        assert_eq!(
            (status.as_u16(), &body["error"]["code"]),
            (400, &json!("wrong_state"))
        );
        let often = Problem::with(StatusCode::TOO_MANY_REQUESTS, "Too many.");
        assert_eq!(
            failure(V1::AutoPrintFarm, true, &often).1["error"]["code"],
            "rate_limit_exceeded"
        );
    }

    #[test]
    fn what_only_a_cloud_has_is_told_apart_from_what_nobody_has() {
        let told = |kind, path| kept_elsewhere(kind, path).is_some();
        assert!(told(V1::SoloPrint, "/spools/7/deduct") && told(V1::SoloPrint, "/org/users"));
        assert!(told(V1::SoloPrint, "/org/sso/complete"));
        assert!(!told(V1::SoloPrint, "/spoolsters") && !told(V1::SoloPrint, "/materials"));
        assert!(told(V1::AutoPrintFarm, "/materials") && !told(V1::AutoPrintFarm, "/spools"));
    }

    #[test]
    fn ids_are_read_with_and_without_their_prefix() {
        assert_eq!(number("prt_12", "prt_"), Some(12));
        assert_eq!(number("12", "prt_"), Some(12));
        for bad in ["prt_", "prt_x", "-1", "0", "job_1", "99999999999999999999"] {
            assert_eq!(number(bad, "prt_"), None, "{bad}");
        }
    }

    #[test]
    fn every_state_of_a_job_is_found_by_its_word() {
        use JobState::*;
        for state in [
            Queued,
            Fetching,
            Checking,
            Armed,
            Starting,
            Running,
            Done,
            Failed,
            Cancelled,
            Interrupted,
        ] {
            for stands in [false, true] {
                let states = job_states(job_status(state, stands)).expect("a word");
                assert!(states.contains(&state), "{state:?}");
            }
        }
        assert_eq!(job_states("x"), None);
    }
}

//! The page at `/`: hand-written files inside the binary, sent compressed. They ask nothing of any other host
//! and hold no secret, so they need no key; what they show comes over the public API with the caller's.

use std::io::Read as _;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::Api;
use super::envelope::Problem;
use super::method::get;

/// Nothing from elsewhere, no inline script or style, no frames. Pictures of cameras are made in the page
/// (`blob:`), because their request needs a header.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                      connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, type, and the content as gzip, which is how the build script leaves it.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! page {
    ($name:literal, $kind:expr) => {
        (
            $name,
            $kind,
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz")),
        )
    };
}

const FILES: &[File] = &[
    page!("index.html", HTML),
    page!("style.css", "text/css; charset=utf-8"),
    page!("icon.svg", "image/svg+xml"),
    page!("manifest.json", "application/manifest+json"),
    page!("docs.html", HTML),
    page!("docs.js", SCRIPT),
    page!("app.js", SCRIPT),
    page!("api.js", SCRIPT),
    page!("console.js", SCRIPT),
    page!("curve.js", SCRIPT),
    page!("dom.js", SCRIPT),
    page!("history.js", SCRIPT),
    page!("plate.js", SCRIPT),
    page!("printer.js", SCRIPT),
    page!("recover.js", SCRIPT),
    page!("start.js", SCRIPT),
    page!("status.js", SCRIPT),
    page!("words.js", SCRIPT),
];

/// The plain form, for the rare one that does not take gzip.
fn plain(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    // What the build script packed comes out again; the tests see to it.
    let _ = GzDecoder::new(packed).read_to_end(&mut plain);
    plain
}

/// Changes with the content.
fn tag(packed: &[u8]) -> HeaderValue {
    let hash = Sha256::digest(packed);
    let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// `/`, `/docs` and `/page/NAME`. They need no key.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| serve("index.html", &headers)))
        .route(
            "/docs",
            get(async |headers: HeaderMap| serve("docs.html", &headers)),
        )
        .route("/page/{name}", get(file))
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    serve(&name, &headers)
}

fn serve(name: &str, headers: &HeaderMap) -> Response {
    let Some((_, kind, packed)) = FILES.iter().copied().find(|file| file.0 == name) else {
        return Problem::not_found("There is no such path.").into_response();
    };
    let fixed: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "Accept-Encoding"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
        ),
    ];
    let tag = tag(packed);
    let known = said(headers, &header::IF_NONE_MATCH).any(|known| known.trim() == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if takes_gzip(headers) {
        let head = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (head, packed).into_response()
    } else {
        plain(packed).into_response()
    };
    let head = response.headers_mut();
    for (name, value) in fixed {
        head.insert(name, HeaderValue::from_static(value));
    }
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    head.insert(header::ETAG, tag);
    response
}

/// The entries of a header that is a list.
fn said<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    said(headers, &header::ACCEPT_ENCODING).any(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let named = matches!(parts.next(), Some("gzip" | "*"));
        named
            && !parts.any(|q| {
                matches!(
                    q.replace(' ', "").as_str(),
                    "q=0" | "q=0.0" | "q=0.00" | "q=0.000"
                )
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn all_of_it_is_small_and_comes_out_as_it_was_written() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/page");
        for (name, _, packed) in FILES {
            let written = std::fs::read(dir.join(name)).expect("a file");
            assert_eq!(plain(packed), written, "{name}");
        }
        let written = std::fs::read_dir(dir).expect("a folder").count();
        assert_eq!(FILES.len(), written, "every file of the folder is served");
        let sum: usize = FILES.iter().map(|(_, _, packed)| packed.len()).sum();
        assert!((1000..=150_000).contains(&sum), "{sum} bytes over the wire");
    }

    #[test]
    fn it_names_only_what_is_there_and_nothing_elsewhere() {
        for (file, _, packed) in FILES {
            let text = String::from_utf8(plain(packed)).expect("text");
            for (at, _) in text.match_indices("://") {
                let start = text[..at]
                    .rfind(|c: char| !c.is_alphanumeric())
                    .map_or(0, |n| n + 1);
                let end = text[at..]
                    .find(['"', '\'', '`', ' '])
                    .map_or(text.len(), |n| at + n);
                let address = &text[start..end];
                // Names of XML vocabularies are no addresses that anything asks.
                assert!(address.starts_with("http://www.w3.org/"), "{file}: {address}");
            }
            for (at, _) in text.match_indices("/page/") {
                let name: String = text[at + 6..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '.')
                    .collect();
                assert!(FILES.iter().any(|file| file.0 == name), "{file} names {name}");
            }
            for (at, _) in text.match_indices("from \"./") {
                let name: String = text[at + 8..].chars().take_while(|c| *c != '"').collect();
                assert!(FILES.iter().any(|file| file.0 == name), "{file} imports {name}");
            }
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(
                    !text.contains(way),
                    "{file}: {way} makes markup of what comes from outside"
                );
            }
            assert!(
                !text.contains("style=") && !text.contains("<script>"),
                "{file}: the policy forbids it"
            );
        }
    }

    #[test]
    fn what_the_browser_has_is_not_sent_again() {
        let first = serve("app.js", &head(header::ACCEPT_ENCODING, "gzip, deflate"));
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = first.headers()[header::ETAG].to_str().expect("a tag").to_owned();
        let again = serve("app.js", &head(header::IF_NONE_MATCH, &format!("\"x\", {tag}")));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let plain = serve("app.js", &head(header::ACCEPT_ENCODING, "gzip;q=0, identity"));
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert!(
            plain.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .expect("text")
                .contains("default-src 'none'")
        );
        assert_eq!(
            serve("../../etc/passwd", &HeaderMap::new()).status(),
            StatusCode::NOT_FOUND
        );
    }
}

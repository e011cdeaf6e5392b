//! The page at `/`: hand-written files inside the binary, sent compressed. They ask nothing of any other host
//! and hold no secret, so they need no key; what they show comes over the public API with the caller's.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
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

/// Name, type, content.
type File = (&'static str, &'static str, &'static [u8]);

const FILES: &[File] = &[
    ("index.html", HTML, include_bytes!("page/index.html")),
    (
        "style.css",
        "text/css; charset=utf-8",
        include_bytes!("page/style.css"),
    ),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    (
        "manifest.json",
        "application/manifest+json",
        include_bytes!("page/manifest.json"),
    ),
    ("docs.html", HTML, include_bytes!("page/docs.html")),
    ("docs.js", SCRIPT, include_bytes!("page/docs.js")),
    ("app.js", SCRIPT, include_bytes!("page/app.js")),
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("console.js", SCRIPT, include_bytes!("page/console.js")),
    ("curve.js", SCRIPT, include_bytes!("page/curve.js")),
    ("dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("history.js", SCRIPT, include_bytes!("page/history.js")),
    ("plate.js", SCRIPT, include_bytes!("page/plate.js")),
    ("printer.js", SCRIPT, include_bytes!("page/printer.js")),
    ("recover.js", SCRIPT, include_bytes!("page/recover.js")),
    ("start.js", SCRIPT, include_bytes!("page/start.js")),
    ("status.js", SCRIPT, include_bytes!("page/status.js")),
    ("words.js", SCRIPT, include_bytes!("page/words.js")),
];

/// A file as it is sent.
struct Asset {
    name: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    /// Gzip of it.
    packed: Vec<u8>,
    /// Changes with the content.
    tag: HeaderValue,
}

/// All of them; compressed when somebody asks for the first time.
fn assets() -> &'static [Asset] {
    static ASSETS: OnceLock<Vec<Asset>> = OnceLock::new();
    ASSETS.get_or_init(|| FILES.iter().map(asset).collect())
}

fn asset(&(name, kind, plain): &File) -> Asset {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Into memory: it cannot fail, and if it did the plain file goes out.
    let packed = encoder
        .write_all(plain)
        .and_then(|()| encoder.finish())
        .unwrap_or_default();
    let hash = Sha256::digest(plain);
    let hex: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
    Asset {
        name,
        kind,
        plain,
        packed,
        tag: HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
    }
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
    let Some(asset) = assets().iter().find(|a| a.name == name) else {
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
    let known = said(headers, &header::IF_NONE_MATCH).any(|tag| tag.trim() == asset.tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if !asset.packed.is_empty() && takes_gzip(headers) {
        let head = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        (head, asset.packed.as_slice()).into_response()
    } else {
        asset.plain.into_response()
    };
    let head = response.headers_mut();
    for (name, value) in fixed {
        head.insert(name, HeaderValue::from_static(value));
    }
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    head.insert(header::ETAG, asset.tag.clone());
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
    use std::io::Read as _;

    use super::*;

    fn head(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn all_of_it_is_small_and_comes_back_as_it_was() {
        let mut sum = 0;
        for asset in assets() {
            sum += asset.packed.len();
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(asset.packed.as_slice())
                .read_to_end(&mut back)
                .expect("gzip");
            assert_eq!(back, asset.plain, "{}", asset.name);
        }
        assert!((1000..=150_000).contains(&sum), "{sum} bytes over the wire");
    }

    #[test]
    fn it_names_only_what_is_there_and_nothing_elsewhere() {
        for asset in assets() {
            let text = String::from_utf8_lossy(asset.plain);
            for (at, _) in text.match_indices("://") {
                let start = text[..at]
                    .rfind(|c: char| !c.is_alphanumeric())
                    .map_or(0, |n| n + 1);
                let end = text[at..]
                    .find(['"', '\'', '`', ' '])
                    .map_or(text.len(), |n| at + n);
                let address = &text[start..end];
                // Names of XML vocabularies are no addresses that anything asks.
                assert!(
                    address.starts_with("http://www.w3.org/"),
                    "{}: {address}",
                    asset.name
                );
            }
            for (at, _) in text.match_indices("/page/") {
                let name: String = text[at + 6..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '.')
                    .collect();
                assert!(
                    assets().iter().any(|a| a.name == name),
                    "{} names {name}",
                    asset.name
                );
            }
            for (at, _) in text.match_indices("from \"./") {
                let name: String = text[at + 8..].chars().take_while(|c| *c != '"').collect();
                assert!(
                    assets().iter().any(|a| a.name == name),
                    "{} imports {name}",
                    asset.name
                );
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
                    "{}: {way} makes markup of what comes from outside",
                    asset.name
                );
            }
            assert!(
                !text.contains("style=") && !text.contains("<script>"),
                "{}: the policy forbids it",
                asset.name
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

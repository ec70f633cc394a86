//! `/` and `/assets/…`: the dashboard, a page in the browser made of files in the binary.
//!
//! The files are the same for everybody, and anyone may have them: they hold no figure. What the
//! page shows it asks of the API, with the token of a session. It loads nothing from elsewhere, and
//! the policy it is sent with sees to it that it could not.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::routes::{Refusal, Shared};

/// Paths and contents, sorted by path: gathered by `dashboard/embed.rs` when the agent is built.
static FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// One tag for each of [`FILES`], made of its content.
static TAGS: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| {
    let tag = |(_, bytes): &(&str, &[u8])| {
        let hash = digest(&SHA256, bytes);
        let hex = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}"));
        HeaderValue::try_from(format!("\"{}\"", hex.collect::<String>()))
            .unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    };
    FILES.iter().map(tag).collect()
});

/// Scripts, styles and answers of this origin; no frames around it, nothing from anywhere else,
/// nothing inline. Colours and lengths are set through the CSSOM, which this allows.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'none'; require-trusted-types-for 'script'";

/// What every file is sent with. It may be kept, but must be asked about each time: after an
/// upgrade of the agent the page is the new one at once.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| file("/", &headers)))
        .route("/assets/{*path}", get(asset))
}

async fn asset(
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Path(path) = path?;
    file(&format!("/assets/{path}"), &headers)
}

fn file(path: &str, asked: &HeaderMap) -> Result<Response, Refusal> {
    let found = FILES.binary_search_by_key(&path, |(path, _)| path);
    let found = found.ok().and_then(|at| Some((FILES.get(at)?, TAGS.get(at)?)));
    let Some(((path, bytes), tag)) = found else {
        return Err(Refusal::NotFound("the dashboard has no such file".to_owned()));
    };
    let mut response = if has(asked, tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind(path))], *bytes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag.clone());
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Whether the client says that it has this version (RFC 9110, section 13.1.2; weak comparison).
fn has(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    let mut known = lists.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|it| it == "*" || it.trim_start_matches("W/").as_bytes() == tag.as_bytes())
}

fn kind(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        let (_, bytes) = FILES.iter().find(|(found, _)| *found == path).expect(path);
        std::str::from_utf8(bytes).unwrap()
    }

    /// Our own files: not the library's, not its license.
    fn own() -> impl Iterator<Item = &'static str> {
        let paths = FILES.iter().map(|(path, _)| *path);
        paths.filter(|path| !path.contains("/vendor/") && !path.contains("LICENSES"))
    }

    /// What stands between `before` and the next quotation mark.
    fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        let starts = text.match_indices(before).map(move |(at, _)| at + before.len());
        starts.filter_map(|at| text[at..].split('"').next())
    }

    /// A path as the browser resolves it.
    fn resolve(from: &str, to: &str) -> String {
        if to.starts_with('/') {
            return to.to_owned();
        }
        let mut parts: Vec<&str> = from.split('/').collect();
        parts.pop();
        for part in to.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    #[test]
    fn every_file_a_page_asks_for_is_there() {
        let is_there = |path: &str| FILES.iter().any(|(found, _)| *found == path);
        let mut asked = 0;
        for path in own() {
            let (before, relative): (&[&str], _) = match kind(path).split(';').next() {
                Some("text/html") => (&["src=\"", "href=\"/"], false),
                Some("text/javascript") => (&["from \"", "import \""], true),
                _ => continue,
            };
            for to in before.iter().flat_map(|before| quoted(text(path), before)) {
                let to = if relative {
                    resolve(path, to)
                } else {
                    format!("/{}", to.trim_start_matches('/'))
                };
                assert!(is_there(&to), "{path} asks for {to}");
                asked += 1;
            }
        }
        assert!(asked > 50, "{asked}");
    }

    #[test]
    fn nothing_is_asked_of_elsewhere_and_no_text_becomes_code() {
        const BANNED: [&str; 10] = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "style=\"",
            "onclick=",
            "@import",
            "url(",
        ];
        for path in own() {
            let text = text(path);
            for banned in BANNED {
                assert!(!text.contains(banned), "{path}: {banned}");
            }
            // A namespace is a name, not an address.
            let rest = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains("http://") && !rest.contains("https://"), "{path}");
        }
    }

    #[test]
    fn files_say_what_they_are_and_are_sent_once() {
        for (path, starts) in [
            ("/", "text/html"),
            ("/assets/js/main.js", "text/javascript"),
            ("/assets/css/base.css", "text/css"),
            ("/assets/icon.svg", "image/svg+xml"),
            ("/assets/vendor/uPlot.esm.js", "text/javascript"),
            ("/assets/LICENSES.txt", "text/plain"),
        ] {
            let first = file(path, &HeaderMap::new()).unwrap();
            assert_eq!(first.status(), StatusCode::OK);
            let header = |name: &str| first.headers()[name].to_str().unwrap();
            assert!(header("content-type").starts_with(starts), "{path}");
            assert!(
                header("content-security-policy").starts_with("default-src 'none'; script-src")
            );
            assert_eq!(header("x-content-type-options"), "nosniff");
            let mut asked = HeaderMap::new();
            let tag = first.headers()[header::ETAG].to_str().unwrap();
            let known = format!("\"other\", W/{tag}");
            asked.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&known).unwrap());
            assert_eq!(file(path, &asked).unwrap().status(), StatusCode::NOT_MODIFIED);
            asked.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
            assert_eq!(file(path, &asked).unwrap().status(), StatusCode::OK);
        }
        assert!(file("/assets/package.json", &HeaderMap::new()).is_err());
        assert!(file("/assets/../mod.rs", &HeaderMap::new()).is_err());
    }

    #[test]
    fn the_library_is_named_with_its_license() {
        let text = text("/assets/LICENSES.txt");
        for word in ["uPlot 1.", "MIT License", "Leon Sorokin", "Permission is hereby granted"] {
            assert!(text.contains(word), "{word}");
        }
    }
}

//! One POST over HTTP/1.1. Redirects are not followed: they could lead to where a URL may not.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::delivery::{Again, Failed};
use super::dial::Dial;
use super::settings::Url;
use crate::upstream::Offer;

/// Posts JSON; fails unless the answer is a 2xx.
pub(crate) async fn json(
    dial: &Dial,
    url: &Url,
    (headers, body): (HeaderMap, Bytes),
    allow_private: bool,
) -> Result<(), Failed> {
    let addresses = dial.permitted((&url.host, url.port), allow_private).await?;
    let mut io = dial.connect(&addresses).await?;
    if url.tls {
        io = dial.secure(io, &url.host, Offer::Http1).await?;
    }
    let request = request(url, headers, body).map_err(|error| Failed::never(error.to_string()))?;
    let broken =
        |error: hyper::Error| Failed::later(format!("{} did not answer: {error}", url.host));
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    let mut connection = pin!(connection);
    let mut asking = pin!(sender.send_request(request));
    let answer = tokio::select! {
        biased;
        answer = &mut asking => answer,
        // The answer may have come with the end; if not, it says why.
        _ended = &mut connection => asking.await,
    };
    judge(&answer.map_err(broken)?.map(drop))
}

fn request(
    url: &Url,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let host =
        if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.to_string() };
    let usual = if url.tls { 443 } else { 80 };
    let host = if url.port == usual { host } else { format!("{host}:{}", url.port) };
    let mut request = Request::post(&*url.path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(body))?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// What an answer means. Its body is not looked at: it could repeat what it was sent.
fn judge(answer: &http::Response<()>) -> Result<(), Failed> {
    let status = answer.status();
    let what = format!("the receiver answered {status}");
    match status {
        _ if status.is_success() => Ok(()),
        _ if status.is_redirection() => {
            Err(Failed::never(format!("{what}: redirects are not followed")))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(Failed { what, again: wait(answer.headers()) })
        }
        _ if status.is_server_error() => Err(Failed { what, again: wait(answer.headers()) }),
        _ => Err(Failed::never(what)),
    }
}

/// `Retry-After` in seconds; dates are rare here, and the usual wait serves as well.
fn wait(headers: &HeaderMap) -> Again {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.map_or(Again::Later, |seconds| Again::After(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(status: u16, after: Option<&str>) -> Option<Again> {
        let mut answer = http::Response::builder().status(status);
        if let Some(after) = after {
            answer = answer.header(header::RETRY_AFTER, after);
        }
        judge(&answer.body(()).unwrap()).err().map(|failed| failed.again)
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [200, 202, 204] {
            assert_eq!(again(status, None), None, "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 410, 422] {
            assert_eq!(again(status, None), Some(Again::Never), "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503] {
            assert_eq!(again(status, None), Some(Again::Later), "{status}");
        }
        assert_eq!(again(429, Some("7")), Some(Again::After(Duration::from_secs(7))));
        assert_eq!(again(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")), Some(Again::Later));
    }

    #[test]
    fn the_host_is_written_as_the_url_has_it() {
        for (url, host) in [
            ("https://a.test/x?y", "a.test"),
            ("http://a.test:443/", "a.test:443"),
            ("http://[::1]:9/", "[::1]:9"),
        ] {
            let request = request(&url.parse().unwrap(), HeaderMap::new(), Bytes::new()).unwrap();
            assert_eq!(request.headers()[header::HOST], host);
        }
    }
}

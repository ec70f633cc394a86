//! Header fields that end at us, in both directions.

use http::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response};

use crate::record::CallId;

/// Name of the response field that carries the call's id.
pub const CALL_ID: HeaderName = HeaderName::from_static("x-weir-call-id");

/// Names of the response fields that say who answered, where that is another than was asked.
pub const MODEL_SERVED: HeaderName = HeaderName::from_static("x-weir-model-served");
/// See [`MODEL_SERVED`].
pub const PROVIDER_SERVED: HeaderName = HeaderName::from_static("x-weir-provider-served");

/// Fields that concern one connection only (RFC 9110 §7.6.1), besides those `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes from a request what must not reach the provider.
pub fn strip_request<B>(request: &mut Request<B>) {
    strip(request.headers_mut());
    // Answered by our own server when the body is asked for.
    request.headers_mut().remove(header::EXPECT);
}

/// Removes from a response what must not reach the client, and names the call.
pub fn strip_response<B>(response: &mut Response<B>, call: Option<CallId>) {
    strip(response.headers_mut());
    // An invitation to HTTP/3, where nothing could be metered.
    response.headers_mut().remove(header::ALT_SVC);
    if let Some(CallId(call)) = call
        && let Ok(value) = HeaderValue::from_str(call.array_to_str(&mut [0; ulid::ULID_LEN]))
    {
        response.headers_mut().insert(CALL_ID, value);
    }
}

/// Says who answered in the place of the one that was asked.
pub fn served(headers: &mut HeaderMap, provider: &str, model: &str) {
    for (name, value) in [(PROVIDER_SERVED, provider), (MODEL_SERVED, model)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// Leaves of a translated response's fields those that still hold: the body is another one.
pub fn rewrite_response(headers: &mut HeaderMap, sse: bool) {
    const KEPT: [HeaderName; 6] = [
        header::DATE,
        header::RETRY_AFTER,
        HeaderName::from_static("request-id"),
        HeaderName::from_static("x-request-id"),
        MODEL_SERVED,
        PROVIDER_SERVED,
    ];
    let kept = KEPT.into_iter().filter_map(|name| headers.remove(&name).map(|value| (name, value)));
    let kept: HeaderMap = kept.collect();
    *headers = kept;
    let kind = if sse { "text/event-stream; charset=utf-8" } else { "application/json" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
}

/// Drops the content codings we could not read from what the client accepts (RFC 9110 §12.5.3),
/// so that usage stays legible. Nothing is added to the list.
pub fn limit_codings(headers: &mut HeaderMap) {
    const READ: [&str; 5] = ["gzip", "x-gzip", "deflate", "br", "identity"];
    let legible = |item: &&str| {
        let coding = item.split(';').next().unwrap_or_default().trim();
        coding.is_empty() || READ.iter().any(|read| coding.eq_ignore_ascii_case(read))
    };
    let accepted = || {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
        lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','))
    };
    if accepted().all(|item| legible(&item)) {
        return;
    }
    let kept: Vec<&str> = accepted().map(str::trim).filter(legible).collect();
    let value = if kept.is_empty() { "identity".to_owned() } else { kept.join(", ") };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    // Ours alone to set, in either direction.
    headers.remove(CALL_ID);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn hop_by_hop_fields_and_those_connection_names_end_here() {
        let mut map = headers(&[
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic Zm9v"),
            ("x-weir-call-id", "forged"),
            ("authorization", "Bearer sk-1"),
        ]);
        strip(&mut map);
        assert_eq!(map, headers(&[("authorization", "Bearer sk-1")]));
    }

    #[test]
    fn only_codings_we_can_read_are_accepted() {
        for (client, upstream) in [
            ("gzip, deflate, br, zstd", "gzip, deflate, br"),
            ("gzip;q=1.0, br;q=0.5", "gzip;q=1.0, br;q=0.5"),
            ("zstd", "identity"),
            ("*", "identity"),
        ] {
            let mut map = headers(&[("accept-encoding", client)]);
            limit_codings(&mut map);
            assert_eq!(map[header::ACCEPT_ENCODING], upstream);
        }
    }
}

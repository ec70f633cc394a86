//! A call's place in a trace: found when it begins, and told to the provider with each try.

use http::HeaderMap;
use hyper::Request;
use hyper::header::HeaderValue;

use super::{Exchange, Rules};
use crate::record::Kind;
use crate::record::trace::{self, TRACEPARENT, TRACESTATE, Trace};

/// The place of a call that begins with these headers; `None` where it is not kept.
pub(super) fn begun(rules: &Rules, kind: Kind, headers: &HeaderMap) -> Option<Box<Trace>> {
    let rate = rules.tracing.filter(|_| kind != Kind::Request)?;
    Trace::of(headers, rate, || fastrand::u64(..)).map(Box::new)
}

impl Exchange {
    /// Tells the provider of the try that it answers: its span goes below the try's. A client's own
    /// headers are replaced, and left alone where it has signed them.
    pub(super) fn trace<B>(&self, request: &mut Request<B>) {
        let Some(record) = self.record().filter(|record| record.kind != Kind::Request) else {
            return;
        };
        let Some(trace) = &record.trace else { return };
        if trace::is_signed(request.headers(), request.uri().query()) {
            return;
        }
        let parent = HeaderValue::from_str(&trace.traceparent(record.attempts.len()));
        let state = trace.state.as_deref().map(HeaderValue::from_str);
        let headers = request.headers_mut();
        headers.remove(TRACESTATE);
        if let Ok(parent) = parent {
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(Ok(state)) = state {
            headers.insert(TRACESTATE, state);
        }
    }
}

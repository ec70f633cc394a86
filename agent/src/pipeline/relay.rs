//! Giving the answer back: every chunk as it comes, the last one only when the record is safe.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::header;
use hyper::{HeaderMap, Response};

use super::body::{Body, own};
use super::bridge::Bridge;
use super::dispatch::{Answer, Repeated, Watch};
use super::source::Source;
use super::wait::Settling;
use super::{Exchange, Reject, headers, refusal};
use crate::llm::call::Kind;
use crate::llm::meter::{Encoding, Meter, MeterOptions};
use crate::record::{Flag, Outcome};
use crate::upstream::BoxError;

/// A provider's body on its way through.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that have nothing to do with each other")]
pub struct Relay {
    exchange: Exchange,
    inner: Source,
    meter: Option<Meter>,
    /// Between the provider's format and the client's, where they differ.
    bridge: Option<Bridge>,
    /// Whether the stream begins well is still to be told to the breakers.
    watch: Option<Watch>,
    repeated: Option<Repeated>,
    /// The newest chunk stays behind, as it may be the last one, which waits for the record.
    keeps_back: bool,
    /// A chunk will be left out: the provider's length does not hold.
    length_changes: bool,
    /// A policy may end it between two events.
    may_stop: bool,
    /// May go to the client now.
    ready: Option<Bytes>,
    /// Ends the body.
    trailers: Option<Frame<Bytes>>,
    /// What the provider's body broke with, met before the head went out.
    broken: Option<BoxError>,
    /// Goes out once the call is settled and the wait below is over.
    held: VecDeque<Frame<Bytes>>,
    settling: Option<Settling>,
    over: bool,
    /// Why it is over before its end.
    cut: Option<BoxError>,
}

/// Turns a provider's response into ours.
pub async fn stream(mut exchange: Exchange, answer: Answer) -> Response<Body> {
    let Answer { mut parts, source: inner, route, bridge, watch, repeated } = answer;
    let sse = is_event_stream(&parts.headers);
    let mut hides = false;
    let meter = (exchange.route.kind == Kind::Call && !exchange.is_settled()).then(|| {
        exchange.note(|record| {
            record.stream |= sse;
            hides = record.flags.contains(&Flag::UsageInjected) && bridge.is_none();
        });
        Meter::new(MeterOptions {
            route,
            format: exchange.context.parties.provider.format,
            sse,
            encoding: encoding(&parts.headers),
            hide_usage: hides,
            status: parts.status.as_u16(),
        })
    });
    if bridge.is_some() {
        headers::rewrite_response(&mut parts.headers, sse);
    }
    let call = exchange.call_id();
    let is_encoded = encoding(&parts.headers) != Encoding::Identity;
    let mut relay = Relay {
        exchange,
        inner,
        meter,
        length_changes: hides && sse || bridge.is_some(),
        bridge,
        watch,
        repeated,
        keeps_back: false,
        // Compressed bytes have no place for an event of ours.
        may_stop: sse && !is_encoded,
        ready: None,
        trailers: None,
        broken: None,
        held: VecDeque::new(),
        settling: None,
        over: false,
        cut: None,
    };
    if relay.length_changes || relay.may_stop {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    // Without a length only the end itself tells which chunk of an answer was its last.
    let whole = relay.meter.is_some() && !sse;
    relay.keeps_back = whole && relay.inner.size_hint().exact().is_none();
    if relay.inner.is_end_stream() {
        // Nothing will be polled: the head is all there is, and it waits like a last byte.
        relay.conclude(Outcome::Ok);
    } else if whole {
        std::future::poll_fn(|cx| relay.gather(cx)).await;
    }
    if relay.over
        && let Some(mut settling) = relay.settling.take()
    {
        std::future::poll_fn(|cx| settling.poll(cx)).await;
    }
    let mut response = Response::from_parts(
        {
            // What the body becomes is for our own server to frame.
            parts.version = hyper::Version::HTTP_11;
            parts
        },
        Body::Relayed(Box::new(relay)),
    );
    headers::strip_response(&mut response, call);
    response
}

/// Answers instead of the provider.
pub async fn refuse(mut exchange: Exchange, reject: &Reject) -> Response<Body> {
    let told = reject.told();
    if let Some(fault) = reject.fault() {
        exchange.context.sink.fault(exchange.context.parties.via.listener(), fault);
    }
    exchange.note(|record| {
        record.status.get_or_insert(told.status.as_u16());
        record.error = Some(reject.to_string());
    });
    let call = exchange.call_id();
    let dialect = refusal::dialect(exchange.route, exchange.context.parties.provider.format);
    let body = Bytes::from(reject.body(dialect));
    if let Some(answer) = exchange.settle(told.outcome, None) {
        let sink = Arc::clone(&exchange.context.sink);
        let mut settling = Settling::new(answer, sink);
        std::future::poll_fn(|cx| settling.poll(cx)).await;
    }
    let mut response = own(told.status, body);
    response.headers_mut().extend(reject.headers());
    headers::strip_response(&mut response, call);
    response
}

impl Relay {
    /// Takes a chunk from the provider: what may go on goes to `ready`, what must wait to `held`.
    fn take(&mut self, chunk: Bytes) {
        self.exchange.note(|record| record.bytes_out += chunk.len() as u64);
        let (release, hold) = match &mut self.meter {
            None => (chunk, Bytes::new()),
            Some(meter) => {
                let fed = meter.feed(chunk);
                if fed.content {
                    self.exchange.content_began();
                    if let Some(watch) = self.watch.take() {
                        watch.well(&self.exchange);
                    }
                }
                match &mut self.bridge {
                    None => (fed.release, fed.hold),
                    Some(bridge) => (bridge.feed(&fed.release), bridge.feed(&fed.hold)),
                }
            }
        };
        let last = self.inner.is_end_stream();
        if let Some(meter) = self.meter.as_ref().filter(|_| self.may_stop && hold.is_empty())
            && self.exchange.outgrew(release.len(), meter)
            && self.stop(&release)
        {
            return;
        }
        if (self.keeps_back || last) && !self.exchange.is_settled() {
            if !release.is_empty() {
                self.ready = self.held.pop_front().and_then(|frame| frame.into_data().ok());
                self.held.push_back(Frame::data(release));
            }
        } else {
            self.ready = Some(release).filter(|bytes| !bytes.is_empty());
        }
        if !hold.is_empty() {
            // The stream's own last word: clients stop reading here, whatever follows.
            self.held.push_back(Frame::data(hold));
            self.conclude(Outcome::Ok);
        }
        if last {
            self.end(Outcome::Ok);
        }
    }

    /// Takes what of a whole answer is there already, so that a short one leaves together with its
    /// head: one write, one TLS record, one wake-up of the client.
    fn gather(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.ready.is_none() && !self.over {
            match self.inner.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.take_frame(frame),
                Poll::Ready(None) => self.end(Outcome::Ok),
                // An error is met again when the body is polled.
                Poll::Ready(Some(Err(error))) => {
                    self.broken = Some(error);
                    break;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(())
    }

    fn take_frame(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(chunk) => self.take(chunk),
            Err(trailers) => {
                self.trailers = Some(trailers);
                self.end(Outcome::Ok);
            }
        }
    }

    /// Ends a stream that may not go on: what was whole of `release` goes out, then an event that
    /// says why. False where no event ends in it, so that there is no place to stop yet.
    fn stop(&mut self, release: &Bytes) -> bool {
        const WHY: &str = "weir: the budget ended this stream: it came to more than is left";
        let Some(end) = refusal::boundary(release) else { return false };
        self.ready = Some(release.slice(..end)).filter(|bytes| !bytes.is_empty());
        self.held.push_back(Frame::data(refusal::event(self.exchange.route.operation, WHY)));
        self.exchange.note_cut(WHY);
        self.exchange.wait_ends();
        self.conclude(Outcome::Refused);
        self.over = true;
        true
    }

    /// The provider's body is over.
    fn end(&mut self, outcome: Outcome) {
        self.exchange.wait_ends();
        let mut rest = self.meter.as_mut().map(Meter::end).unwrap_or_default();
        if let Some(bridge) = &mut self.bridge {
            let translated = bridge.feed(&rest);
            if !translated.is_empty() {
                self.held.push_back(Frame::data(translated));
            }
            rest = bridge.end();
        }
        if !rest.is_empty() {
            self.held.push_back(Frame::data(rest));
        }
        self.held.extend(self.trailers.take());
        self.conclude(outcome);
        self.over = true;
    }

    fn conclude(&mut self, outcome: Outcome) {
        if self.exchange.is_settled() {
            return;
        }
        let reading = self.meter.as_ref().map(Meter::reading);
        let outcome = by_status(outcome, &mut self.exchange);
        if let Some(watch) = self.watch.take() {
            watch.over(&mut self.exchange, reading.as_ref(), outcome);
        }
        // What did not end well is remembered before the client hears of it.
        if let Some(repeated) = self.repeated.take()
            && outcome == Outcome::Ok
        {
            repeated.succeeded();
        }
        if let Some(answer) = self.exchange.settle(outcome, reading.as_ref()) {
            let sink = Arc::clone(&self.exchange.context.sink);
            self.settling = Some(Settling::new(answer, sink));
        }
    }

    /// The next frame for the client.
    pub(super) fn poll_relay(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            if let Some(bytes) = self.ready.take() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(settling) = &mut self.settling {
                ready!(settling.poll(cx));
                self.settling = None;
            }
            if self.exchange.is_settled()
                && let Some(frame) = self.held.pop_front()
            {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.over {
                // The client must see that the answer is not whole.
                return Poll::Ready(self.cut.take().map(Err));
            }
            let next = match self.broken.take() {
                Some(error) => Some(Err(error)),
                None => ready!(self.inner.poll_frame(cx)),
            };
            match next {
                Some(Ok(frame)) => self.take_frame(frame),
                None => self.end(Outcome::Ok),
                Some(Err(error)) => {
                    self.exchange.note(|record| record.error = Some(error.to_string()));
                    self.end(Outcome::UpstreamCut);
                    self.cut = Some(error);
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // hyper stops polling where the client has left: the exchange settles with what was read.
        if !self.exchange.is_settled() && !std::thread::panicking() {
            let reading = self.meter.as_ref().map(Meter::reading);
            drop(self.exchange.settle(Outcome::ClientAbort, reading.as_ref()));
        }
    }
}

impl Relay {
    /// Whether nothing more comes.
    pub(super) fn is_end_stream(&self) -> bool {
        self.ready.is_none()
            && self.held.is_empty()
            && self.settling.is_none()
            && self.cut.is_none()
            && (self.over || self.inner.is_end_stream())
    }

    /// How much is still to come, where that is known.
    pub(super) fn size_hint(&self) -> SizeHint {
        let held = self.held.iter().filter_map(Frame::data_ref).map(Bytes::len);
        let kept = self.ready.iter().map(Bytes::len).chain(held).sum::<usize>();
        let length_changes = self.length_changes || self.may_stop;
        match self.inner.size_hint().exact().filter(|_| !length_changes) {
            Some(rest) => SizeHint::with_exact(rest + kept as u64),
            None => SizeHint::new(),
        }
    }
}

/// What a status makes of an answer that arrived whole.
pub(super) fn by_status(outcome: Outcome, exchange: &mut Exchange) -> Outcome {
    if outcome != Outcome::Ok {
        return outcome;
    }
    let mut status = None;
    exchange.note(|record| status = record.status);
    match status {
        Some(429) => Outcome::RateLimited,
        Some(400..) => Outcome::UpstreamError,
        _ => Outcome::Ok,
    }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    const KIND: &str = "text/event-stream";
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = sent.and_then(|sent| sent.trim_start().get(..KIND.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
}

pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let coding = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    match coding.map(|coding| coding.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Encoding::Identity,
        Some("gzip" | "x-gzip") => Encoding::Gzip,
        Some("deflate") => Encoding::Deflate,
        Some("br") => Encoding::Brotli,
        Some(_) => Encoding::Other,
    }
}

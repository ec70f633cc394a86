//! One call, from the client's request to the last byte of its response.
//!
//! [`handle`] is the whole path, stage after stage: *inspect* (what is asked), *admit* (may it be),
//! *dispatch* (ask the provider), *relay* (give the answer back, metering it). The [`exchange::Exchange`] walks along
//! and settles the call exactly once, whatever its end.

pub mod dispatch;
pub mod exchange;
mod billing;
mod tries;
mod trace;
pub mod headers;
pub mod health;
pub mod inspect;
pub mod admit;
mod bound;
mod count;
mod reservation;
pub mod outstanding;
mod refusal;
pub mod accounts;
pub mod reject;
pub mod relay;
pub mod body;
pub mod bridge;
pub mod source;
pub mod room;
pub mod rules;
pub mod credentials;
pub mod endpoints;
pub mod policies;
pub mod upgrade;
mod websocket;
mod wait;

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::{Request, Response};

pub use body::Body;
pub use credentials::Credentials;
pub use dispatch::Answer;
pub use endpoints::{Credential, Endpoint, Endpoints};
pub use exchange::Exchange;
pub use policies::Policies;
pub use reject::Reject;
pub use rules::Rules;

use crate::clock::Clock;
use crate::drain::Drain;
use crate::llm::providers::Provider;
use crate::record::{Sink, Via};
use crate::subject::Subject;
use crate::upstream::{Link, Outgoing};

/// Whatever a connection counts as, kept and never looked at.
pub type Place = Arc<dyn std::fmt::Debug + Send + Sync>;

/// What all calls of one downstream connection to one provider share.
#[derive(Debug)]
pub struct Context {
    /// Who calls whom.
    pub parties: Parties,
    /// Whose account the calls are on.
    pub account: accounts::First,
    /// The way to the provider.
    pub link: Link,
    /// What applies to everyone; each call takes one snapshot.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Where records go.
    pub sink: Arc<dyn Sink>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Runs what outlives a request (upgraded connections).
    pub drain: Drain,
    /// Kept for as long as anything of the connection goes on: it counts against a limit.
    pub permit: Option<Place>,
}

/// The two ends of a connection.
#[derive(Debug)]
pub struct Parties {
    /// Who opened it.
    pub subject: Arc<Subject>,
    /// How it reached the agent.
    pub via: Via,
    /// Host it was opened to, lower case; requests for another are misdirected.
    pub host: Arc<str>,
    /// Provider behind that host.
    pub provider: Arc<Provider>,
}

/// Takes a request to its response. Never fails: a refusal is a response too.
pub async fn handle(context: Arc<Context>, request: Request<Outgoing>) -> Response<Body> {
    let mut exchange = Exchange::open(context, &request);
    if upgrade::is_wanted(&request) {
        return upgrade::handle(exchange, request).await;
    }
    match run(&mut exchange, request).await {
        Ok(answer) => relay::stream(exchange, answer).await,
        Err(reject) => relay::refuse(exchange, &reject).await,
    }
}

async fn run(exchange: &mut Exchange, mut request: Request<Outgoing>) -> Result<Answer, Reject> {
    // Before anything is read: a request for another host must not be priced as this provider's.
    if let Err(misdirected) = inspect::authority(exchange, &request) {
        inspect::discard(request.into_body()).await;
        return Err(misdirected);
    }
    headers::strip_request(&mut request);
    let request = inspect::read(exchange, request).await?;
    // Before anyone hears of the call: a refused one reaches no provider.
    let request = admit::admit(exchange, request).await?;
    // The ledger knows of the call before the provider can charge for it.
    exchange.announce();
    let answer = dispatch::send(exchange, request).await?;
    accounts::learn(exchange, &answer.parts.headers);
    Ok(answer)
}

#[cfg(test)]
mod tests;

//! What applies to every call: one immutable snapshot, replaced whole.

use std::sync::Arc;

use super::credentials::Credentials;
use super::endpoints::Endpoints;
use super::policies::Policies;
use super::room::Room;
use crate::llm::price::Prices;
use crate::llm::providers::Providers;
use crate::policy::containers::Containers;
use crate::record::trace::SampleRate;

/// The part of the configuration that calls read.
#[derive(Debug)]
pub struct Rules {
    /// Tag of this host's records.
    pub environment: Arc<str>,
    /// Who the providers are.
    pub providers: Providers,
    /// What they charge.
    pub prices: Prices,
    /// Largest request body that is read and understood; a larger one is forwarded unread.
    pub request_body: usize,
    /// Room for request bodies that are being read; one that finds none is forwarded unread.
    pub room: Room,
    /// Keys for providers that calls may be taken to.
    pub credentials: Credentials,
    /// Where else calls for a provider can go.
    pub endpoints: Endpoints,
    /// How far one goes with connections of other network namespaces.
    pub containers: Containers,
    /// The share of calls that are traced, where any are: a client's own trace has its own say.
    pub tracing: Option<SampleRate>,
    /// What decides about calls; outlives this snapshot.
    pub policies: Arc<Policies>,
}

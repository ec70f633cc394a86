//! One attempt to tell somebody.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::delivery::{Delivery, Failed};
use super::dial::Dial;
use super::settings::{Channel, Means};
use super::{mail, post, shape, smtp};
use crate::secret::Secret;

/// Seconds since the epoch at which this attempt was made.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-webhook-timestamp");
/// The delivery's id, the same for every attempt.
const ID: HeaderName = HeaderName::from_static("x-webhook-id");
/// The same id under the name that receivers know for "take this once".
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// `sha256=` and the hex HMAC-SHA-256 of the body.
const SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");

/// What an attempt takes besides the delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) dial: &'a Dial,
    /// This host's name.
    pub(super) host: &'a str,
    /// Seconds since the epoch.
    pub(super) now: u64,
}

impl Channel<Secret> {
    /// Tells somebody, once.
    pub(super) async fn tell(
        &self,
        delivery: &Delivery,
        attempt: Attempt<'_>,
    ) -> Result<(), Failed> {
        let Attempt { dial, host, now } = attempt;
        let means = self.means.as_ref().map_err(|why| Failed::never(why.clone()))?;
        let text = self.template.render(&delivery.notice);
        let (url, body, headers) = match means {
            Means::Email(mail) => {
                let message = mail::message(mail, delivery, &text, host);
                return smtp::send(dial, mail, (&message, host)).await;
            }
            Means::Webhook { url, secret, headers } => {
                let body = bytes(&shape::webhook(delivery, &text, host))?;
                let signature = secret.as_ref().map(|key| shape::signature(key.reveal(), &body));
                (url, body, webhook_headers(delivery, headers, signature, now)?)
            }
            Means::Slack { url } => {
                let url = &url.reveal().parse().map_err(|_| {
                    Failed::never("the secret for the Slack URL is not a URL to post to")
                })?;
                let body = bytes(&shape::slack(delivery, &text, host))?;
                let headers = HeaderMap::new();
                return post::json(dial, url, (headers, body), self.allow_private).await;
            }
            Means::PagerDuty { routing_key, url } => {
                let key = routing_key.reveal();
                let body = bytes(&shape::pagerduty(delivery, key, &text, host))?;
                (url, body, HeaderMap::new())
            }
        };
        post::json(dial, url, (headers, body), self.allow_private).await
    }
}

fn bytes(body: &serde_json::Value) -> Result<Bytes, Failed> {
    let body = serde_json::to_vec(body).map_err(|error| Failed::never(error.to_string()))?;
    Ok(Bytes::from(body))
}

fn webhook_headers(
    delivery: &Delivery,
    own: &[(HeaderName, Secret)],
    signature: Option<String>,
    now: u64,
) -> Result<HeaderMap, Failed> {
    let mut headers = HeaderMap::new();
    let unfit = |name: &HeaderName| {
        Failed::never(format!("the secret for the header {name} is not fit for one"))
    };
    for (name, value) in own {
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| unfit(name))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let id = delivery.id.to_string();
    let fixed = [(ID, Some(id.clone())), (IDEMPOTENCY_KEY, Some(id)), (SIGNATURE, signature)];
    for (name, value) in fixed {
        if let Some(value) = value {
            headers.insert(&name, HeaderValue::from_str(&value).map_err(|_| unfit(&name))?);
        }
    }
    headers.insert(TIMESTAMP, HeaderValue::from(now));
    Ok(headers)
}

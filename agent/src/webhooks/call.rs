//! The call of a delivery: through the pipeline, as anybody's, on behalf of the webhook.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::ask;
use super::run::{Called, Status};
use super::settings::Definition;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::llm::providers::Provider;
use crate::pipeline::accounts::First;
use crate::pipeline::credentials;
use crate::pipeline::endpoints::target;
use crate::pipeline::{self, Body, Context, Parties, Rules};
use crate::record::{Connection, Durability, Notice, Opened, Outcome, Record, Sink, Via};
use crate::subject::{Process, Subject, Workload};
use crate::upstream::{Link, Pool, SocketOptions};

/// Largest answer read.
const ANSWER: usize = 4 << 20;
/// No call takes longer: where policies do not act, nothing else ends one whose provider is silent.
const LONGEST: Duration = Duration::from_mins(15);

/// What calls are made with.
#[derive(Debug, Clone)]
pub(super) struct Means {
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) pool: Arc<Pool>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) drain: Drain,
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: Status,
    pub(super) call: Option<Called>,
    pub(super) content: Option<String>,
    pub(super) error: Option<String>,
}

impl Reply {
    /// One that no call was made for.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self { status: Status::Failed, call: None, content: None, error: Some(why.into()) }
    }
}

impl Means {
    /// Asks the model, and waits for all of its answer.
    pub(super) async fn call<S>(
        &self,
        definition: &Definition<S>,
        poster: &Process,
        prompt: &str,
    ) -> Reply {
        let rules = self.rules.load_full();
        let Some(provider) = rules.providers.by_name(&definition.provider) else {
            return Reply::failed(format!("there is no provider {}", definition.provider));
        };
        let mut request = match ask::request(provider, definition, prompt) {
            Ok(request) => request,
            Err(error) => return Reply::failed(format!("the model cannot be asked: {error}")),
        };
        match rules.credentials.get(&provider.name) {
            Some(key) => credentials::present(key, provider.format, request.headers_mut()),
            // A local model asks for no key, and some endpoints have their own.
            None if provider.free || rules.endpoints.stand_alone(&provider.name) => {}
            None => {
                let name = &provider.name;
                return Reply::failed(format!("there is no key: providers.{name}.api_key"));
            }
        }
        let ear = Arc::new(Ear { inner: Arc::clone(&self.sink), heard: Mutex::default() });
        let context = self.context(&definition.name, poster, provider, &ear);
        let answered = tokio::time::timeout(LONGEST, async {
            whole(pipeline::handle(context, request).await).await
        });
        let answer = answered.await.unwrap_or_else(|_elapsed| {
            Err(format!("no answer within {} minutes", LONGEST.as_secs() / 60))
        });
        let record = ear.heard.lock().take();
        judged(provider, answer, record.as_deref())
    }

    fn context(
        &self,
        webhook: &str,
        poster: &Process,
        provider: &Arc<Provider>,
        ear: &Arc<Ear>,
    ) -> Arc<Context> {
        let target = target(&provider.base, SocketOptions::default());
        Arc::new(Context {
            parties: Parties {
                subject: Arc::new(Subject {
                    process: poster.clone(),
                    workload: Workload::webhook(webhook),
                }),
                via: Via::Gateway,
                host: Arc::clone(&provider.base.host),
                provider: Arc::clone(provider),
            },
            account: First::default(),
            link: Link::lazy(Arc::clone(&self.pool), target),
            rules: Arc::clone(&self.rules),
            sink: Arc::clone(ear) as Arc<dyn Sink>,
            clock: Arc::clone(&self.clock),
            drain: self.drain.clone(),
            permit: None,
        })
    }
}

async fn whole(response: Response<Body>) -> Result<(StatusCode, Bytes), String> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}

fn judged(
    provider: &Provider,
    answer: Result<(StatusCode, Bytes), String>,
    record: Option<&Record>,
) -> Reply {
    let call = record.map(|record| Called {
        call_id: record.call_id,
        model: record.model_served.clone().or_else(|| record.model.clone()),
        usage: record.usage,
        cost: record.cost,
    });
    let refused = record.is_some_and(|record| record.outcome == Outcome::Refused);
    let failed = if refused { Status::Refused } else { Status::Failed };
    let (status, content, error) = match answer {
        Ok((status, body)) if status.is_success() => match ask::content(provider.format, &body) {
            Some(content) => (Status::Ok, Some(content), None),
            None => (Status::Failed, None, Some("the answer has no text".to_owned())),
        },
        Ok((status, body)) => {
            let why = ask::error(&body).unwrap_or_else(|| format!("the answer was {status}"));
            (failed, None, Some(why))
        }
        Err(why) => (failed, None, Some(why)),
    };
    Reply { status, call, content, error }
}

/// Hears what a call came to, on the way to whoever keeps it.
#[derive(Debug)]
struct Ear {
    inner: Arc<dyn Sink>,
    heard: Mutex<Option<Arc<Record>>>,
}

impl Sink for Ear {
    fn open(&self, opened: Opened) {
        self.inner.open(opened);
    }

    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability> {
        *self.heard.lock() = Some(Arc::clone(&record));
        self.inner.settle(record)
    }

    fn connection(&self, connection: Connection) {
        self.inner.connection(connection);
    }

    fn distrusted(&self, signal: &'static str) {
        self.inner.distrusted(signal);
    }

    fn fault(&self, listener: &'static str, fault: &'static str) {
        self.inner.fault(listener, fault);
    }

    fn unconfirmed(&self) {
        self.inner.unconfirmed();
    }

    fn notice(&self, notice: Notice) {
        self.inner.notice(notice);
    }

    /// Whoever posted did not make the call, and may be a server that others post through: the call
    /// is refused, and nobody is frozen.
    fn freeze(&self, _subject: &Arc<Subject>, policy: &Arc<str>) {
        tracing::warn!(%policy, "a webhook has no process to freeze: its call is refused");
    }
}

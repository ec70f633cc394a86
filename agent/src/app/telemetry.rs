//! Telemetry: from the configuration to what sends it, and what is shown of it.

use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::rules;
use crate::clock::Clock;
use crate::config::{Config, SecretSource, Tracing};
use crate::downstream::Front;
use crate::metrics::Metrics;
use crate::telemetry::settings::SampleRate;
use crate::telemetry::{Origin, Pace, State, Target, Telemetry};
use crate::upstream::{Connect, Tls};

/// How long the end waits for what has not been sent.
pub(super) const FLUSH: Duration = Duration::from_secs(3);

/// Sends nothing yet: who dials is made after who takes calls.
pub(super) fn silent(clock: Arc<dyn Clock>) -> Telemetry {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let instance = Ulid::from_datetime(clock.now().wall).to_string();
    let origin = Origin { host: host.into(), instance: instance.into() };
    Telemetry::new(State::Off, origin, clock, Pace::default())
}

/// Where telemetry goes. What is in the way stops nothing else: it is said, here and by the status.
pub(super) fn state(config: &Config, front: &Front) -> State {
    let Some(tracing) = &config.tracing else { return State::Off };
    match target(tracing, config, front) {
        Ok(target) => State::On(Arc::new(target)),
        Err(error) => {
            let why = format!("{error:#}");
            tracing::error!(why, "no telemetry can be sent");
            State::Broken(why)
        }
    }
}

fn target(tracing: &Tracing, config: &Config, front: &Front) -> anyhow::Result<Target> {
    let tls = match &tracing.ca_file {
        None => (*front.upstream.pool.tls()).clone(),
        Some(file) => {
            let leaves = front.client.leaves.as_ref();
            let own = leaves.map(|leaves| leaves.authority().root().certificate().clone());
            let own: Vec<_> = own.into_iter().collect();
            Tls::new(rules::roots_of(file, &own)?, [])?
        }
    };
    Ok(Target {
        settings: tracing.settings.read(SecretSource::read)?,
        connect: Arc::new(front.upstream.tcp.clone()) as Arc<dyn Connect>,
        tls,
        environment: Arc::clone(&config.environment),
    })
}

/// The share of calls that are traced; `None` where none are.
pub(super) fn sampling(config: &Config) -> Option<SampleRate> {
    let tracing = config.tracing.as_ref()?;
    tracing.settings.signals.traces.then_some(tracing.sample_rate)
}

/// Shows what came of it.
pub(super) fn count(telemetry: &Telemetry, metrics: &Metrics) {
    metrics.telemetry(telemetry.counted().map(|(signal, counted)| {
        (signal.word(), counted.exported, counted.dropped, counted.failures)
    }));
}

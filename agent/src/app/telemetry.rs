//! Telemetry: from the configuration to what sends it, and what is shown of it.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use ulid::Ulid;

use super::rules;
use crate::clock::Clock;
use crate::config::{Config, SecretSource, Tracing};
use crate::downstream::Front;
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::telemetry::settings::SampleRate;
use crate::telemetry::{Origin, Pace, Settings, State, Target, Telemetry};
use crate::upstream::{Connect, Tls};

/// How long the end waits for what has not been sent.
pub(super) const FLUSH: Duration = Duration::from_secs(3);

/// Sends nothing yet: who dials is made after who takes calls.
pub(super) fn silent(clock: Arc<dyn Clock>) -> Telemetry {
    let instance = Ulid::from_datetime(clock.now().wall).to_string();
    let origin = Origin { host: super::alerts::host(), instance: instance.into() };
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
    let leaves = front.client.leaves.as_ref();
    let own = leaves.map(|leaves| leaves.authority().root().certificate().clone());
    let own: Vec<_> = own.into_iter().collect();
    let (settings, roots) = read(tracing, &own)?;
    let tls = match roots {
        None => (*front.upstream.pool.tls()).clone(),
        Some(roots) => Tls::new(roots, [])?,
    };
    Ok(Target {
        settings,
        connect: Arc::new(front.upstream.tcp.clone()) as Arc<dyn Connect>,
        tls,
        environment: Arc::clone(&config.environment),
    })
}

/// What stands in files and in the environment: secrets, and what vouches for the collector.
fn read(
    tracing: &Tracing,
    own: &[CertificateDer<'_>],
) -> anyhow::Result<(Settings<Secret>, Option<RootCertStore>)> {
    let roots = tracing.ca_file.as_ref().map(|file| rules::roots_of(file, own)).transpose()?;
    Ok((tracing.settings.read(SecretSource::read)?, roots))
}

/// The share of calls that are traced; `None` where none are, also because nothing can be sent:
/// providers are not told of spans that nobody will ever see. Blocks on files.
pub(super) fn sampling(config: &Config) -> Option<SampleRate> {
    let tracing = config.tracing.as_ref()?;
    let is_sent = tracing.settings.signals.traces && read(tracing, &[]).is_ok();
    is_sent.then_some(tracing.sample_rate)
}

/// Shows what came of it.
pub(super) fn count(telemetry: &Telemetry, metrics: &Metrics) {
    metrics.telemetry(telemetry.counted().map(|(signal, counted)| {
        (signal.word(), counted.exported, counted.dropped, counted.failures)
    }));
}

#[cfg(test)]
mod tests {
    use super::sampling;
    use crate::config::{self, Overrides, Paths};

    #[test]
    fn where_nothing_can_be_sent_nothing_is_traced() {
        let dir = tempfile::tempdir().unwrap();
        let [file, key] = ["weir.yaml", "key"].map(|name| dir.path().join(name));
        let config = |tracing: &str| {
            std::fs::write(&file, format!("tracing: {{enabled: true, {tracing}}}\n")).unwrap();
            let config = Some(file.clone());
            let paths = Paths::find(Overrides { config, ..Overrides::default() });
            config::load(&paths).unwrap()
        };
        std::fs::write(&key, "secret\n").unwrap();
        assert!(sampling(&config("traces: true")).is_some());
        assert_eq!(sampling(&config("traces: false")), None);
        let vouched = config(&format!("ca_file: {}", key.display()));
        assert_eq!(sampling(&vouched), None, "a file without a certificate");
        let keyed = config(&format!("headers: {{x-key: {{file: {}}}}}", key.display()));
        assert!(sampling(&keyed).is_some());
        // It was there when the configuration was checked.
        std::fs::remove_file(&key).unwrap();
        assert_eq!(sampling(&keyed), None, "a secret that is not there");
    }
}

//! A gauge that is set anew, as a whole, whenever metrics are read: series of what is gone go too.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{GaugeVec, Opts, Registry};

/// Series per gauge.
pub(super) const SERIES: usize = 500;

/// A gauge with `N` labels, and the series it shows now.
#[derive(Debug)]
pub(super) struct Shown<const N: usize> {
    gauge: GaugeVec,
    labels: Mutex<HashSet<[Arc<str>; N]>>,
}

impl<const N: usize> Shown<N> {
    pub(super) fn new(
        registry: &Registry,
        opts: Opts,
        labels: &[&str; N],
    ) -> prometheus::Result<Self> {
        let gauge = GaugeVec::new(opts, labels)?;
        registry.register(Box::new(gauge.clone()))?;
        Ok(Self { gauge, labels: Mutex::default() })
    }

    /// Shows these series, each with its labels, its weight and its value, and no others. Where there
    /// are more than [`SERIES`], the weightiest.
    pub(super) fn set(&self, series: impl Iterator<Item = ([Arc<str>; N], f64, f64)>) {
        let mut series: Vec<_> = series.collect();
        series.sort_by(|one, other| other.1.total_cmp(&one.1));
        let mut shown = self.labels.lock();
        let mut next = HashSet::new();
        for (labels, _, value) in series {
            // Of several with the same labels the weightiest came first.
            if next.len() < SERIES && next.insert(labels.clone()) {
                self.gauge.with_label_values(&labels.each_ref().map(|label| &**label)).set(value);
            }
        }
        for gone in shown.difference(&next) {
            let labels = gone.each_ref().map(|label| &**label);
            // Missing is what it should be.
            drop(self.gauge.remove_label_values(&labels));
        }
        *shown = next;
    }
}

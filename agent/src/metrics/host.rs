//! Metrics of the host: processors, memory, pressure, the disk that holds the state, and what each
//! workload takes of processors and memory beside what it spends.
//!
//! Read when metrics are asked for, never for a call, and not again within [`FRESH`].

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::{Counter, CounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use rustix::param::clock_ticks_per_second;

/// How long what was read is good for.
const FRESH: Duration = Duration::from_secs(1);
/// Workloads whose groups are read.
const WORKLOADS: usize = 200;
/// Files of the state directory that are looked at.
const FILES: usize = 1000;
/// In the first line of `/proc/stat`, the columns that make up each mode (proc(5)).
const MODES: [(&str, &[usize]); 5] =
    [("user", &[0, 1]), ("system", &[2, 5, 6]), ("idle", &[3]), ("iowait", &[4]), ("steal", &[7])];
/// What the kernel tells pressure of.
const RESOURCES: [&str; 3] = ["cpu", "memory", "io"];

/// Where to look.
#[derive(Debug, Clone)]
pub struct Places {
    /// The state directory.
    pub state: PathBuf,
    /// Workloads and the directories of their control groups.
    pub groups: Vec<(Arc<str>, PathBuf)>,
}

#[derive(Debug)]
pub(super) struct Host {
    per_workload: bool,
    proc: PathBuf,
    cpu: CounterVec,
    memory: IntGauge,
    available: IntGauge,
    pressure: CounterVec,
    disk: IntGauge,
    free: IntGauge,
    state: IntGauge,
    workload_cpu: CounterVec,
    workload_memory: IntGaugeVec,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    at: Option<Instant>,
    /// Processor seconds by the workloads that are shown.
    shown: HashMap<Arc<str>, Counter>,
}

impl Host {
    pub(super) fn new(registry: &Registry, per_workload: bool) -> prometheus::Result<Self> {
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counters = |name, help, labels: &[&str]| {
            let counters = CounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let workload_memory = IntGaugeVec::new(
            Opts::new(
                "weir_workload_memory_bytes",
                "Memory of a workload's control group, its page cache included.",
            ),
            &["workload"],
        )?;
        registry.register(Box::new(workload_memory.clone()))?;
        Ok(Self {
            per_workload,
            proc: PathBuf::from("/proc"),
            cpu: counters(
                "weir_host_cpu_seconds_total",
                "Time of the host's processors, by what they did.",
                &["mode"],
            )?,
            memory: gauge("weir_host_memory_bytes", "Memory of the host.")?,
            available: gauge(
                "weir_host_memory_available_bytes",
                "Memory that programs can have without others being swapped out.",
            )?,
            pressure: counters(
                "weir_host_pressure_seconds_total",
                "Time in which some or all tasks of the host waited for a resource.",
                &["resource", "share"],
            )?,
            disk: gauge(
                "weir_state_filesystem_size_bytes",
                "Size of the file system that holds the state directory.",
            )?,
            free: gauge(
                "weir_state_filesystem_available_bytes",
                "What the agent may still write there.",
            )?,
            state: gauge("weir_state_bytes", "What the files of the state directory take.")?,
            workload_cpu: counters(
                "weir_workload_cpu_seconds_total",
                "Processor time of a workload's control group.",
                &["workload"],
            )?,
            workload_memory,
            last: Mutex::default(),
        })
    }

    /// Reads the figures anew, unless that was done a moment ago.
    pub(super) fn look(&self, now: Instant, places: impl FnOnce() -> Places) {
        let mut last = self.last.lock();
        if last.at.is_some_and(|at| now.saturating_duration_since(at) < FRESH) {
            return;
        }
        last.at = Some(now);
        self.processors();
        self.available_memory();
        for resource in RESOURCES {
            self.pressure(resource);
        }
        let places = places();
        self.disk(&places.state);
        if self.per_workload {
            self.groups(&places.groups, &mut last.shown);
        }
    }

    fn processors(&self) {
        let Ok(text) = fs::read_to_string(self.proc.join("stat")) else { return };
        let Some(ticks) = ticks(&text) else { return };
        #[expect(clippy::cast_precision_loss, reason = "100 or thereabouts")]
        let per_second = clock_ticks_per_second() as f64;
        for (mode, columns) in MODES {
            let sum: f64 = columns.iter().filter_map(|at| ticks.get(*at)).sum();
            grow(&self.cpu.with_label_values(&[mode]), sum / per_second);
        }
    }

    fn available_memory(&self) {
        let Ok(text) = fs::read_to_string(self.proc.join("meminfo")) else { return };
        for (key, gauge) in [("MemTotal:", &self.memory), ("MemAvailable:", &self.available)] {
            if let Some(bytes) = kibibytes(&text, key) {
                gauge.set(bytes);
            }
        }
    }

    /// Kernels without it have no such file: then there is no series either.
    fn pressure(&self, resource: &str) {
        let file = self.proc.join("pressure").join(resource);
        let Ok(text) = fs::read_to_string(file) else { return };
        for (share, seconds) in stalls(&text) {
            grow(&self.pressure.with_label_values(&[resource, share]), seconds);
        }
    }

    fn disk(&self, state: &Path) {
        if let Ok(there) = rustix::fs::statvfs(state) {
            let bytes = |blocks: u64| {
                i64::try_from(blocks.saturating_mul(there.f_frsize)).unwrap_or(i64::MAX)
            };
            self.disk.set(bytes(there.f_blocks));
            self.free.set(bytes(there.f_bavail));
        }
        let mut left = FILES;
        self.state.set(i64::try_from(size(state, 2, &mut left)).unwrap_or(i64::MAX));
    }

    fn groups(&self, groups: &[(Arc<str>, PathBuf)], shown: &mut HashMap<Arc<str>, Counter>) {
        let mut next = HashMap::new();
        for (workload, group) in groups.iter().take(WORKLOADS) {
            let stat = fs::read_to_string(group.join("cpu.stat")).ok();
            let Some(seconds) = stat.and_then(|text| usage(&text)) else { continue };
            let counter = self.workload_cpu.with_label_values(&[&**workload]);
            if seconds < counter.get() {
                // The group was made anew: its unit or container has been started again.
                counter.reset();
            }
            grow(&counter, seconds);
            next.insert(Arc::clone(workload), counter);
            // Missing where the controller is not enabled.
            let memory = fs::read_to_string(group.join("memory.current")).ok();
            if let Some(bytes) = memory.and_then(|text| text.trim().parse().ok()) {
                self.workload_memory.with_label_values(&[&**workload]).set(bytes);
            }
        }
        for gone in shown.keys().filter(|workload| !next.contains_key(*workload)) {
            // Missing is what they should be.
            drop(self.workload_cpu.remove_label_values(&[&**gone]));
            drop(self.workload_memory.remove_label_values(&[&**gone]));
        }
        *shown = next;
    }
}

/// Brings a counter up to what it is.
fn grow(counter: &Counter, to: f64) {
    counter.inc_by((to - counter.get()).max(0.0));
}

/// The columns of all processors together.
fn ticks(stat: &str) -> Option<Vec<f64>> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    line.split_ascii_whitespace().map(|column| column.parse().ok()).collect()
}

/// A line of `/proc/meminfo`, in bytes.
fn kibibytes(text: &str, key: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Which share of tasks stood still for how long: a line is `some avg10=… avg60=… total=MICROSECONDS`.
fn stalls(text: &str) -> impl Iterator<Item = (&str, f64)> {
    text.lines().filter_map(|line| {
        let (share, rest) = line.split_once(' ')?;
        let total: f64 = rest.rsplit_once("total=")?.1.parse().ok()?;
        Some((share, total / 1e6))
    })
}

/// Processor seconds in `cpu.stat`.
fn usage(text: &str) -> Option<f64> {
    let micros: f64 =
        text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
    Some(micros / 1e6)
}

/// Bytes of the files below a directory, as deep as this.
fn size(directory: &Path, deep: u32, left: &mut usize) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let mut sum = 0;
    for entry in entries.flatten() {
        if *left == 0 {
            break;
        }
        *left -= 1;
        let Ok(about) = entry.metadata() else { continue };
        if about.is_file() {
            sum += about.len();
        } else if about.is_dir() && deep > 1 {
            sum += size(&entry.path(), deep - 1, left);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;
    use crate::clock::{Clock as _, System};

    fn text(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
    }

    #[test]
    fn the_host_is_read_as_the_kernel_tells_it() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("stat", "cpu  100 50 30 1000 20 5 5 10 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n");
        write("meminfo", "MemTotal:        2048 kB\nMemFree: 7 kB\nMemAvailable:   1024 kB\n");
        write(
            "pressure/io",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n\
             full avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
        );
        let state = dir.path().join("state");
        write("state/ledger.db", "12345");
        write("state/journal/1", "123");
        let registry = Registry::new();
        let host = Host { proc: dir.path().to_owned(), ..Host::new(&registry, true).unwrap() };
        host.look(System.now().mono, || Places { state, groups: Vec::new() });
        let text = text(&registry);
        let per_second = f64::from(u32::try_from(clock_ticks_per_second()).unwrap());
        has(&text, &format!("weir_host_cpu_seconds_total{{mode=\"user\"}} {}", 150.0 / per_second));
        has(&text, &format!("weir_host_cpu_seconds_total{{mode=\"steal\"}} {}", 10.0 / per_second));
        has(&text, "weir_host_memory_bytes 2097152");
        has(&text, "weir_host_memory_available_bytes 1048576");
        has(&text, "weir_host_pressure_seconds_total{resource=\"io\",share=\"some\"} 2.5");
        has(&text, "weir_host_pressure_seconds_total{resource=\"io\",share=\"full\"} 0.5");
        has(&text, "weir_state_bytes 8");
        assert!(!text.contains("resource=\"cpu\""), "there is no such file");
        assert!(!text.contains("weir_state_filesystem_size_bytes 0\n"), "{text}");
    }

    #[test]
    fn a_workloads_group_is_followed_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("a.service");
        fs::create_dir(&group).unwrap();
        let set = |micros: u64, memory: Option<u64>| {
            let stat = format!("usage_usec {micros}\nuser_usec 1\n");
            fs::write(group.join("cpu.stat"), stat).unwrap();
            if let Some(memory) = memory {
                fs::write(group.join("memory.current"), format!("{memory}\n")).unwrap();
            }
        };
        let registry = Registry::new();
        let host = Host::new(&registry, true).unwrap();
        let start = System.now().mono;
        let look = |after: u64| {
            let groups = vec![(Arc::from("unit:a.service"), group.clone())];
            let places = Places { state: dir.path().to_owned(), groups };
            host.look(start + Duration::from_millis(after), || places);
            text(&registry)
        };
        set(3_500_000, None);
        let first = look(0);
        has(&first, "weir_workload_cpu_seconds_total{workload=\"unit:a.service\"} 3.5");
        assert!(!first.contains("weir_workload_memory_bytes{"), "no controller, no figure");
        set(4_000_000, Some(4096));
        has(&look(500), "weir_workload_cpu_seconds_total{workload=\"unit:a.service\"} 3.5");
        let next = look(1000);
        has(&next, "weir_workload_cpu_seconds_total{workload=\"unit:a.service\"} 4");
        has(&next, "weir_workload_memory_bytes{workload=\"unit:a.service\"} 4096");
        // Started again, it begins at nothing.
        set(250_000, None);
        has(&look(2000), "weir_workload_cpu_seconds_total{workload=\"unit:a.service\"} 0.25");
        fs::remove_dir_all(&group).unwrap();
        assert!(!look(3000).contains("unit:a.service"));
    }

    #[test]
    fn where_workloads_are_hidden_so_are_their_groups() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpu.stat"), "usage_usec 1\n").unwrap();
        let registry = Registry::new();
        let host = Host::new(&registry, false).unwrap();
        let groups = vec![(Arc::from("unit:a.service"), dir.path().to_owned())];
        host.look(System.now().mono, || Places { state: dir.path().to_owned(), groups });
        assert!(!text(&registry).contains("unit:a.service"));
    }

    #[test]
    fn what_is_no_figure_is_left_out() {
        assert_eq!(ticks("cpu 1 x"), None);
        assert_eq!(kibibytes("MemTotal: 5 MB\n", "MemTotal:"), None);
        assert_eq!(stalls("some\nfull avg10=1 total=x\n").count(), 0);
        assert_eq!(usage("user_usec 5\n"), None);
    }
}

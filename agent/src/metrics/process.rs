//! The standard metrics of the process itself, from `/proc/self` (proc(5)).

use std::fs;

use prometheus::{Counter, Gauge, IntGauge, Registry};
use rustix::param::{clock_ticks_per_second, page_size};

#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    threads: IntGauge,
    started: Gauge,
}

/// The fields of `/proc/self/stat` in use.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stat {
    cpu_ticks: f64,
    threads: i64,
    start_ticks: f64,
    virtual_bytes: i64,
    resident_pages: i64,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let process = Self {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time.")?,
            resident: gauge("process_resident_memory_bytes", "Resident memory.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Virtual memory.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Limit of open file descriptors.")?,
            threads: gauge("process_threads", "Threads.")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
        };
        registry.register(Box::new(process.cpu.clone()))?;
        registry.register(Box::new(process.started.clone()))?;
        Ok(process)
    }

    /// Reads the figures anew.
    pub(super) fn look(&self) {
        let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|text| parse(&text))
        else {
            return;
        };
        #[expect(clippy::cast_precision_loss, reason = "100 or thereabouts")]
        let per_second = clock_ticks_per_second() as f64;
        let cpu = stat.cpu_ticks / per_second;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        let page = i64::try_from(page_size()).unwrap_or(4096);
        self.resident.set(stat.resident_pages.saturating_mul(page));
        self.virtual_memory.set(stat.virtual_bytes);
        self.threads.set(stat.threads);
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // The directory being read is one of them.
            self.open_fds.set(i64::try_from(open.count()).unwrap_or(i64::MAX) - 1);
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = limit.current.and_then(|limit| i64::try_from(limit).ok());
        self.max_fds.set(limit.unwrap_or(i64::MAX));
        if let Some(boot) = boot_time() {
            self.started.set(boot + stat.start_ticks / per_second);
        }
    }
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Reads `/proc/PID/stat`. The command's name may hold blanks and parentheses: the fields are
/// counted from the last one.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // Field 3 of proc(5) is the first here.
    let field = |number: usize| fields.get(number - 3).copied();
    let user: f64 = field(14)?.parse().ok()?;
    let system: f64 = field(15)?.parse().ok()?;
    Some(Stat {
        cpu_ticks: user + system,
        threads: field(20)?.parse().ok()?,
        start_ticks: field(22)?.parse().ok()?,
        virtual_bytes: field(23)?.parse().ok()?,
        resident_pages: field(24)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_name() {
        let text = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 9 0 4242 8192 3 0";
        let stat = parse(text).unwrap();
        assert!((stat.cpu_ticks - 300.0).abs() < f64::EPSILON);
        assert!((stat.start_ticks - 4242.0).abs() < f64::EPSILON);
        assert_eq!((stat.threads, stat.virtual_bytes, stat.resident_pages), (9, 8192, 3));
        assert_eq!(parse("7 (x) S 1"), None);
    }
}

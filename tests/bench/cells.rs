//! What is measured: a cell is one shape of load.

use serde::Serialize;

/// A shape of load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    pub(crate) told: &'static str,
    pub(crate) connections: usize,
    pub(crate) fresh: bool,
    pub(crate) rate: Option<u64>,
    pub(crate) pace: Option<u64>,
}

/// All of them. A streamed cell is charged per event and timed to the first byte.
pub(crate) const CELLS: [Cell; 5] = [
    Cell {
        name: "J1",
        told: "JSON, keep-alive, 1 connection",
        connections: 1,
        fresh: false,
        rate: None,
        pace: None,
    },
    Cell {
        name: "J32",
        told: "JSON, keep-alive, 32 connections",
        connections: 32,
        fresh: false,
        rate: None,
        pace: None,
    },
    Cell {
        name: "R1000",
        told: "JSON, keep-alive, 1,000 calls a second over 32 connections",
        connections: 32,
        fresh: false,
        rate: Some(1_000),
        pace: None,
    },
    Cell {
        name: "N32",
        told: "JSON, a new connection for each call, 32 at once",
        connections: 32,
        fresh: true,
        rate: None,
        pace: None,
    },
    Cell {
        name: "P64",
        told: "SSE, an event every 5 ms, 64 streams; CPU per event, latency to the first byte",
        connections: 64,
        fresh: false,
        rate: None,
        pace: Some(5),
    },
];

impl Cell {
    /// The generator's arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--connections".to_owned(), self.connections.to_string()];
        if self.fresh {
            arguments.push("--fresh".to_owned());
        }
        for (name, value) in [("--rate", self.rate), ("--pace", self.pace)] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value.to_string()]);
            }
        }
        arguments
    }
}

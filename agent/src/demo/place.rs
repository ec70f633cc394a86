//! Where the demo plays: on a stage with the real kernel half, or, without the privilege for
//! that, right here by way of the gateway's base URLs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde_json::json;

use super::daemon::Config;
use super::mock::Settings;
use super::stage::{Cgroup, Host, Scratch, Stage, StageError};

/// Documentation ranges: local to the stage, yet no loopback addresses, so that the kernel half
/// treats them as it treats the real ones.
const OPENAI: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
];
const ANTHROPIC: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11))];

/// The place; its namespaces, cgroup and files go when it is dropped.
#[derive(Debug)]
pub(super) enum Place {
    /// Namespaces of its own.
    Stage(Stage),
    /// The host's, with nothing but a directory.
    Here { scratch: Scratch, proxy: u16, admin: u16 },
}

impl Place {
    /// A stage where one can be set; otherwise here, and the reason why.
    pub(super) fn choose() -> anyhow::Result<(Self, Option<String>)> {
        let hosts = [
            Host { name: "api.openai.com", addresses: &OPENAI },
            Host { name: "api.anthropic.com", addresses: &ANTHROPIC },
        ];
        match Stage::set("weir-demo", &hosts) {
            Ok(stage) => Ok((Self::Stage(stage), None)),
            Err(StageError::Unavailable { doing, source }) => {
                let [proxy, admin] = free_ports()?;
                let scratch = Scratch::create("weir-demo")?;
                let why = format!(
                    "Without the kernel half, which needs root (cannot {doing}: {source}):\n  \
                     the programs are pointed at the gateway's base URLs instead."
                );
                Ok((Self::Here { scratch, proxy, admin }, Some(why)))
            }
            Err(broken) => Err(broken.into()),
        }
    }

    /// The mock's settings.
    pub(super) fn provider(&self) -> Settings {
        match self {
            Self::Stage(_) => {
                let addresses = OPENAI.iter().chain(&ANTHROPIC);
                let listen = addresses.map(|&address| SocketAddr::new(address, 443)).collect();
                Settings { listen, ..Settings::default() }
            }
            Self::Here { .. } => Settings::default(),
        }
    }

    /// The daemon's settings, for a mock that listens on `mock`.
    pub(super) fn config(&self, ca_file: &Path, mock: &[SocketAddr]) -> io::Result<Config> {
        Ok(match self {
            Self::Stage(stage) => {
                Config::new(ca_file, [4180, 4181]).capturing(stage.cgroup().path())
            }
            Self::Here { proxy, admin, .. } => {
                let mock = mock.first().ok_or(io::ErrorKind::AddrNotAvailable)?;
                Config::new(ca_file, [*proxy, *admin])
                    .rerouted(&format!("https://localhost:{}", mock.port()))
                    .with(&["capture", "enabled"], json!("false"))
            }
        })
    }

    /// Makes programs accept what stands in for the provider, and the agent.
    pub(super) fn trust(&self, provider: &str, root: &Path) -> anyhow::Result<()> {
        if let Self::Stage(stage) = self {
            stage.trust(&[provider, &std::fs::read_to_string(root)?])?;
        }
        Ok(())
    }

    /// The captured cgroup.
    pub(super) fn cgroup(&self) -> Option<&Cgroup> {
        match self {
            Self::Stage(stage) => Some(stage.cgroup()),
            Self::Here { .. } => None,
        }
    }

    /// A directory for everything.
    pub(super) fn scratch(&self) -> &Path {
        match self {
            Self::Stage(stage) => stage.scratch(),
            Self::Here { scratch, .. } => scratch.path(),
        }
    }

    /// Where the provider is, for the reader.
    pub(super) fn told(&self) -> &'static str {
        match self {
            Self::Stage(_) => "OpenAI and Anthropic, mocked, in a network namespace of their own",
            Self::Here { .. } => "OpenAI and Anthropic, mocked, on a loopback port",
        }
    }
}

/// Two ports free at this moment.
fn free_ports() -> io::Result<[u16; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let held = [bind()?, bind()?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}

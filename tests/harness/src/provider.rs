//! The mock provider, running: bound, served and told to stop when dropped.

use std::net::{Ipv4Addr, SocketAddr};

use agent::clock::System;
use agent::demo::mock::{Control, Mock, Settings};
use agent::drain::Drain;

/// A mock that serves on the current runtime.
#[derive(Debug)]
pub struct Provider {
    addresses: Vec<SocketAddr>,
    ca_pem: String,
    control: Control,
    drain: Drain,
}

impl Provider {
    /// Serves on a loopback port.
    pub async fn start() -> anyhow::Result<Self> {
        Self::listening(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]).await
    }

    /// Serves on these addresses.
    pub async fn listening(listen: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let drain = Drain::new();
        let mock = Mock::bind(&Settings { listen, ..Settings::default() }, &System).await?;
        let provider = Self {
            addresses: mock.addresses().to_vec(),
            ca_pem: mock.ca_pem().to_owned(),
            control: mock.control(),
            drain: drain.clone(),
        };
        drain.spawn(mock.run(drain.clone()));
        Ok(provider)
    }

    /// Its first address.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The CA that vouches for it.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Scripts and counts.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

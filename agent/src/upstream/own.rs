//! The agent's own listeners: nothing that passes through the agent may lead back into it.

use std::net::SocketAddr;

use arc_swap::ArcSwap;

/// Where the agent listens. The two kinds change at different times: those that others connect to
/// by themselves are there from start to end, those that the kernel half leads to come and go.
#[derive(Debug, Default)]
pub struct Own {
    fixed: ArcSwap<Vec<SocketAddr>>,
    intercept: ArcSwap<Vec<SocketAddr>>,
}

impl Own {
    /// Sets the listeners that are there as long as the agent.
    pub fn fixed(&self, listeners: Vec<SocketAddr>) {
        self.fixed.store(listeners.into());
    }

    /// Sets the listeners of the kernel half; none while it is down.
    pub fn intercept(&self, listeners: Vec<SocketAddr>) {
        self.intercept.store(listeners.into());
    }

    /// Whether a connection to `address` would end at one of them. A listener may be bound to all
    /// addresses, so on loopback its port alone tells.
    pub fn has(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_local = ip.is_loopback() || ip.is_unspecified();
        let is_it = |own: &SocketAddr| {
            own.port() == address.port() && (is_local || own.ip().to_canonical() == ip)
        };
        self.fixed.load().iter().any(is_it) || self.intercept.load().iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_come_and_go_count_while_they_are_there() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let own = Own::default();
        own.fixed(vec![at("127.0.0.1:4180"), at("192.0.2.1:4181")]);
        assert!(own.has(at("127.0.0.1:4180")) && own.has(at("[::ffff:127.0.0.1]:4180")));
        assert!(own.has(at("192.0.2.1:4181")) && !own.has(at("192.0.2.1:4180")));
        assert!(!own.has(at("127.0.0.1:40000")));
        own.intercept(vec![at("127.0.0.1:40000"), at("[::1]:40001")]);
        assert!(own.has(at("127.0.0.1:40000")) && own.has(at("[::1]:40001")));
        own.intercept(vec![at("127.0.0.1:50000")]);
        assert!(own.has(at("127.0.0.1:50000")));
        assert!(!own.has(at("127.0.0.1:40000")), "those of before are gone");
        assert!(own.has(at("0.0.0.0:4180")));
    }
}

//! What stands between generator and provider: nothing, nginx, or Weir.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agent::demo::daemon::{Config, Daemon};
use agent::demo::stage::Cgroup;
use anyhow::Context;
use serde_json::json;

use crate::rig::{BACK, Charged, FRONT, PROVIDER, Rig, answers, on_core, weir};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Direct,
    Nginx,
    Weir,
}

const NGINX: &str = "127.0.0.1:8443";

/// The running peers.
#[derive(Debug)]
pub(crate) struct Peers {
    nginx: Option<Charged>,
    weir: Option<Agent>,
}

#[derive(Debug)]
struct Agent {
    daemon: Daemon,
    cgroup: Cgroup,
}

impl Peers {
    /// Starts those that are wanted.
    /// With `policies`, Weir enforces some that apply to every call.
    pub(crate) async fn start(rig: &Rig, wanted: &[Peer], policies: bool) -> anyhow::Result<Self> {
        let nginx = if wanted.contains(&Peer::Nginx) { Some(nginx(rig).await?) } else { None };
        let weir =
            if wanted.contains(&Peer::Weir) { Some(agent(rig, policies).await?) } else { None };
        Ok(Self { nginx, weir })
    }

    /// The daemon, for what only it can tell.
    pub(crate) fn daemon(&self) -> anyhow::Result<&Daemon> {
        Ok(&self.weir.as_ref().context("Weir was not started")?.daemon)
    }

    /// The cgroup a peer's work is charged to.
    pub(crate) fn charged<'a>(&'a self, rig: &'a Rig, peer: Peer) -> anyhow::Result<&'a Cgroup> {
        match peer {
            Peer::Direct => Ok(rig.upstream()),
            Peer::Nginx => Ok(&self.nginx.as_ref().context("nginx was not started")?.cgroup),
            Peer::Weir => Ok(&self.weir.as_ref().context("Weir was not started")?.cgroup),
        }
    }

    /// Where the generator connects to reach a peer, and whom it trusts there.
    pub(crate) fn reached(&self, rig: &Rig, peer: Peer) -> anyhow::Result<(SocketAddr, PathBuf)> {
        Ok(match peer {
            Peer::Direct => (PROVIDER, rig.pki.ca.clone()),
            Peer::Nginx => (NGINX.parse()?, rig.pki.ca.clone()),
            // The provider's own address: the kernel half redirects.
            Peer::Weir => (PROVIDER, self.daemon()?.root()),
        })
    }

    /// Stops Weir in order; nginx goes with its handle.
    pub(crate) async fn stop(self) {
        if let Some(agent) = self.weir {
            agent.daemon.stop().await;
        }
    }
}

impl Peer {
    /// Moves the provider to the core where it disturbs the measurement least: the proxy's when
    /// there is none.
    pub(crate) fn arrange(self, rig: &Rig) -> anyhow::Result<()> {
        rig.pin_upstream(if self == Self::Direct { BACK } else { FRONT })
    }

    /// The word for it in tables and JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Nginx => "nginx",
            Self::Weir => "weir",
        }
    }
}

async fn nginx(rig: &Rig) -> anyhow::Result<Charged> {
    let home = rig.stage.scratch().join("nginx");
    fs::create_dir(&home)?;
    let file = home.join("nginx.conf");
    fs::write(&file, nginx_conf(rig, &home))?;
    let arguments = ["nginx", "-c", &file.display().to_string(), "-p", &home.display().to_string()];
    let nginx = Charged::start("weir-bench-nginx", BACK, &arguments, rig.stage.scratch())?;
    answers(NGINX.parse()?).await.with_context(|| {
        fs::read_to_string(rig.stage.scratch().join("weir-bench-nginx.log")).unwrap_or_default()
    })?;
    Ok(nginx)
}

/// TLS on both legs, verified upstream, keep-alive on both sides, nothing buffered, nothing
/// logged: the least a proxy can do that terminates TLS.
fn nginx_conf(rig: &Rig, home: &Path) -> String {
    let home = home.display();
    let [ca, certificate, key] =
        [&rig.pki.ca, &rig.pki.certificate, &rig.pki.key].map(|path| path.display().to_string());
    format!(
        "worker_processes 1; daemon off; user root; pid {home}/pid; error_log stderr warn;
events {{ worker_connections 8192; multi_accept off; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 100000000; keepalive_timeout 300s;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  client_body_buffer_size 64k; server_tokens off;
  upstream provider {{
    server {PROVIDER}; keepalive 512; keepalive_requests 100000000; keepalive_timeout 300s;
  }}
  server {{
    listen {NGINX} ssl backlog=4096 reuseport;
    ssl_certificate {certificate}; ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache off; ssl_session_tickets on;
    ssl_buffer_size 4k;
    location / {{
      proxy_pass https://provider; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header Host api.openai.com; proxy_ssl_server_name on;
      proxy_ssl_name api.openai.com; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca};
      proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_session_reuse on;
      proxy_buffering off; proxy_request_buffering on;
    }}
  }}
}}
"
    )
}

/// The daemon as it is installed, ledger and metrics on; only then charged, so that its start does
/// not count.
async fn agent(rig: &Rig, policies: bool) -> anyhow::Result<Agent> {
    let mut config = Config::new(&rig.pki.ca, [4180, 4181]).capturing(rig.stage.cgroup().path());
    if policies {
        config = enforcing(config);
    }
    let (program, home) = (weir()?, rig.stage.scratch().join("weir"));
    // Like nginx, it has one thread for its one core.
    let daemon = on_core(BACK, Daemon::start(&program, &home, &config)).await??;
    let cgroup = Cgroup::create("weir-bench-agent")?;
    let pid = daemon.pid().context("the daemon has ended")?;
    fs::write(cgroup.path().join("cgroup.procs"), pid.to_string())?;
    Ok(Agent { daemon, cgroup })
}

/// Policies of every kind that apply to each call of the generator and refuse none: limits for all,
/// per user and per workload, budgets, retries, breakers, a failover chain.
fn enforcing(config: Config) -> Config {
    const MANY: u64 = 1_000_000_000_000;
    let limits = json!({
        "requests_per_minute": MANY, "requests_per_hour": MANY, "requests_per_day": MANY,
        "tokens_per_minute": MANY, "tokens_per_day": MANY, "usd_per_hour": 1_000_000,
    });
    let budget = json!({"daily_limit_usd": 1_000_000, "monthly_limit_usd": 9_000_000});
    let mut config = config
        .with(&["mode"], json!("enforce"))
        .with(&["failover", "chains", "gpt-4o-mini"], json!(["gpt-4o"]));
    for key in ["*", "user:*", "workload:*"] {
        config = config.with(&["rate_limits", key], limits.clone());
        config = config.with(&["budgets", key], budget.clone());
    }
    config
}

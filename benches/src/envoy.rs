//! Envoy, from its Python package, before the servers.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use xtask::{cache::Cache, interrupt, site::Site};

use crate::timed::free_port;

/// What it is pinned by.
const LOCK: &str = "benches/balancers/requirements.txt";

/// Where the package has the program.
const PROGRAM: &str = "envoy/_bin/envoy";

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The program.
#[derive(Debug)]
pub struct Envoy {
    program: PathBuf,
}

/// Its balancers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyPolicy {
    /// One server after another.
    RoundRobin,
    /// Of two at random the one with fewer requests of its own.
    LeastRequest,
    /// By load reports in trailers.
    Weighted,
}

/// What is spoken on both of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyWire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, as gRPC has it.
    Http2,
}

/// One that runs.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Envoy {
    /// Finds or fetches it.
    ///
    /// # Errors
    ///
    /// If there is no wheel of it for this machine, or it cannot be fetched.
    pub fn find(cache: &Cache) -> anyhow::Result<Self> {
        let site = Site::ensure(cache, "envoy", LOCK)?;
        Ok(Self { program: site.folder().join(PROGRAM) })
    }

    /// Starts one before these servers.
    ///
    /// # Errors
    ///
    /// If it does not start, or does not listen in time.
    pub fn start(
        &self,
        policy: EnvoyPolicy,
        wire: EnvoyWire,
        servers: &[SocketAddr],
        scratch: &Path,
    ) -> anyhow::Result<Proxy> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
        let [settings, log] = ["json", "log"].map(|end| scratch.join(format!("envoy-{policy:?}-{wire:?}.{end}")));
        fs::write(&settings, configuration(policy, wire, address, servers).to_string())
            .with_context(|| format!("cannot write {}", settings.display()))?;
        let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("--config-path").arg(&settings).args(["--log-level", "warning", "--use-dynamic-base-id"]);
        command.args(["--concurrency", "1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let proxy = Proxy { address, child };
        if interrupt::poll(Some(START_LIMIT), || Ok(TcpStream::connect(address).is_ok().then_some(())))?.is_none() {
            bail!("Envoy does not listen; its log says\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that ended by itself is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        i32::try_from(self.child.id()).ok()
    }
}

/// One listener, one cluster of these servers, the same wire on both sides.
fn configuration(policy: EnvoyPolicy, wire: EnvoyWire, address: SocketAddr, servers: &[SocketAddr]) -> Value {
    const POLICIES: &str = "type.googleapis.com/envoy.extensions.load_balancing_policies";
    const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";
    let socket = |address: &SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let (name, config) = match policy {
        EnvoyPolicy::RoundRobin => (
            "envoy.load_balancing_policies.round_robin",
            json!({"@type": format!("{POLICIES}.round_robin.v3.RoundRobin")}),
        ),
        EnvoyPolicy::LeastRequest => (
            "envoy.load_balancing_policies.least_request",
            json!({"@type": format!("{POLICIES}.least_request.v3.LeastRequest")}),
        ),
        EnvoyPolicy::Weighted => (
            "envoy.load_balancing_policies.client_side_weighted_round_robin",
            json!({
                "@type": format!("{POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"),
                "blackout_period": "1s",
                "weight_update_period": "0.5s",
            }),
        ),
    };
    let (codec, upstream) = match wire {
        EnvoyWire::Http1 => ("HTTP1", json!({"http_protocol_options": {}})),
        EnvoyWire::Http2 => ("HTTP2", json!({"http2_protocol_options": {}})),
    };
    let endpoints: Vec<Value> = servers.iter().map(|server| json!({"endpoint": {"address": socket(server)}})).collect();
    json!({
        "static_resources": {
            "listeners": [{
                "name": "in",
                "address": socket(&address),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
                        "stat_prefix": "in",
                        "codec_type": codec,
                        "route_config": {"virtual_hosts": [{
                            "name": "all",
                            "domains": ["*"],
                            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "servers", "timeout": "0s"}}],
                        }]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": format!("{FILTERS}.http.router.v3.Router")},
                        }],
                    },
                }]}],
            }],
            "clusters": [{
                "name": "servers",
                "type": "STATIC",
                "connect_timeout": "1s",
                "load_balancing_policy": {"policies": [{"typed_extension_config": {"name": name, "typed_config": config}}]},
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": upstream,
                    },
                },
                "load_assignment": {"cluster_name": "servers", "endpoints": [{"lb_endpoints": endpoints}]},
            }],
        },
    })
}

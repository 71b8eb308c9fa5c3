//! Four timed servers with both of their ports, and what stands before them: a gateway and Envoy.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use sortie_benches::{
    envoy::{Envoy, EnvoyPolicy, EnvoyWire, Proxy},
    timed::{Programs, TimedDevice, TimedServer, free_port},
};
use xtask::server_process::{ServerProcess, unset_settings};

/// How many servers.
pub(super) const SERVERS: usize = 4;

/// How long the gateway may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);

/// All of it. What stands before the servers ends first.
#[derive(Debug)]
pub(super) struct ServedFleet {
    gateway: ServerProcess,
    gateway_http: SocketAddr,
    pub(super) envoy: Option<Proxy>,
    servers: Vec<TimedServer>,
}

impl ServedFleet {
    /// Starts it, by names that begin with `name`.
    pub(super) fn start(
        programs: (&Programs, &Path),
        envoy: Option<&Envoy>,
        device: &TimedDevice,
        name: &str,
        scratch: &Path,
    ) -> anyhow::Result<Self> {
        let (programs, gateway) = programs;
        let (mut servers, mut http) = (Vec::new(), Vec::new());
        for n in 1..=SERVERS {
            let port = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
            let more = ["--http".to_owned(), port.to_string()];
            let (name, ip) = (format!("{name}-{n}"), (Ipv4Addr::LOCALHOST, 0));
            servers.push(TimedServer::start_with(programs, device, &more, &name, ip, scratch)?);
            http.push(port);
        }
        let envoy = envoy.map(|envoy| envoy.start(EnvoyPolicy::RoundRobin, EnvoyWire::Http1, &http, scratch));
        let endpoints: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address)).collect();
        let gateway_http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
        let mut command = Command::new(gateway);
        unset_settings(&mut command);
        command.args(["--listen", "127.0.0.1:0", "--log-filter", "warn", "--endpoint", &endpoints.join(",")]);
        command.args(["--http", &gateway_http.to_string()]);
        let mut gateway = [ServerProcess::spawn(command, &format!("{name}-gateway"), scratch, true)?];
        ServerProcess::wait_ready(&mut gateway, START_LIMIT)?;
        let [gateway] = gateway;
        Ok(Self { gateway, gateway_http, envoy: envoy.transpose()?, servers })
    }

    /// Where the gateway takes HTTP.
    pub(super) fn gateway(&self) -> SocketAddr {
        self.gateway_http
    }

    /// The gateway's process.
    pub(super) fn gateway_pid(&self) -> anyhow::Result<i32> {
        i32::try_from(self.gateway.id()).context("a process id that is no process id")
    }

    /// Where servers take gRPC.
    pub(super) fn endpoints(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("http://{}", server.address)).collect()
    }

    /// Makes the last server so many times slower.
    pub(super) fn slow(&self, factor: f64) -> anyhow::Result<()> {
        self.servers.last().map_or(Ok(()), |server| server.slow(factor))
    }
}

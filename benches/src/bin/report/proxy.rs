//! Our gateway before a fleet.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use sortie_benches::timed::free_port;
use xtask::server_process::{ServerProcess, unset_settings};

use crate::{fleet::TimedFleet, tools::ReportTools};

/// How long it may take to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

/// One that runs.
pub(crate) struct FleetGateway {
    /// Where it takes HTTP.
    pub(crate) http: SocketAddr,
    _process: ServerProcess,
}

impl FleetGateway {
    /// Starts one.
    pub(crate) fn start(tools: &ReportTools, fleet: &TimedFleet, scratch: &Path) -> anyhow::Result<Self> {
        let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
        let mut command = Command::new(tools.gateway()?);
        unset_settings(&mut command);
        command.args(["--listen", "127.0.0.1:0", "--log-filter", "warn", "--endpoint", &fleet.endpoints()]);
        command.args(["--http", &http.to_string()]);
        let mut gateway = [ServerProcess::spawn(command, "gateway", scratch, true)?];
        ServerProcess::wait_ready(&mut gateway, START_LIMIT)?;
        let [process] = gateway;
        Ok(Self { http, _process: process })
    }
}

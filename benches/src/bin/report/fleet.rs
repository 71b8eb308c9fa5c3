//! A row of four timed servers: they are started, something goes wrong, jobs are sent, and what came of them is a cell.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;
use sortie_benches::{
    envoy::{EnvoyPolicy, EnvoyWire},
    report,
    timed::{TimedDevice, TimedServer, free_port},
};
use sortie_lab::{
    Strategy,
    bench::{BenchProtocol, BenchTask, StrategyRow},
};
use xtask::{report::data::ReportCell, server_process::unset_settings};

use crate::{
    cell::{blank, of_row},
    plan::{FleetSender, OfferedLoad, PlannedCell},
    proxy::FleetGateway,
    splitter,
    tools::ReportTools,
    trouble::{SLOWER, Trouble},
    work::WorkShape,
};

/// Servers of a fleet.
pub(crate) const SERVERS: usize = 4;

/// A mid-sized encoder on a data-centre GPU; a job of 200 documents is one batch.
pub(crate) const DEVICE: TimedDevice = TimedDevice { a_ms: 1.0, b_us: 0.46, noise: 0.0, max_batch: 32_768 };

/// Time a job has.
const DEADLINE: &str = "5s";

/// Time a job has where more is offered than can be done: all that is late there is worth nothing.
const LOADED_DEADLINE: &str = "1s";

/// Time a guard has.
const GUARD_DEADLINE: &str = "50ms";

/// Before a row counts, in seconds: clients learn what servers cost.
pub(crate) const WARM_UP: f64 = 3.0;

/// Shortest that a row counts, in seconds.
const SHORTEST: f64 = 5.0;

/// The share of capacity that a noisy neighbour offers, in bursts.
const NEIGHBOURS_SHARE: f64 = 0.3;

/// The load of the bulk work beside guards.
const BULK_SHARE: f64 = 0.5;

/// Four servers.
pub(crate) struct TimedFleet {
    pub(crate) servers: Vec<TimedServer>,
    /// Where each takes HTTP.
    pub(crate) http: Vec<SocketAddr>,
}

impl TimedFleet {
    /// Starts them.
    pub(crate) fn start(tools: &ReportTools, scratch: &Path) -> anyhow::Result<Self> {
        let (mut servers, mut http) = (Vec::new(), Vec::new());
        for n in 1..=SERVERS {
            let port = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST)?));
            let more = ["--http".to_owned(), port.to_string()];
            let (name, at) = (format!("server-{n}"), (Ipv4Addr::LOCALHOST, 0));
            servers.push(TimedServer::start_with(&tools.programs, &DEVICE, &more, &name, at, scratch)?);
            http.push(port);
        }
        Ok(Self { servers, http })
    }

    /// Their addresses for gRPC.
    pub(crate) fn endpoints(&self) -> String {
        let all: Vec<String> = self.servers.iter().map(|server| format!("http://{}", server.address)).collect();
        all.join(",")
    }
}

/// Jobs a second of a load.
pub(crate) fn rate(work: WorkShape, load: OfferedLoad) -> f64 {
    match load {
        OfferedLoad::Share(share) => share * SERVERS as f64 * DEVICE.capacity() / work.tokens(),
        OfferedLoad::Rate(rate) => rate,
        OfferedLoad::Callers(_) => f64::NAN,
    }
}

/// Seconds that a row counts.
pub(crate) fn seconds(cell: &PlannedCell, tools: &ReportTools) -> f64 {
    (cell.jobs / rate(cell.work, cell.load)).max(SHORTEST) * tools.part_of_time
}

/// Measures a row.
pub(crate) fn measure(cell: &PlannedCell, sender: FleetSender, tools: &ReportTools) -> anyhow::Result<ReportCell> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let fleet = TimedFleet::start(tools, scratch.path())?;
    if let (Trouble::Slow, Some(first)) = (cell.trouble, fleet.servers.first()) {
        first.slow(SLOWER)?;
    }
    let (rate, seconds) = (rate(cell.work, cell.load), seconds(cell, tools));
    let deadline = match (cell.work.task(), cell.load) {
        (BenchTask::Classify, _) => GUARD_DEADLINE,
        (_, OfferedLoad::Share(share)) if cell.part == xtask::report::data::ReportPart::Loads && share > 0.0 => {
            LOADED_DEADLINE
        }
        _ => DEADLINE,
    };
    let mut arguments = Offer { work: cell.work, rate, seconds, deadline }.arguments();
    for fault in cell.trouble.faults(&fleet.servers, seconds) {
        arguments.extend(["--fault".to_owned(), fault.to_string()]);
    }
    let mut run = |more: &[&str]| -> anyhow::Result<StrategyRow> {
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        let found = report::bench(&tools.programs.sortie, &arguments)?;
        found.results.into_iter().next().context("sortie bench printed no row")
    };
    let _others = Others::start(cell, &fleet, seconds, tools)?;
    let row = match sender {
        FleetSender::Direct(strategy) => run(&["--strategies", strategy.name(), "--endpoint", &fleet.endpoints()])?,
        FleetSender::Envoy(policy) => {
            let servers: Vec<SocketAddr> = fleet.servers.iter().map(|server| server.address).collect();
            let proxy = tools.envoy()?.start(policy, EnvoyWire::Http2, &servers, scratch.path())?;
            let endpoint = format!("http://{}", proxy.address);
            run(&["--strategies", Strategy::Whole.name(), "--endpoint", &endpoint])?
        }
        FleetSender::Gateway => {
            let gateway = FleetGateway::start(tools, &fleet, scratch.path())?;
            let (protocol, endpoint) = (BenchProtocol::Tei.name(), format!("http://{}", gateway.http));
            run(&["--strategies", Strategy::Whole.name(), "--protocol", protocol, "--endpoint", &endpoint])?
        }
        FleetSender::Splitter(kind) => {
            let proxy = tools.envoy()?.start(EnvoyPolicy::RoundRobin, EnvoyWire::Http1, &fleet.http, scratch.path())?;
            return splitter::measure(cell, kind, (&fleet, proxy.address), (rate, seconds), (tools, scratch.path()));
        }
    };
    Ok(of_row(blank(cell), &row))
}

/// What is offered.
pub(crate) struct Offer {
    pub(crate) work: WorkShape,
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) deadline: &'static str,
}

impl Offer {
    /// The arguments of `sortie bench`, without the addresses.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let Self { work, rate, seconds, deadline } = self;
        let text = format!(
            "--rate {rate} --duration {}ms --warm-up {}ms --deadline {deadline} --task {} --seed 1",
            (seconds * 1e3).round(),
            WARM_UP * 1e3,
            work.task().name()
        );
        text.split(' ').map(str::to_owned).chain(work.jobs().arguments()).collect()
    }
}

/// Others who send to the same servers; gone when dropped.
struct Others(Option<Child>);

impl Others {
    fn start(cell: &PlannedCell, fleet: &TimedFleet, seconds: f64, tools: &ReportTools) -> anyhow::Result<Self> {
        let (share, more): (f64, &[&str]) = match (cell.trouble, cell.work) {
            (Trouble::Neighbour, _) => {
                (NEIGHBOURS_SHARE, &["--strategies", "retry-at-once", "--tenant", "neighbour", "--arrivals", "burst:8"])
            }
            (_, WorkShape::Mixed) => (BULK_SHARE, &["--strategies", "sortie", "--lane", "bulk"]),
            _ => return Ok(Self(None)),
        };
        let work = WorkShape::Rerank200;
        let rate = rate(work, OfferedLoad::Share(share));
        let mut arguments = Offer { work, rate, seconds, deadline: DEADLINE }.arguments();
        arguments.extend(more.iter().map(|text| (*text).to_owned()));
        arguments.extend(["--endpoint".to_owned(), fleet.endpoints()]);
        let mut command = Command::new(&tools.programs.sortie);
        unset_settings(&mut command).args(["bench", "--json"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(Some(command.spawn().context("cannot start the other tenant")?)))
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // One that ended by itself is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes lines into a file.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

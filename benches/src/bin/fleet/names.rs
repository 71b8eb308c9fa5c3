//! A fleet behind a name, whose addresses change half-way.

use std::{net::Ipv4Addr, path::Path, process::Command};

use anyhow::{Context as _, bail};

use sortie_benches::{
    report,
    timed::{self, Programs, TimedDevice, TimedServer},
};
use sortie_lab::bench::StrategyRow;

use crate::args::{Args, SERVERS};

/// The system does not let us have a hosts file of our own.
#[derive(Debug, thiserror::Error)]
#[error("left out: this system gives no user and mount namespace")]
pub(super) struct NoNamespace;

/// Name that stands for the fleet.
const NAME: &str = "fleet.test";

/// The name's addresses change half-way: of six servers the first four have it before, the last four after. The first
/// two leave a second later. The change is made in a hosts file that only the measured process sees.
pub(super) fn names(
    args: &Args,
    shape: &TimedDevice,
    programs: &Programs,
    scratch: &Path,
    mut arguments: Vec<String>,
) -> anyhow::Result<Vec<StrategyRow>> {
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command
    };
    if !inside("true").status().is_ok_and(|status| status.success()) {
        bail!(NoNamespace);
    }
    let port = timed::free_port(Ipv4Addr::new(127, 0, 0, 2))?;
    let ip = |n: u8| Ipv4Addr::new(127, 0, 0, n);
    let start = |n: u8| TimedServer::start(programs, shape, &format!("server-{n}"), (ip(n), port), scratch);
    let servers = (2..SERVERS + 4).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let hosts = |from: u8| {
        let lines = (from..from + SERVERS).map(|n| format!("{} {NAME}\n", ip(n)));
        format!("127.0.0.1 localhost\n{}", lines.collect::<String>())
    };
    let [now, next] = ["hosts", "hosts.next"].map(|name| scratch.join(name));
    for (path, from) in [(&now, 2), (&next, 4)] {
        std::fs::write(path, hosts(from)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let half = args.seconds / 2;
    arguments.extend(["--fault".to_owned(), format!("at={half}s,run=cat '{}' > /etc/hosts", next.display())]);
    for TimedServer { pid_file, gone_file, .. } in servers.iter().take(2) {
        // For good: without the new addresses too little would be left.
        let leave = format!("touch '{}' && kill -TERM $(cat '{}')", gone_file.display(), pid_file.display());
        arguments.extend(["--fault".to_owned(), format!("at={}s,run={leave}", half + 1)]);
    }
    arguments.extend(["--endpoint", &format!("dns:///{NAME}:{port}")].map(str::to_owned));
    let mut command = inside("mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"");
    command.arg(&now).arg(&programs.sortie).args(["bench", "--json"]).args(&arguments).env("RESOLV_MULTI", "on");
    Ok(report::run(&mut command)?.results)
}

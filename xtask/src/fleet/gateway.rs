//! A gateway before a fleet, on loopback ports. Dropped, it is stopped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::Context as _;

use super::servers::LocalFleet;
use crate::server_process::{ServerProcess, unset_settings};

/// How long it may take to listen; it loads nothing.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Time of jobs whose callers set none: servers that share one machine are slow.
const DEFAULT_DEADLINE: &str = "5m";

/// What it runs with.
#[derive(Debug)]
pub(crate) struct GatewayPlan<'a> {
    /// The gateway binary.
    pub program: &'a Path,
    /// Where its log and address files go.
    pub scratch: &'a Path,
    /// What it is called.
    pub name: &'a str,
    /// Its gRPC port, HTTP being the next one; `None` is any free ones.
    pub port: Option<u16>,
}

/// A running gateway.
#[derive(Debug)]
pub(crate) struct LocalGateway {
    process: ServerProcess,
    http: String,
}

impl LocalGateway {
    /// Starts one before these servers, and waits until it takes requests.
    pub(crate) fn start(plan: &GatewayPlan<'_>, fleet: &LocalFleet) -> anyhow::Result<Self> {
        let GatewayPlan { program, scratch, name, port } = plan;
        let http_file: PathBuf = scratch.join(format!("{name}.http"));
        let endpoints: Vec<String> = fleet.addresses().map(|(_, address)| format!("http://{address}")).collect();
        let [grpc, http] = match port {
            None => [0, 0],
            Some(port) => [*port, port.checked_add(1).context("the gateway would have a port above 65535")?],
        };
        let mut command = Command::new(program);
        unset_settings(&mut command);
        command.args(["--listen", &format!("127.0.0.1:{grpc}"), "--http", &format!("127.0.0.1:{http}")]);
        command.arg("--http-addr-file").arg(&http_file);
        command.args(["--endpoint", &endpoints.join(","), "--replica", name, "--log-format", "text"]);
        command.args(["--default-deadline", DEFAULT_DEADLINE]);
        let mut started = [ServerProcess::spawn(command, name, scratch, true)?];
        ServerProcess::wait_ready(&mut started, START_LIMIT)?;
        let [process] = started;
        let http = fs::read_to_string(&http_file).with_context(|| format!("cannot read {}", http_file.display()))?;
        Ok(Self { process, http: http.trim().to_owned() })
    }

    /// Where it takes gRPC.
    pub(crate) fn address(&self) -> &str {
        self.process.address()
    }

    /// Where it takes HTTP.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// Its metrics.
    pub(crate) fn admin(&self) -> &str {
        self.process.admin()
    }

    /// An error with the end of its log if it has died.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.process.check()
    }

    /// Its status and the end of its log once it has ended.
    pub(crate) fn exited(&mut self) -> anyhow::Result<Option<(ExitStatus, String)>> {
        Ok(self.process.ended()?.map(|status| (status, self.process.tail())))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn it_says_where_it_listens() {
        let dir = tempfile::tempdir().unwrap();
        // A stand-in that gets the real flags: of each address file it writes the flag's own name.
        let body = "#!/bin/sh\necho \"$@\" > \"$0.args\"\nwhile [ $# -gt 0 ]; do case \"$1\" in --*-file) echo \"$1\" > \"$2.part\"; mv \"$2.part\" \"$2\";; esac; shift; done\n\
                    trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n";
        let write = r#"printf '%s' "$1" > "$2""#;
        let program = dir.path().join("gateway");
        assert!(Command::new("sh").args(["-c", write, "sh", body]).arg(&program).status().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let plan = GatewayPlan { program: &program, scratch: dir.path(), name: "gate", port: Some(7000) };
        let gateway = LocalGateway::start(&plan, &LocalFleet::none()).unwrap();
        assert_eq!((gateway.address(), gateway.http()), ("--addr-file", "--http-addr-file"));
        let flags = fs::read_to_string(dir.path().join("gateway.args")).unwrap();
        assert!(flags.contains("--listen 127.0.0.1:7000 --http 127.0.0.1:7001"), "{flags}");
        let last = GatewayPlan { port: Some(u16::MAX), ..plan };
        assert!(LocalGateway::start(&last, &LocalFleet::none()).unwrap_err().to_string().contains("65535"));
    }
}

//! Server processes on free loopback ports. Dropping the fleet stops them.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::Context as _;

use crate::server_process::{ServerProcess, unset_settings};

/// How long servers may take to load the model: seconds on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What every server runs.
#[derive(Debug)]
pub(crate) struct FleetPlan<'a> {
    /// The server binary.
    pub server: &'a Path,
    /// The ONNX Runtime library.
    pub ort: &'a Path,
    /// Name and folder (or name on the model hub) of each model.
    pub models: &'a [(String, PathBuf)],
    /// ONNX Runtime threads of each server.
    pub threads: usize,
    /// Where logs and address files go.
    pub scratch: &'a Path,
    /// What servers are called, before their number.
    pub name: &'a str,
    /// Port of the first server, the next ones counting up; `None` is any free ones.
    pub first_port: Option<u16>,
    /// Whether they have an admin port, any free one.
    pub admin: bool,
}

/// Running servers.
#[derive(Debug)]
pub(crate) struct LocalFleet(Vec<ServerProcess>);

impl LocalFleet {
    /// Starts `count` servers and waits until each takes requests.
    pub(crate) fn start(plan: &FleetPlan<'_>, count: usize) -> anyhow::Result<Self> {
        let mut servers = (1..=count).map(|n| plan.spawn(n)).collect::<anyhow::Result<Vec<_>>>()?;
        ServerProcess::wait_ready(&mut servers, START_LIMIT)?;
        Ok(Self(servers))
    }

    /// No server at all.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// (name, address) of each server.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|s| (s.name(), s.address()))
    }

    /// (name, address, process id) of the first server.
    pub(crate) fn first(&self) -> Option<(&str, &str, u32)> {
        self.0.first().map(|s| (s.name(), s.address(), s.id()))
    }

    /// Address of each server's admin port.
    pub(crate) fn admin_addresses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(ServerProcess::admin).filter(|admin| !admin.is_empty())
    }

    /// Takes out a server that has died and tells its name, its status and the end of its log.
    pub(crate) fn reap_exited(&mut self) -> anyhow::Result<Option<(String, ExitStatus, String)>> {
        for (n, server) in self.0.iter_mut().enumerate() {
            if let Some(status) = server.ended()? {
                let server = self.0.remove(n);
                return Ok(Some((server.name().to_owned(), status, server.tail())));
            }
        }
        Ok(None)
    }

    /// Whether no server is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error with the end of its log if a server has died.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        self.0.iter_mut().try_for_each(ServerProcess::check)
    }
}

impl Drop for LocalFleet {
    fn drop(&mut self) {
        // All at once, so that their graces run side by side.
        self.0.iter().for_each(ServerProcess::ask_to_leave);
    }
}

impl FleetPlan<'_> {
    /// Starts server number `n`.
    fn spawn(&self, n: usize) -> anyhow::Result<ServerProcess> {
        let name = format!("{}-{n}", self.name);
        let port = match self.first_port {
            None => 0,
            Some(first) => {
                let port = usize::from(first) + n - 1;
                u16::try_from(port).with_context(|| format!("server {n} would have port {port}, above 65535"))?
            }
        };
        let mut command = Command::new(self.server);
        unset_settings(&mut command);
        let threads = self.threads.to_string();
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--replica", &name, "--log-format", "text"]);
        command.args(["--threads", &threads, "--tokenize-threads", &threads]).arg("--ort-library").arg(self.ort);
        for (model, folder) in self.models {
            command.arg("--model").arg(format!("{model}={}", folder.display()));
        }
        ServerProcess::spawn(command, &name, self.scratch, self.admin)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// A stand-in server: a shell script that gets the real flags.
    fn script(dir: &Path, body: &str) -> PathBuf {
        let path = dir.join("server");
        // Written by a process of its own: children that other tests start meanwhile have our open files for a moment,
        // and what is open for writing cannot be run.
        let write = r#"printf '%s' "$1" > "$2" && chmod 755 "$2""#;
        let text = format!("#!/bin/sh\n{body}\n");
        assert!(Command::new("sh").args(["-c", write, "sh", &text]).arg(&path).status().unwrap().success());
        path
    }

    fn start(dir: &Path, body: &str) -> anyhow::Result<LocalFleet> {
        let server = script(dir, body);
        let plan = FleetPlan {
            server: &server,
            ort: Path::new("ort"),
            models: &[("m".to_owned(), "/m".into())],
            threads: 1,
            scratch: dir,
            name: "demo",
            first_port: None,
            admin: true,
        };
        LocalFleet::start(&plan, 2)
    }

    #[test]
    fn servers_are_watched_and_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let error = start(dir.path(), "echo no such model; exit 3").unwrap_err().to_string();
        assert!(error.contains("ended by itself") && error.contains("no such model"), "{error}");

        let body = r#"while [ "$1" != --admin-addr-file ]; do shift; done
echo 127.0.0.1:9 > "$2"
while [ "$1" != --addr-file ]; do shift; done
trap 'echo gone > "$2.gone"; exit 0' TERM
echo 127.0.0.1:1234 > "$2"
while :; do sleep 0.05; done"#;
        let fleet = start(dir.path(), body).unwrap();
        assert_eq!(fleet.addresses().collect::<Vec<_>>(), [("demo-1", "127.0.0.1:1234"), ("demo-2", "127.0.0.1:1234")]);
        // One that is stopped leaves too.
        let (_, _, pid) = fleet.first().unwrap();
        kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::STOP).unwrap();
        assert_eq!(fleet.admin_addresses().collect::<Vec<_>>(), ["127.0.0.1:9", "127.0.0.1:9"]);
        drop(fleet);
        for n in 1..=2 {
            assert!(dir.path().join(format!("demo-{n}.addr.gone")).is_file());
        }
    }
}

//! Server processes on free loopback ports. Dropping the fleet stops them.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{interrupt, process::Owned};

/// How long servers may take to load the model: seconds on a slow disk.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Lines of a dead server's log that are shown.
const LOG_TAIL: usize = 20;

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

#[derive(Debug)]
struct ServerProcess {
    name: String,
    process: Owned,
    log: PathBuf,
    addr_file: PathBuf,
    admin_file: PathBuf,
    address: String,
    /// Empty where there is no admin port.
    admin: String,
}

impl LocalFleet {
    /// Starts `count` servers and waits until each takes requests.
    pub(crate) fn start(plan: &FleetPlan<'_>, count: usize) -> anyhow::Result<Self> {
        let servers = (1..=count).map(|n| ServerProcess::spawn(plan, n)).collect::<anyhow::Result<_>>()?;
        let mut fleet = Self(servers);
        let ready = interrupt::poll(Some(START_LIMIT), || {
            fleet.check()?;
            for server in &mut fleet.0 {
                if server.address.is_empty() && !server.look_for_address() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        if ready.is_none() {
            let late: Vec<_> = fleet.0.iter().filter(|s| s.address.is_empty()).map(|s| s.name.as_str()).collect();
            let log = fleet.0.iter().find(|s| s.address.is_empty()).map(ServerProcess::tail).unwrap_or_default();
            bail!("{} not ready after {} s; the log ends with\n{log}", late.join(", "), START_LIMIT.as_secs());
        }
        Ok(fleet)
    }

    /// (name, address) of each server.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|s| (s.name.as_str(), s.address.as_str()))
    }

    /// (name, address, process id) of the first server.
    pub(crate) fn first(&self) -> Option<(&str, &str, u32)> {
        self.0.first().map(|s| (s.name.as_str(), s.address.as_str(), s.process.id()))
    }

    /// Address of each server's admin port.
    pub(crate) fn admin_addresses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|s| s.admin.as_str()).filter(|admin| !admin.is_empty())
    }

    /// Takes out a server that has died and tells its name, its status and the end of its log.
    pub(crate) fn reap_exited(&mut self) -> anyhow::Result<Option<(String, ExitStatus, String)>> {
        for (n, server) in self.0.iter_mut().enumerate() {
            if let Some(status) = server.process.ended()? {
                let server = self.0.remove(n);
                return Ok(Some((server.name.clone(), status, server.tail())));
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
        for server in &mut self.0 {
            if let Some(status) = server.process.ended()? {
                // The terminal's Ctrl-C reaches the servers too.
                interrupt::check()?;
                bail!("{} ended by itself ({status}); its log ends with\n{}", server.name, server.tail());
            }
        }
        Ok(())
    }
}

impl Drop for LocalFleet {
    fn drop(&mut self) {
        // All at once, so that their graces run side by side.
        self.0.iter().for_each(|s| s.process.ask_to_leave());
    }
}

impl ServerProcess {
    fn spawn(plan: &FleetPlan<'_>, n: usize) -> anyhow::Result<Self> {
        let name = format!("{}-{n}", plan.name);
        let log = plan.scratch.join(format!("{name}.log"));
        let addr_file = plan.scratch.join(format!("{name}.addr"));
        let admin_file = plan.scratch.join(format!("{name}.admin"));
        let port = match plan.first_port {
            None => 0,
            Some(first) => {
                let port = usize::from(first) + n - 1;
                u16::try_from(port).with_context(|| format!("server {n} would have port {port}, above 65535"))?
            }
        };
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        let mut command = Command::new(plan.server);
        // Settings of the user's own servers must not reach these.
        for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
            command.env_remove(key);
        }
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--replica", &name, "--log-format", "text"]).args([
            "--threads",
            &plan.threads.to_string(),
            "--tokenize-threads",
            &plan.threads.to_string(),
        ]);
        for (model, folder) in plan.models {
            command.arg("--model").arg(format!("{model}={}", folder.display()));
        }
        if plan.admin {
            command.args(["--admin", "127.0.0.1:0"]).arg("--admin-addr-file").arg(&admin_file);
        }
        command
            .arg("--addr-file")
            .arg(&addr_file)
            .arg("--ort-library")
            .arg(plan.ort)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        let process = Owned::spawn(&mut command, "a server")?;
        Ok(Self { name, process, log, addr_file, admin_file, address: String::new(), admin: String::new() })
    }

    /// The server writes its address once it takes requests.
    fn look_for_address(&mut self) -> bool {
        if let Ok(text) = fs::read_to_string(&self.addr_file) {
            text.trim().clone_into(&mut self.address);
        }
        if let Ok(text) = fs::read_to_string(&self.admin_file) {
            // Written before the model loads, so there by now where it will ever be.
            text.trim().clone_into(&mut self.admin);
        }
        !self.address.is_empty()
    }

    fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_TAIL)..).unwrap_or_default().join("\n")
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

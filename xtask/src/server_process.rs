//! A server in a process of its own on loopback ports, which says where it listens in files. Dropped, it is stopped.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{interrupt, process::Owned};

/// Lines of a dead server's log that are shown.
const LOG_TAIL: usize = 20;

/// A server that does not outlive this value.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    process: Owned,
    log: PathBuf,
    addr_file: PathBuf,
    admin_file: PathBuf,
    address: String,
    admin: String,
}

impl ServerProcess {
    /// Starts the server that `command` runs, by this name. Its log and the files with
    /// its addresses lie in `scratch`.
    pub fn spawn(mut command: Command, name: &str, scratch: &Path, admin: bool) -> anyhow::Result<Self> {
        let [log, addr_file, admin_file] = ["log", "addr", "admin"].map(|end| scratch.join(format!("{name}.{end}")));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        if admin {
            command.args(["--admin", "127.0.0.1:0"]).arg("--admin-addr-file").arg(&admin_file);
        }
        command.arg("--addr-file").arg(&addr_file).stdin(Stdio::null()).stdout(out).stderr(err);
        let process = Owned::spawn(&mut command, "a server")?;
        let name = name.to_owned();
        Ok(Self { name, process, log, addr_file, admin_file, address: String::new(), admin: String::new() })
    }

    /// Waits until all of them take requests.
    pub fn wait_ready(servers: &mut [Self], limit: Duration) -> anyhow::Result<()> {
        let ready = interrupt::poll(Some(limit), || {
            for server in &mut *servers {
                server.check()?;
                if !server.looks_ready() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        if ready.is_none() {
            let late: Vec<_> = servers.iter().filter(|s| s.address.is_empty()).collect();
            let names: Vec<_> = late.iter().map(|s| s.name.as_str()).collect();
            let log = late.first().map(|s| s.tail()).unwrap_or_default();
            bail!("{} not ready after {} s; the log ends with\n{log}", names.join(", "), limit.as_secs());
        }
        Ok(())
    }

    /// Whether it takes requests: it writes its address once it does.
    fn looks_ready(&mut self) -> bool {
        if self.address.is_empty()
            && let Ok(text) = fs::read_to_string(&self.addr_file)
        {
            text.trim().clone_into(&mut self.address);
            // Written before the model loads, so there by now where it will ever be.
            self.admin = fs::read_to_string(&self.admin_file).unwrap_or_default().trim().to_owned();
        }
        !self.address.is_empty()
    }

    /// An error with the end of its log if it has died.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.ended()? {
            // The terminal's Ctrl-C reaches the servers too.
            interrupt::check()?;
            bail!("{} ended by itself ({status}); its log ends with\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// Its status if it has ended.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.process.ended()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it takes requests; empty before it does.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its admin port; empty where it has none.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Asks it to leave without waiting.
    pub fn ask_to_leave(&self) {
        self.process.ask_to_leave();
    }

    /// All that it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of it.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_TAIL)..).unwrap_or_default().join("\n")
    }
}

/// Settings of the user's own servers and clients must not reach those that are measured or shown.
pub fn unset_settings(command: &mut Command) -> &mut Command {
    for (key, _) in env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("SORTIE_")) {
        command.env_remove(key);
    }
    command
}

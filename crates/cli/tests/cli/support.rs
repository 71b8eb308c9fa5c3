//! Runs the built binary with nothing of the caller's environment.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use sortie_testkit::TestServer;

/// What a run printed and how it ended.
#[derive(Debug)]
pub(crate) struct ToolRun {
    /// Exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl ToolRun {
    /// Standard output as the JSON it is.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary, without any setting from outside.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sortie"));
    for name in ["SORTIE_ENDPOINT", "SORTIE_MODEL", "SORTIE_TOKEN", "SORTIE_TOKEN_FILE", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn sortie(args: &[&str]) -> ToolRun {
    ended(command(args).output().unwrap())
}

/// Runs it with `input` on standard input.
pub(crate) fn sortie_reading(args: &[&str], input: &[u8]) -> ToolRun {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    ended(child.wait_with_output().unwrap())
}

fn ended(output: Output) -> ToolRun {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    ToolRun { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs it against `servers`, beside which the test's own tasks go on.
pub(crate) async fn at(servers: &[&TestServer], args: &[&str]) -> ToolRun {
    reading(servers, args, b"").await
}

/// The same with `input` on standard input.
pub(crate) async fn reading(servers: &[&TestServer], args: &[&str], input: &[u8]) -> ToolRun {
    let endpoints = servers.iter().map(|server| server.address()).collect::<Vec<_>>().join(",");
    let args: Vec<String> =
        args.iter().map(|arg| (*arg).to_owned()).chain(["--endpoint".to_owned(), endpoints]).collect();
    let input = input.to_owned();
    let run = move || sortie_reading(&args.iter().map(String::as_str).collect::<Vec<_>>(), &input);
    tokio::task::spawn_blocking(run).await.unwrap()
}

//! A row whose packets come later and get lost: this program once more, in a network of its own.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};
use xtask::{
    process,
    report::{
        self,
        data::{ReportCell, ReportData},
    },
};

/// What is done to the loopback of that network.
const RULE: &str = "delay 1ms 0.2ms loss 1%";

/// Measures the row of a key by another process.
pub(crate) fn measure(key: &str, folder: &Path, quick: bool) -> anyhow::Result<Vec<ReportCell>> {
    let inside = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", &script, "sh"]);
        command
    };
    let rule = format!("ip link set lo up && tc qdisc add dev lo root netem {RULE}");
    let allowed = process::output(&mut inside(rule.clone()), "unshare", process::Keep::Both);
    match allowed {
        Ok(out) if out.status.success() => {}
        Ok(out) => bail!("this system gives no network of its own, or no tc: {}", out.stderr.trim()),
        Err(error) => return Err(error.context("there is no unshare")),
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let program = std::env::current_exe().context("this program has no file")?;
    let programs = program.parent().context("this program has no folder")?;
    let mut command = inside(format!("{rule} && exec \"$@\""));
    command.arg(&program).args(["--inside-netem", "--only", key]).arg("--data").arg(scratch.path());
    command.arg("--programs").arg(programs);
    if quick {
        command.arg("--quick");
    }
    process::run(&mut command, "the row in a network of its own")?;
    let data = ReportData::read(&scratch.path().join(report::DATA))
        .with_context(|| format!("no data came of it for {}", folder.display()))?;
    anyhow::ensure!(
        !data.cells.is_empty(),
        "{}",
        data.environment.skipped.values().next().cloned().unwrap_or_default()
    );
    Ok(data.cells)
}

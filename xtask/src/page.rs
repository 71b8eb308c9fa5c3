//! `cargo xtask page`: the page of the gateway and the server in a real Chromium, over three servers with the demo's models.
//! The tests are in `tests/page`; what they import is pinned by digest there and lives in the cache. The browser is the
//! system's own, as Debian's package `chromium` brings it. Pictures of the page are left in `target/page`.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{cache::Cache, models, ort, sdks, site::Site, steps::Steps, workspace};

/// Models that are shown: one for each task that can be tried.
const MODELS: &[&str] = &["reranker", "minilm", "rampart"];

/// A classifier of the tests: among the demo's models there is none.
const CLASSIFIER: (&str, &str) = ("classifier", "tests/oracle/tiny/bert-classify3");

/// What systems call the browser.
const BROWSERS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// `cargo xtask page`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The browser; without it Chromium or Chrome as the system has it
    #[arg(long, value_name = "FILE")]
    browser: Option<PathBuf>,
    /// Test this server rather than one built here
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Test this gateway rather than one built here
    #[arg(long, value_name = "FILE")]
    gateway: Option<PathBuf>,
    /// Passed on to pytest
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Fetches, builds the two programs and runs the tests.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let browser = match &args.browser {
        Some(file) => file.clone(),
        None => on_path(BROWSERS).context("no Chromium is installed: `apt-get install chromium`, or --browser FILE")?,
    };
    let (library, site, served) = {
        let cache = Cache::open()?;
        let site = Site::ensure(&cache, "page", "tests/page/requirements.lock")?;
        let folder = |name: &&str| Ok(format!("{name}={}", models::ensure(&cache, name)?.display()));
        let mut served = MODELS.iter().map(folder).collect::<anyhow::Result<Vec<_>>>()?;
        served.push(format!("{}={}", CLASSIFIER.0, workspace::root().join(CLASSIFIER.1).display()));
        (ort::ensure(&cache)?, site, served)
    };
    let server = sdks::program("sortie-server", args.server.as_deref())?;
    let gateway = sdks::program("sortie-gateway", args.gateway.as_deref())?;
    let pictures = workspace::target()?.join("page");
    let mut command = site.module("pytest");
    command.current_dir(workspace::root().join("tests/page")).args(["-q", "-p", "no:cacheprovider"]).args(&args.rest);
    command.env("SORTIE_SERVER", server).env("SORTIE_GATEWAY", gateway).env("ORT_DYLIB_PATH", library);
    command.env("SORTIE_BROWSER", browser).env("SORTIE_PAGE_MODELS", served.join(";"));
    command.env("SORTIE_SHOTS", &pictures);
    let mut steps = Steps::default();
    steps.run("page", &mut command)?;
    eprintln!("pictures are in {}", pictures.display());
    steps.finish()
}

/// The first of these programs that is on the path.
fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    names.iter().find_map(|name| env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file)))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        assert!(on_path(&["no-such-browser", "sh"]).is_some_and(|file| file.ends_with("sh")));
        assert_eq!(on_path(&["no-such-browser"]), None);
    }

    #[test]
    fn every_model_is_there() {
        assert!(MODELS.iter().all(|name| crate::catalog::model(name).is_some()));
        assert!(workspace::root().join(CLASSIFIER.1).is_dir());
    }
}

//! `cargo xtask sdks`: other people's clients, unmodified, against a gateway before three servers and against a server's
//! own HTTP port. The tests are in `tests/sdks`; what they import is pinned by digest there and lives in the cache.
//!
//! | set | lock | what |
//! | --- | --- | --- |
//! | `sdks` | `requirements.lock` | the packages `openai`, `cohere` and `tei-client` |
//! | `sdks-frameworks` | `frameworks.lock` | LangChain, LlamaIndex, Haystack, LiteLLM, the hub's and Baseten's clients |
//! | `sdks-openapi` | `openapi.lock` | schemathesis, which asks every route of the OpenAPI document at random |
//! | `sdks-node` | `node/package-lock.json` | `openai`, `cohere-ai` and `ai` of npm; needs Node and npm |

use std::{
    fs,
    path::{self, Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

use crate::{
    cache::Cache,
    digest, ort,
    process::{self, Keep},
    site::Site,
    steps::Steps,
    workspace,
};

/// Oldest Node that the packages run on.
const NODE: u32 = 20;

/// Tests of each set.
const FAST: &[&str] = &["test_openai.py", "test_cohere.py", "test_tei_client.py", "test_connections.py"];
const FRAMEWORKS: &[&str] = &["test_frameworks.py"];
const OPENAPI: &[&str] = &["test_openapi.py"];
const IN_NODE: &[&str] = &["test_node.py"];

/// `cargo xtask sdks`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only the packages openai, cohere and tei-client of Python
    #[arg(long)]
    fast: bool,
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

/// What the tests of all sets are told.
struct ClientSet<'a> {
    server: PathBuf,
    gateway: PathBuf,
    library: PathBuf,
    rest: &'a [String],
}

/// Fetches, builds the two programs, runs every set and fails if one did.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (library, fast, rest) = {
        let cache = Cache::open()?;
        let fast = Site::ensure(&cache, "sdks", "tests/sdks/requirements.lock")?;
        let rest = if args.fast {
            None
        } else {
            let frameworks = Site::ensure(&cache, "sdks-frameworks", "tests/sdks/frameworks.lock")?;
            let openapi = Site::ensure(&cache, "sdks-openapi", "tests/sdks/openapi.lock")?;
            Some((frameworks, openapi, node_modules(&cache)?))
        };
        (ort::ensure(&cache)?, fast, rest)
    };
    let server = program("sortie-server", args.server.as_deref())?;
    let gateway = program("sortie-gateway", args.gateway.as_deref())?;
    let setting = ClientSet { server, gateway, library, rest: &args.rest };
    let mut steps = Steps::default();
    steps.run("clients", &mut setting.pytest(&fast, FAST))?;
    if let Some((frameworks, openapi, modules)) = rest {
        steps.run("frameworks", &mut setting.pytest(&frameworks, FRAMEWORKS))?;
        steps.run("openapi", &mut setting.pytest(&openapi, OPENAPI))?;
        steps.run("node", setting.pytest(&fast, IN_NODE).env("SORTIE_NODE_MODULES", modules))?;
    }
    steps.finish()
}

impl ClientSet<'_> {
    /// A command that runs tests with a set of packages.
    fn pytest(&self, site: &Site, files: &[&str]) -> Command {
        let mut command = site.module("pytest");
        command.current_dir(folder()).args(["-q", "--disable-warnings", "-p", "no:cacheprovider"]);
        command.args(files).args(self.rest);
        command.env("SORTIE_SERVER", &self.server).env("SORTIE_GATEWAY", &self.gateway);
        command.env("ORT_DYLIB_PATH", &self.library);
        command
    }
}

/// The file given, or the program built here.
pub(crate) fn program(name: &str, given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(file) => path::absolute(file).with_context(|| format!("cannot find {}", file.display())),
        None => {
            process::run(workspace::cargo().args(["build", "-p", name]), "cargo build")?;
            Ok(workspace::target()?.join("debug").join(name))
        }
    }
}

/// The tests.
fn folder() -> PathBuf {
    workspace::root().join("tests/sdks")
}

/// The folder `node_modules` that the lock of `tests/sdks/node` describes: the cache's entry `node/sdks`.
fn node_modules(cache: &Cache) -> anyhow::Result<PathBuf> {
    let node = process::output(Command::new("node").arg("--version"), "node", Keep::Both)
        .context("the clients of npm need Node and npm; --fast leaves them out")?;
    if major(&node.stdout).is_none_or(|version| version < NODE) {
        bail!("the clients of npm need Node {NODE} or newer, this is {}; --fast leaves them out", node.stdout.trim());
    }
    let from = folder().join("node");
    let files = ["package.json", "package-lock.json"];
    let mut text = node.stdout.into_bytes();
    for file in files {
        let path = from.join(file);
        text.extend(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let entry = cache.entry("node/sdks", &digest::bytes(&text), |folder| {
        eprintln!("fetching the packages of {}", from.display());
        for file in files {
            fs::copy(from.join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
        }
        let scratch = cache.scratch()?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-bin-links", "--no-audit", "--no-fund", "--loglevel=error"]);
        npm.arg("--cache").arg(scratch.path()).current_dir(folder).stdin(Stdio::null());
        process::run(&mut npm, "npm ci")
    })?;
    Ok(entry.join("node_modules"))
}

/// `v20.1.0` to 20.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20"), None);
        assert_eq!(major("v"), None);
    }

    #[test]
    fn every_test_file_is_in_a_set() {
        let mut there: Vec<_> = fs::read_dir(folder())
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("test_"))
            .collect();
        there.sort_unstable();
        let mut named = [FAST, FRAMEWORKS, OPENAPI, IN_NODE].concat();
        named.sort_unstable();
        assert_eq!(there, named);
    }
}

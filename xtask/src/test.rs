//! `cargo xtask test`: every test of the workspace, after fetching the library and
//! the models they run on. Nothing is skipped for want of a file.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
    thread,
    time::Instant,
};

use anyhow::{Context as _, bail};

use crate::{cache::Cache, check, models, ort, process::Owned, workspace};

/// `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo test`, of the whole workspace unless a package is named
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Fetches, tests, sums up.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let start = Instant::now();
    let buf;
    {
        let cache = Cache::open()?;
        ort::ensure(&cache)?;
        models::ensure_all(&cache)?;
        buf = check::buf(&cache)?;
    }
    let mut cargo = workspace::cargo();
    // A client that is not ours looks at the server too.
    cargo.envs(buf.map(|path| ("SORTIE_BUF", path)));
    cargo.args(["test", "--no-fail-fast"]);
    if !names_a_package(&args.rest) {
        cargo.arg("--workspace");
    }
    cargo.args(&args.rest);
    let mut child = Owned::spawn(cargo.stdin(Stdio::null()).stdout(Stdio::piped()), "cargo test")?;
    let out = child.stdout().context("cargo test has no output")?;
    let tally = thread::spawn(move || {
        let mut tally = Tally::default();
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // Whoever reads this may have seen enough (`| head`); the tests go on.
            let _ = writeln!(std::io::stdout(), "{line}");
            tally.add(&line);
        }
        tally
    });
    let status = child.wait()?;
    let Ok(tally) = tally.join() else { bail!("cannot read the tests' output") };
    println!(
        "\n{} passed, {} failed, {} ignored, in {} test programs, {:.0} s",
        tally.passed,
        tally.failed,
        tally.ignored,
        tally.programs,
        start.elapsed().as_secs_f32()
    );
    for name in &tally.failures {
        println!("  failed: {name}");
    }
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

/// Whether arguments for `cargo test` choose packages; what follows `--` is for the tests.
fn names_a_package(arguments: &[String]) -> bool {
    let chooses = |a: &String| {
        a == "-p" || a == "--package" || a.starts_with("--package=") || (a.starts_with("-p") && !a.starts_with("--"))
    };
    arguments.iter().take_while(|a| *a != "--").any(chooses)
}

/// Sums over the test programs' closing lines.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Takes in one line of output.
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        self.programs += 1;
        let count = |what: &str| {
            let before = counts.split(what).next()?.trim_end();
            before.rsplit([' ', ';']).next()?.parse::<u64>().ok()
        };
        self.passed += count(" passed").unwrap_or(0);
        self.failed += count(" failed").unwrap_or(0);
        self.ignored += count(" ignored").unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_may_be_named() {
        let named = |line: &str| names_a_package(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        for line in
            ["-p sortie-tests", "--package sortie-tests", "--package=sortie-tests", "-psortie-tests", "name -p x"]
        {
            assert!(named(line), "{line}");
        }
        for line in ["", "some_test", "--lib", "-- -p", "some_test -- --nocapture"] {
            assert!(!named(line), "{line}");
        }
    }

    #[test]
    fn closing_lines_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 30 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.00s",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { programs: 2, passed: 42, failed: 1, ignored: 2, failures: vec!["a::c".to_owned()] });
    }
}

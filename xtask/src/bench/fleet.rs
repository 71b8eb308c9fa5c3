//! `cargo xtask bench fleet`: four servers over timed devices, and what goes wrong with fleets.
//!
//! Every scenario has the same jobs. `quiet` is what the others are compared with; `stalls` is row 7 of the design's
//! figures, `straggler` row 7b. Jobs must not fail in any of them: capacity always remains.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail};

use super::{
    jobs::Jobs,
    loader::{self, Row, cell, ratio},
    timed::{self, Programs, Server, Shape},
};

/// A mid-sized encoder on a data-centre GPU, as the design's figures have it; a job is one batch.
const DEVICE: Shape = Shape { a_ms: 1.0, b_us: 0.46, noise: 0.0, max_batch: 32_768 };

/// Servers of the fleet.
const SERVERS: u8 = 4;

/// How much slower the straggler is.
const STRAGGLER: f64 = 4.0;

/// Time a job has: hundreds of times what it needs, little enough that a lost one shows.
const DEADLINE: &str = "5s";

/// Past this (p99, milliseconds) the machine, not the fleet, was measured.
const LATE_MS: f64 = 5.0;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Nothing
    Quiet,
    /// A random server is stopped (SIGSTOP) for 150 ms once a second
    Stalls,
    /// One server is four times slower
    Straggler,
    /// One server hangs for a quarter of the time
    Frozen,
    /// A random server is killed (SIGKILL) again and again and comes back half a second later
    Kill,
    /// One server after the other is asked to leave (SIGTERM) and comes back
    Rolling,
    /// A fifth address takes connections and never answers
    BlackHole,
    /// Two of four servers leave the name and the machine, two others come
    Dns,
}

impl Scenario {
    const ALL: [Self; 8] = [
        Self::Quiet,
        Self::Stalls,
        Self::Straggler,
        Self::Frozen,
        Self::Kill,
        Self::Rolling,
        Self::BlackHole,
        Self::Dns,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Stalls => "stalls",
            Self::Straggler => "straggler",
            Self::Frozen => "frozen",
            Self::Kill => "kill",
            Self::Rolling => "rolling",
            Self::BlackHole => "black-hole",
            Self::Dns => "dns",
        }
    }

    /// Who is measured. Hand-written strategies fail jobs in most of these; they are told where the design compares.
    fn strategies(self) -> &'static str {
        match self {
            Self::Quiet | Self::Stalls => "whole,p2c+hedge,sortie-no-hedge,sortie",
            Self::Straggler => "naive,p2c,p2c+hedge,whole,sortie",
            Self::Frozen | Self::Kill | Self::Rolling | Self::BlackHole | Self::Dns => "sortie",
        }
    }

    /// What happens to these servers within `seconds`.
    fn faults(self, servers: &[Server], seconds: u64) -> Vec<String> {
        let pid = |server: &Server| server.pid_file.display().to_string();
        let all: Vec<String> = servers.iter().map(pid).collect();
        let at = |share: f64| (seconds as f64 * share).round();
        match self {
            Self::Quiet | Self::Straggler | Self::BlackHole | Self::Dns => Vec::new(),
            Self::Stalls => vec![format!("every=1s,for=150ms,signal=STOP,pid={}", all.join(":"))],
            Self::Frozen => {
                let first = all.first().cloned().unwrap_or_default();
                vec![format!("at={}s,for={}s,signal=STOP,pid={first}", at(0.25), at(0.25))]
            }
            Self::Kill => vec![format!("every={}s,signal=KILL,pid={}", at(0.15).max(2.0), all.join(":"))],
            Self::Rolling => {
                let turn =
                    |(n, pid): (usize, &String)| format!("at={}s,signal=TERM,pid={pid}", at(0.2 * (n + 1) as f64));
                all.iter().enumerate().map(turn).collect()
            }
        }
    }
}

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What goes wrong; everything in turn if left out
    #[arg(long, value_enum, value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Seconds each strategy is measured in each scenario
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(4..))]
    seconds: u64,
    /// Turns the strategies of a scenario take
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Offered tokens over what four servers can do
    #[arg(long, default_value_t = 0.6)]
    load: f64,
    /// Factor on the devices' cost: above 1 for machines, or builds, that cannot keep up with the real figures
    #[arg(long, default_value_t = 1.0)]
    slower: f64,
    /// Where arrivals and faults begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    build: timed::Build,
}

/// Runs it and prints a Markdown table, then whether the rows of the design hold.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let programs = timed::build(&args.build)?;
    let shape = Shape { a_ms: DEVICE.a_ms * args.slower, b_us: DEVICE.b_us * args.slower, ..DEVICE };
    let rate = args.load * f64::from(SERVERS) * shape.capacity() / Jobs::LARGE.tokens();
    println!(
        "\n{SERVERS} servers over timed devices (a {} ms, b {} µs), {rate:.1} jobs/s of 200 documents and {:.0} tokens, load \
         {}, {} s in {} rounds for each strategy, {}\n",
        shape.a_ms,
        shape.b_us,
        Jobs::LARGE.tokens(),
        args.load,
        args.seconds,
        args.rounds,
        args.build
    );
    println!(
        "| scenario | strategy | jobs | failed | p50 ms | p99 ms | p99.9 ms | p99 ÷ quiet | p99.9 ÷ quiet | hedges % | \
         retries % | free retries % | client µs/job | sent late p99 ms |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let scenarios = if args.scenarios.is_empty() { &Scenario::ALL[..] } else { &args.scenarios };
    let mut all: Vec<(Scenario, Row)> = Vec::new();
    for &scenario in scenarios {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let rows = match one(scenario, args, &shape, rate, &programs, scratch.path()) {
            Ok(rows) => rows,
            Err(error) if error.is::<NoNamespace>() => {
                println!("| {} | {error} |", scenario.name());
                continue;
            }
            Err(error) => return Err(error.context(scenario.name())),
        };
        for row in rows {
            println!("{}", line(scenario, &row, find(&all, Scenario::Quiet, &row.strategy)));
            all.push((scenario, row));
        }
    }
    println!("\n{}", verdict(&all));
    Ok(())
}

fn find<'a>(all: &'a [(Scenario, Row)], scenario: Scenario, strategy: &str) -> Option<&'a Row> {
    all.iter().find(|(s, row)| *s == scenario && row.strategy == strategy).map(|(_, row)| row)
}

fn line(scenario: Scenario, row: &Row, quiet: Option<&Row>) -> String {
    let percent = |share: Option<f64>| cell(share.map(|share| share * 100.0), 2);
    let latency = &row.latency_ms;
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        scenario.name(),
        row.strategy,
        row.jobs,
        row.failures(),
        cell(latency.p50, 1),
        cell(latency.p99, 1),
        cell(latency.p999, 1),
        cell(ratio(latency.p99, quiet.and_then(|q| q.latency_ms.p99)), 2),
        cell(ratio(latency.p999, quiet.and_then(|q| q.latency_ms.p999)), 2),
        percent(row.hedge_share),
        percent(row.retry_share),
        percent(row.free_share),
        cell(row.cpu_us_per_job, 0),
        cell(row.late_ms.p99, 2),
    )
}

/// Rows 7 and 7b of the design's figures, and that nothing failed.
fn verdict(all: &[(Scenario, Row)]) -> String {
    let over_quiet = |scenario, strategy: &str, of: fn(&Row) -> Option<f64>| {
        ratio(find(all, scenario, strategy).and_then(of), find(all, Scenario::Quiet, strategy).and_then(of))
    };
    let p99 = |row: &Row| row.latency_ms.p99;
    let p999 = |row: &Row| row.latency_ms.p999;
    let holds = |value: Option<f64>, test: &dyn Fn(f64) -> bool| match value {
        Some(value) => format!("{value:.2} ({})", if test(value) { "holds" } else { "does not hold" }),
        None => "not measured".to_owned(),
    };
    let extra = find(all, Scenario::Stalls, "sortie")
        .and_then(|row| row.hedge_share.zip(row.retry_share))
        .map(|(hedges, retries)| (hedges + retries) * 100.0);
    let all_p99 = |strategy| find(all, Scenario::Straggler, strategy).and_then(|row| row.all_ms.p99);
    let lost: Vec<String> = all
        .iter()
        .filter(|(_, row)| row.strategy == "sortie" && row.failed > 0)
        .map(|(scenario, row)| format!("{} {}", scenario.name(), row.failures()))
        .collect();
    let late = |row: &Row| row.late_ms.p99.is_some_and(|late| late > LATE_MS);
    let void: Vec<String> = all
        .iter()
        .filter(|(_, row)| late(row))
        .map(|(scenario, row)| format!("{} {}", scenario.name(), row.strategy))
        .collect();
    let control = over_quiet(Scenario::Stalls, "sortie-no-hedge", p99);
    [
        format!("- stalls, no hedges, p99 ÷ quiet, must be ≥ 3 or the run is void: {}", holds(control, &|x| x >= 3.0)),
        format!(
            "- stalls, sortie, p99 ÷ quiet ≤ 2: {}",
            holds(over_quiet(Scenario::Stalls, "sortie", p99), &|x| x <= 2.0)
        ),
        format!(
            "- stalls, sortie, p99.9 ÷ quiet ≤ 3: {}",
            holds(over_quiet(Scenario::Stalls, "sortie", p999), &|x| x <= 3.0)
        ),
        format!("- stalls, sortie, extra tokens ≤ 3%: {}", holds(extra, &|x| x <= 3.0)),
        format!(
            "- straggler, naive ÷ sortie on p99 of all jobs ≥ 10: {}",
            holds(ratio(all_p99("naive"), all_p99("sortie")), &|x| x >= 10.0)
        ),
        format!("- failed jobs of sortie: {}", if lost.is_empty() { "none".to_owned() } else { lost.join("; ") }),
        format!(
            "- jobs sent later than {LATE_MS} ms (p99), which makes a row void: {}",
            if void.is_empty() { "none".to_owned() } else { void.join("; ") }
        ),
    ]
    .join("\n")
}

/// One scenario.
fn one(
    scenario: Scenario,
    args: &Args,
    shape: &Shape,
    rate: f64,
    programs: &Programs,
    scratch: &Path,
) -> anyhow::Result<Vec<Row>> {
    let mut arguments = vec!["--rate".to_owned(), rate.to_string()];
    arguments.extend(Jobs::LARGE.arguments());
    let more = format!(
        "--strategies {} --warm-up 3s --duration {}s --rounds {} --deadline {DEADLINE} --seed {}",
        scenario.strategies(),
        args.seconds,
        // A name's change is made once: another round would start with the addresses of the end.
        if scenario == Scenario::Dns { 1 } else { args.rounds },
        args.seed
    );
    arguments.extend(more.split(' ').map(str::to_owned));
    if scenario == Scenario::Dns {
        return names(args, shape, programs, scratch, arguments);
    }
    let start = |n: u8| Server::start(programs, shape, &format!("server-{n}"), (Ipv4Addr::LOCALHOST, 0), scratch);
    let servers = (1..=SERVERS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let mut endpoints: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address)).collect();
    let hole = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    match (scenario, servers.first()) {
        (Scenario::Straggler, Some(first)) => first.slow(STRAGGLER)?,
        (Scenario::BlackHole, _) => {
            // The system accepts for it; nobody ever reads.
            let address = hole.local_addr().context("a listener has no address")?;
            endpoints.push(format!("http://{address}"));
        }
        _ => {}
    }
    let each_round = args.seconds / u64::from(args.rounds);
    for fault in scenario.faults(&servers, each_round) {
        arguments.extend(["--fault".to_owned(), fault]);
    }
    arguments.extend(["--endpoint".to_owned(), endpoints.join(",")]);
    Ok(loader::bench(&programs.sortie, &arguments)?.results)
}

/// The system does not let us have a hosts file of our own.
#[derive(Debug, thiserror::Error)]
#[error("left out: this system gives no user and mount namespace")]
struct NoNamespace;

/// Name that stands for the fleet.
const NAME: &str = "fleet.test";

/// The name's addresses change half-way: of six servers the first four have it before, the last four after. The first
/// two leave a second later. The change is made in a hosts file that only the measured process sees.
fn names(
    args: &Args,
    shape: &Shape,
    programs: &Programs,
    scratch: &Path,
    mut arguments: Vec<String>,
) -> anyhow::Result<Vec<Row>> {
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
    let start = |n: u8| Server::start(programs, shape, &format!("server-{n}"), (ip(n), port), scratch);
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
    for Server { pid_file, gone_file, .. } in servers.iter().take(2) {
        // For good: without the new addresses too little would be left.
        let leave = format!("touch '{}' && kill -TERM $(cat '{}')", gone_file.display(), pid_file.display());
        arguments.extend(["--fault".to_owned(), format!("at={}s,run={leave}", half + 1)]);
    }
    arguments.extend(["--endpoint", &format!("dns:///{NAME}:{port}")].map(str::to_owned));
    let mut command = inside("mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"");
    command.arg(&now).arg(&programs.sortie).args(["bench", "--json"]).args(&arguments).env("RESOLV_MULTI", "on");
    Ok(loader::run(&mut command)?.results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(strategy: &str, p99: f64, failed: u64) -> Row {
        let json = format!(
            r#"{{"strategy":"{strategy}","jobs":9,"failed":{failed},"cancelled":0,
                "reasons":{{"UNAVAILABLE":{{"jobs":{failed},"after_ms":{{}}}}}},
                "latency_ms":{{"p50":1,"p99":{p99},"p999":{p99}}},"all_ms":{{"p99":{p99}}},"goodput_tok_s":1,
                "hedge_share":0.01,"retry_share":0.0,"free_share":0.0,"cpu_us_per_job":null,
                "late_ms":{{"p99":{}}}}}"#,
            if failed > 0 { 7 } else { 1 }
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_verdict_says_what_holds() {
        let all = [
            (Scenario::Quiet, row("sortie", 10.0, 0)),
            (Scenario::Quiet, row("sortie-no-hedge", 10.0, 0)),
            (Scenario::Stalls, row("sortie", 25.0, 2)),
            (Scenario::Stalls, row("sortie-no-hedge", 50.0, 0)),
        ];
        let text = verdict(&all);
        for part in [
            "run is void: 5.00 (holds)",
            "p99 ÷ quiet ≤ 2: 2.50 (does not hold)",
            "p99.9 ÷ quiet ≤ 3: 2.50 (holds)",
            "extra tokens ≤ 3%: 1.00 (holds)",
            "≥ 10: not measured",
            "sortie: stalls UNAVAILABLE 2",
            "row void: stalls sortie",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }

    #[test]
    fn lines_compare_with_the_quiet_fleet() {
        let quiet = row("sortie", 10.0, 0);
        let text = line(Scenario::Stalls, &row("sortie", 15.0, 0), Some(&quiet));
        assert!(text.starts_with("| stalls | sortie | 9 | 0 | 1.0 | 15.0 | 15.0 | 1.50 | 1.50 | 1.00 |"), "{text}");
    }
}

//! The page of the report: made from the data alone, so that no figure of it can be another.

use std::fmt::Write as _;

use super::{
    data::{ReportCell, ReportData, ReportPart},
    tables,
};

/// A difference below which two systems are called alike: what two runs of one differ by on a quiet machine.
const ALIKE: f64 = 0.05;

/// The name of what is ours, as the cells have it.
const OURS: &str = "sortie";

const METHOD: &str = "\
## Method

Every figure here is in [data.jsonl](data.jsonl), one line a row, and is made by one command:

```console
$ cargo xtask report            # all of it; rows that are in the data already are kept, --again measures them anew
$ cargo xtask report --quick    # a tenth of the time a row, into another folder: whether it runs, not what it is
$ cargo xtask report --only models --rival tei=/path/to/text-embeddings-router
$ cargo xtask report --draw     # the page and the pictures from the data alone
```

`cargo xtask check` holds this page, its pictures and every figure that another document takes from here against the data.

* **Open loop.** Jobs arrive at random (Poisson, seeded), whether earlier ones have ended or not, and a latency counts from
  the moment its job was meant to start: a stall shows in every job that it held up. Each system gets the same jobs at the
  same moments. How late the generator itself sent is kept, and a row that it decided says so. *Models* are measured in a
  closed loop, one caller or eight, since what is asked there is what a server can do, not how it queues.
* **Truths.** Each document must be scored once, by a number, by the same number whenever it comes again, and, where our
  server's scores are the reference, by that number within 5e-3 and in that order. A job that lacks any of it has failed.
  *All p99* counts a failed job as late as its deadline, so that refusing is not a way to be fast.
* **Timed devices** for tails: four `sortie-server` processes whose device sleeps 1 ms a batch and 0.46 µs a token, so that
  the cores of the machine do not decide. What is compared there is ways to send, over the same servers; load is a share of
  what four such devices can do.
* **Real models** for means: one server at a time, all cores. Rivals are set up as their own documents show, from packages
  pinned by digest (`benches/rivals/requirements.lock`); the libraries stand behind one small FastAPI program
  (`benches/rivals/shim.py`) with TEI's routes.
";

const THREATS: &str = "\
## Threats to validity

* We wrote the benchmark, and tuned our own software on such fleets. Rivals run with their defaults.
* The generator, the proxies and all servers share one machine and its loopback: no real network, and processor time that one
  takes another lacks. *Sent late* shows where that decided; the rest it may have blurred.
* Timed devices sleep: they have no memory, no caches and no variance but what is asked for, and their scores are hashes.
* The texts are made of 64 plain words. Tokens a byte and lengths are near those of passages; their content is nobody's.
* The models are small (MiniLM-L6 and a reranker of its size) and the machine has few cores. On GPUs nothing here was
  measured: see [benchmarks.md](../benchmarks.md).
* One run. A difference under 5% between two rows is noise.
";

/// The whole page.
#[must_use]
pub fn page(data: &ReportData) -> String {
    let environment = &data.environment;
    let mut text = format!(
        "# How late is the last answer?\n\nThe tail of a job of many documents under open load, with and without a slow server; what real models need for it; what \
         stands between a client and a fleet; and the simulator beside processes. {} rows, measured in {:.0} minutes altogether, on {}; the last run was \
         `{}`. *Made by `cargo xtask report`: do not edit.*\n\n",
        data.cells.len(),
        data.cells.iter().map(|cell| cell.took_s).sum::<f64>() / 60.0,
        environment.date,
        environment.command
    );
    text += METHOD;
    text += "\n## Where\n\n";
    // A String takes all that is written to it.
    let _ = write!(text, "{}. {}.\n\n", environment.hardware, environment.system);
    text += "| what | version |\n| --- | --- |\n";
    for (name, version) in &environment.versions {
        let _ = writeln!(text, "| {name} | {version} |");
    }
    if !environment.skipped.is_empty() {
        text += "\nLeft out, and why:\n\n";
        for (what, why) in &environment.skipped {
            let _ = writeln!(text, "* {what}: {why}");
        }
    }
    for part in ReportPart::ALL {
        let tables = tables::of(data, part);
        if !tables.is_empty() {
            let (title, says) = about(part);
            let _ = write!(text, "\n## {title}\n\n{says}\n\n{}", tables.trim_end());
            text.push('\n');
        }
    }
    text += "\n## What we lose\n\nRows in which another system is ahead of `sortie` by more than 5%, taken from the tables by the same program:\n\n";
    let lost = losses(data);
    if data.cells.iter().any(ReportCell::was_late) {
        text += "* (Rows for which the machine was too busy are not compared.)\n";
    }
    if lost.is_empty() {
        text += "* none in this data\n";
    }
    for what in lost {
        let _ = writeln!(text, "* {what}");
    }
    text.push('\n');
    text += THREATS;
    text
}

/// A part's title, and what it is.
fn about(part: ReportPart) -> (&'static str, &'static str) {
    match part {
        ReportPart::Tails => (
            "Tails: ways to send a job to four servers",
            "`sortie` is our client library. `fixed split` cuts by count (32 documents) and sends the chunks in turn, `whole` sends each job \
             to the server with the least of ours in flight, `two choices + hedge` cuts alike, takes the better of two random servers and \
             sends again what is late, from the same budget as ours.",
        ),
        ReportPart::Loads => {
            ("Other loads", "From nearly idle to four times what the servers can do. Deadlines of a second.")
        }
        ReportPart::Shapes => (
            "Other shapes",
            "A thousand short documents, twenty long ones, one text before a tight deadline (`classify-guard`), and that beside bulk work \
             (`mixed`: the figures are the guard's).",
        ),
        ReportPart::Between => (
            "Between one client and the fleet",
            "Whole jobs or a fixed split through a proxy, over the same four servers. Envoy's weighted round robin reads our load reports. \
             `gateway` is sortie-gateway, asked by one HTTP POST a job.",
        ),
        ReportPart::Models => (
            "Real models: one server each",
            "From texts to numbers over loopback, JSON included for those who speak it. *Scores apart* is the largest distance of a score \
             from our server's, of vectors that of a projection.",
        ),
        ReportPart::Simulated => (
            "The simulator beside processes",
            "The same scenario in virtual time and by processes: medians of the same number of runs with different seeds. The row of the \
             simulator says how far it lies from the processes, and what those differ by among themselves.",
        ),
    }
}

/// Share of jobs by which another may fail more often and still be compared.
const FEW_FAILED: f64 = 0.001;

fn failed_share(cell: &ReportCell) -> f64 {
    cell.failed as f64 / cell.jobs.max(1) as f64
}

/// What `sortie` is behind in, worst first.
fn losses(data: &ReportData) -> Vec<String> {
    let mut lost: Vec<(f64, String)> = Vec::new();
    for part in ReportPart::ALL.into_iter().filter(|part| *part != ReportPart::Simulated) {
        for group in tables::groups(data, part) {
            let Some(ours) = group.iter().find(|cell| cell.system == OURS) else { continue };
            // Who was sent to late lost, or won, by the machine.
            if ours.was_late() {
                continue;
            }
            for other in group.iter().filter(|cell| !cell.was_late()).filter(|cell| {
                cell.system != OURS && cell.jobs > 0 && failed_share(cell) <= failed_share(ours) + FEW_FAILED
            }) {
                lost.extend(behind(ours, other, part));
            }
        }
    }
    lost.sort_by(|a, b| b.0.total_cmp(&a.0));
    lost.into_iter().map(|(_, what)| what).collect()
}

/// A figure's name, and where it is.
type NamedFigure = (&'static str, fn(&ReportCell) -> f64);

/// In which of a part's figures another is ahead.
fn behind(ours: &ReportCell, other: &ReportCell, part: ReportPart) -> Vec<(f64, String)> {
    let figures: &[NamedFigure] = match part {
        ReportPart::Models => &[("mean", |cell| cell.ms.mean)],
        _ => &[("p50", |cell| cell.ms.p50), ("p99", |cell| cell.ms.all_p99)],
    };
    let compare = |&(name, of): &NamedFigure| {
        let (mine, theirs) = (of(ours), of(other));
        let ratio = mine / theirs;
        let enough = name != "p99" || ours.jobs.min(other.jobs) >= tables::ENOUGH_FOR_P99;
        (enough && ratio > 1.0 + ALIKE).then(|| {
            let fault = if ours.fault == "none" { String::new() } else { format!(", {}", ours.fault) };
            let what = format!(
                "[{}, load {}{fault}](#{}): {name} {} ms, `{}` {} ms",
                ours.scenario,
                ours.load,
                ours.key(),
                tables::ms(mine),
                other.system,
                tables::ms(theirs)
            );
            (ratio, what)
        })
    };
    figures.iter().filter_map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::data::example;

    #[test]
    fn what_is_lost_is_told_worst_first_and_who_fails_more_wins_nothing() {
        let mut data = example();
        data.cells[1].ms.p50 = 5.0;
        data.cells[1].ms.all_p99 = 30.0;
        data.cells[3].ms.all_p99 = 1.0;
        data.cells[3].failed = data.cells[3].jobs / 100;
        let mut busy = data.cells[1].clone();
        (busy.system, busy.late_p99_ms) = ("too late".to_owned(), 50.0);
        data.cells.push(busy);
        let lost = losses(&data);
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert!(lost[0].contains("p50 10.0 ms, `fixed split` 5.00 ms") && lost[1].contains("p99 40.0 ms"), "{lost:?}");
        let text = page(&data);
        assert!(text.contains(&lost[0]) && text.contains("## Threats to validity"));
        assert_eq!(text, page(&data), "the same data makes the same page");
    }

    #[test]
    fn every_row_can_be_linked_to() {
        let data = example();
        let text = page(&data);
        assert!(data.cells.iter().all(|cell| text.contains(&format!("<a id=\"{}\">", cell.key()))));
    }
}

//! A row of one server of a real model, held against our server's answers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use sortie_benches::report;
use sortie_lab::bench::{BenchReport, BenchTask};
use xtask::report::data::ReportCell;

use crate::{
    cell::{blank, of_row},
    contender::Contender,
    fleet::write,
    plan::{OfferedLoad, PlannedCell},
    serving::ServingContender,
    tools::ReportTools,
    work::WorkShape,
};

/// Seconds that a row counts.
const SECONDS: f64 = 10.0;

/// Seconds before: allocators and caches are warm.
const WARM_UP: f64 = 2.0;

/// Time a job has: what is slow is to be measured, not refused.
const DEADLINE: &str = "120s";

/// Jobs that come in turn, of many documents and of one.
const JOBS: (u64, u64) = (3, 64);

/// Words of the texts.
const WORDS: [&str; 24] = [
    "parser", "argument", "command", "line", "the", "of", "a", "clock", "reads", "server", "queue", "and", "to",
    "river", "stone", "token", "score", "field", "later", "never", "first", "small", "light", "world",
];

/// Measures a row; jobs with our server's scores lie in `kept` once they are made.
pub(crate) fn measure(
    cell: &PlannedCell,
    contender: &Contender,
    tools: &ReportTools,
    kept: &Path,
) -> anyhow::Result<ReportCell> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let task = cell.work.task();
    let jobs = reference(cell.work, tools, kept)?;
    let serving = ServingContender::start(contender, task, tools, scratch.path())
        .with_context(|| format!("{} cannot be started", contender.name()))?;
    let OfferedLoad::Callers(callers) = cell.load else { anyhow::bail!("models are measured in closed loops") };
    let protocol = contender.protocol(task).name();
    let found = ask(&jobs, task, &serving, (callers, SECONDS * tools.part_of_time), &["--protocol", protocol], tools)?;
    let row = found.results.into_iter().next().context("sortie bench printed no row")?;
    let worst_error = f64::from(row.truths.worst_error);
    Ok(ReportCell { worst_error, ..of_row(blank(cell), &row) })
}

/// Asks in a closed loop.
fn ask(
    jobs: &Path,
    task: BenchTask,
    serving: &ServingContender,
    (callers, seconds): (u32, f64),
    more: &[&str],
    tools: &ReportTools,
) -> anyhow::Result<BenchReport> {
    let text = format!(
        "--closed {callers} --duration {}ms --warm-up {}ms --deadline {DEADLINE} --task {} --strategies whole",
        (seconds * 1e3).round(),
        (WARM_UP * tools.part_of_time * 1e3).round(),
        task.name()
    );
    let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
    arguments.extend(more.iter().map(|text| (*text).to_owned()));
    arguments.extend(["--jobs".to_owned(), jobs.display().to_string(), "--model".to_owned(), serving.model.clone()]);
    arguments.extend(["--endpoint".to_owned(), serving.endpoint.clone()]);
    report::bench(&tools.programs.sortie, &arguments)
}

/// The jobs of a shape with our server's scores; made once.
fn reference(work: WorkShape, tools: &ReportTools, kept: &Path) -> anyhow::Result<PathBuf> {
    let made = kept.join(format!("{}.jsonl", work.name()));
    if made.exists() {
        return Ok(made);
    }
    eprintln!("{}: the reference, by our server", work.name());
    let plain = kept.join(format!("{}.plain.jsonl", work.name()));
    let lines = lines(work);
    write(&plain, &lines)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let serving = ServingContender::start(&Contender::Sortie, work.task(), tools, scratch.path())?;
    let part = kept.join("reference.part");
    let save = ["--save-reference", &part.display().to_string()];
    // One caller until every job was answered once: longer than the slowest machine that this was tried on needs.
    let mut seconds = 12.0;
    loop {
        ask(&plain, work.task(), &serving, (1, seconds), &save, tools)?;
        let text = std::fs::read_to_string(&part).context("no reference was written")?;
        if text.lines().all(|line| line.contains("\"scores\"")) {
            std::fs::rename(&part, &made).context("cannot keep the reference")?;
            return Ok(made);
        }
        seconds *= 2.0;
        anyhow::ensure!(seconds < 300.0, "our server does not answer every job of {}", work.name());
    }
}

/// The jobs, one JSON value a line.
fn lines(work: WorkShape) -> String {
    let mut random = StdRng::seed_from_u64(7);
    let shape = work.jobs();
    let count = if shape.documents.mean() > 1.0 { JOBS.0 } else { JOBS.1 };
    let mut text = |bytes: u64| {
        let mut text = String::new();
        while (text.len() as u64) < bytes {
            text += WORDS[random.random_range(0..WORDS.len())];
            text.push(' ');
        }
        text
    };
    let mut sizes = StdRng::seed_from_u64(8);
    let mut job = |n: u64| {
        let documents: Vec<String> =
            (0..shape.documents.draw(&mut sizes)).map(|_| text(shape.bytes.draw(&mut sizes))).collect();
        format!("{}\n", json!({"query": format!("what does parser number {n} read"), "documents": documents}))
    };
    (0..count).map(&mut job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_the_same_in_every_run_and_have_their_shape() {
        assert_eq!(lines(WorkShape::EmbedSingle), lines(WorkShape::EmbedSingle));
        let first = lines(WorkShape::Rerank200);
        let job: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert_eq!(job["documents"].as_array().unwrap().len(), 200);
        assert_eq!(lines(WorkShape::EmbedSingle).lines().count(), 64);
    }
}

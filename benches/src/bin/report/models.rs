//! A row of one server of a real model, held against our server's answers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use sortie_benches::report;
use sortie_lab::bench::{BenchReport, BenchTask};
use tempfile::TempDir;
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

/// Seconds that a row counts, of many documents a job and of one.
const SECONDS: (f64, f64) = (10.0, 6.0);

/// Seconds before: allocators and caches are warm.
const WARM_UP: f64 = 2.0;

/// Seconds in which our server answers every job once, of many documents and of one; where that was too short, twice as
/// long, and so on.
const REFERENCE_SECONDS: (f64, f64) = (8.0, 1.5);

/// Time a job has: what is slow is to be measured, not refused.
const DEADLINE: &str = "120s";

/// Jobs that come in turn, of many documents and of one.
const JOBS: (u64, u64) = (3, 64);

/// The shapes that models are given.
const SHAPES: [WorkShape; 3] = [WorkShape::Rerank200, WorkShape::EmbedBulk, WorkShape::EmbedSingle];

/// Words of the texts.
const WORDS: [&str; 24] = [
    "parser", "argument", "command", "line", "the", "of", "a", "clock", "reads", "server", "queue", "and", "to",
    "river", "stone", "token", "score", "field", "later", "never", "first", "small", "light", "world",
];

/// Rows of models, of which those that ask one server for one task follow each other: it is started once.
#[derive(Default)]
pub(crate) struct ModelRows {
    serving: Option<ServedTask>,
    /// Jobs with our server's scores.
    kept: Option<TempDir>,
}

/// A contender that runs with the model of a task.
struct ServedTask {
    contender: Contender,
    task: BenchTask,
    serving: ServingContender,
    /// Outlives the server, which has files in it.
    _scratch: TempDir,
}

impl ModelRows {
    /// Measures a row.
    pub(crate) fn measure(
        &mut self,
        cell: &PlannedCell,
        contender: &Contender,
        tools: &ReportTools,
    ) -> anyhow::Result<ReportCell> {
        let OfferedLoad::Callers(callers) = cell.load else { anyhow::bail!("models are measured in closed loops") };
        let task = cell.work.task();
        let jobs = self.reference(cell.work, tools)?;
        let serving = self.serve(contender, task, tools)?;
        let seconds = of(cell.work, SECONDS) * tools.part_of_time;
        let more = ["--protocol", contender.protocol(task).name()];
        let found = ask(&jobs, task, serving, (callers, seconds), &more, tools)?;
        let row = found.results.into_iter().next().context("sortie bench printed no row")?;
        let worst_error = f64::from(row.truths.worst_error);
        Ok(ReportCell { worst_error, ..of_row(blank(cell), &row) })
    }

    /// Whoever served before is stopped, unless it is asked for once more.
    fn serve(
        &mut self,
        contender: &Contender,
        task: BenchTask,
        tools: &ReportTools,
    ) -> anyhow::Result<&ServingContender> {
        let runs = |served: &ServedTask| served.contender == *contender && served.task == task;
        let kept = self.serving.take().filter(runs);
        let served = match kept {
            Some(served) => served,
            None => {
                let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
                let serving = ServingContender::start(contender, task, tools, scratch.path())
                    .with_context(|| format!("{} cannot be started", contender.name()))?;
                ServedTask { contender: contender.clone(), task, serving, _scratch: scratch }
            }
        };
        Ok(&self.serving.insert(served).serving)
    }

    /// The jobs of a shape with our server's scores. All shapes of a task are made at once.
    fn reference(&mut self, work: WorkShape, tools: &ReportTools) -> anyhow::Result<PathBuf> {
        let folder = match &self.kept {
            Some(kept) => kept.path().to_owned(),
            None => {
                let kept = tempfile::tempdir().context("cannot make a temporary folder")?;
                self.kept.insert(kept).path().to_owned()
            }
        };
        let of_work = |work: WorkShape| folder.join(format!("{}.jsonl", work.name()));
        for shape in SHAPES.into_iter().filter(|shape| shape.task() == work.task()) {
            if !of_work(shape).exists() {
                let serving = self.serve(&Contender::Sortie, shape.task(), tools)?;
                make_reference(shape, serving, &of_work(shape), tools)?;
            }
        }
        Ok(of_work(work))
    }
}

/// What fits a shape, of a pair for jobs of many documents and of one.
fn of<T>(work: WorkShape, (many, one): (T, T)) -> T {
    if work.jobs().documents.mean() > 1.0 { many } else { one }
}

/// Writes the jobs of a shape, and has our server score each.
fn make_reference(work: WorkShape, serving: &ServingContender, made: &Path, tools: &ReportTools) -> anyhow::Result<()> {
    eprintln!("{}: the reference, by our server", work.name());
    let [plain, part] = ["plain", "part"].map(|end| made.with_extension(end));
    write(&plain, &lines(work))?;
    let save = ["--save-reference", &part.display().to_string()];
    let mut seconds = of(work, REFERENCE_SECONDS);
    loop {
        ask(&plain, work.task(), serving, (1, seconds), &save, tools)?;
        let text = std::fs::read_to_string(&part).context("no reference was written")?;
        if text.lines().all(|line| line.contains("\"scores\"")) {
            return std::fs::rename(&part, made).context("cannot keep the reference");
        }
        seconds *= 2.0;
        anyhow::ensure!(seconds < 300.0, "our server does not answer every job of {}", work.name());
    }
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

/// The jobs, one JSON value a line.
fn lines(work: WorkShape) -> String {
    let mut random = StdRng::seed_from_u64(7);
    let shape = work.jobs();
    let count = of(work, JOBS);
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

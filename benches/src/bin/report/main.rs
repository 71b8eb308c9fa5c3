//! `cargo xtask report`: measures what `docs/report/` shows, and writes it.
//!
//! | module | part |
//! |---|---|
//! | `plan` | the rows |
//! | `work`, `trouble` | shapes of work, and what goes wrong |
//! | `fleet`, `proxy`, `splitter` | rows of four timed servers |
//! | `contender`, `serving`, `exported`, `models` | rows of real models |
//! | `simulated` | rows of the simulator |
//! | `tools`, `machine` | what rows need, and where they were measured |
//! | `cell`, `draw` | what is kept, and how it is shown |
//!
//! A row is kept as soon as it was measured: a run that was stopped goes on where it was.

#![forbid(unsafe_code)]

mod cell;
mod contender;
mod draw;
mod exported;
mod fleet;
mod machine;
mod models;
mod netem;
mod plan;
mod proxy;
mod serving;
mod simulated;
mod splitter;
mod tools;
mod trouble;
mod work;

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use clap::Parser as _;
use sortie_benches::timed;
use sortie_lab::bench::BenchTask;
use xtask::{
    interrupt::{self, Interrupted},
    report::{
        self,
        data::{ReportCell, ReportData},
    },
    workspace,
};

use contender::{Contender, GivenContender};
use models::ModelRows;
use plan::{Measure, PlannedCell, plan};
use serving::ServingContender;
use tools::ReportTools;
use trouble::Trouble;

/// The share of its time that a row gets in a trial.
const TRIAL: f64 = 0.1;

/// Measures what docs/report shows, and writes it: rows that the data has already are kept
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask report", bin_name = "cargo xtask report")]
struct Args {
    /// Only rows whose key has one of these in it: tails, models, rerank-200_one-4x-slow, infinity, … (--list shows the keys)
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    only: Vec<String>,
    /// A tenth of each row's time, into target/report-trial: whether it runs, not what it is
    #[arg(long)]
    quick: bool,
    /// Measure rows that are in the data already once more
    #[arg(long)]
    again: bool,
    /// A server that you have: NAME=PATH for tei (text-embeddings-router) and vllm, else NAME=PROTOCOL+http://ADDRESS of one
    /// that runs, with the protocols of sortie bench
    #[arg(long, value_name = "RIVAL")]
    rival: Vec<GivenContender>,
    /// Where data.jsonl, the page and the pictures are
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print the keys of the rows and measure nothing
    #[arg(long)]
    list: bool,
    /// Make the page and the pictures anew from the data and measure nothing
    #[arg(long)]
    draw: bool,
    /// Start this rival (sortie, sentence-transformers, sentence-transformers-openvino, fastembed, ort-padded, infinity) with
    /// the model of --serve-task, say where it is asked, and wait for Ctrl-C
    #[arg(long, value_name = "NAME")]
    serve: Option<String>,
    /// What --serve is to do: rerank or embed
    #[arg(long, value_enum, value_name = "TASK", default_value_t = BenchTask::Rerank)]
    serve_task: BenchTask,
    /// This process runs where packets are delayed and lost already
    #[arg(long, hide = true)]
    inside_netem: bool,
    #[command(flatten)]
    build: timed::Build,
}

fn main() -> ExitCode {
    let args = Args::parse();
    xtask::end(|| run(args))
}

fn run(args: Args) -> anyhow::Result<()> {
    let mut contenders = Contender::packaged();
    contenders.extend(args.rival.iter().cloned().map(Contender::Given));
    let rows = plan(&contenders).into_iter().filter(|row| {
        let key = cell::blank(row).key();
        args.only.is_empty() || args.only.iter().any(|word| key.contains(word.as_str()))
    });
    let rows: Vec<PlannedCell> = rows.collect();
    if let Some(name) = &args.serve {
        return serve(name, args.serve_task, &contenders, args.build);
    }
    if args.list {
        rows.iter().for_each(|row| println!("{}", cell::blank(row).key()));
        return Ok(());
    }
    let folder = match (&args.data, args.quick) {
        (Some(folder), _) => folder.clone(),
        (None, false) => report::folder(),
        (None, true) => workspace::target()?.join("report-trial"),
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join(report::DATA);
    let mut data = if path.exists() { ReportData::read(&path)? } else { ReportData::default() };
    if args.draw {
        return draw::draw(&data, &folder);
    }
    anyhow::ensure!(!rows.is_empty(), "no row has any of {:?} in its key", args.only);
    // Where things lie on this machine is nobody else's business.
    let word = |word: String| if word.contains('/') && !word.contains("://") { "…".to_owned() } else { word };
    let words: Vec<String> = std::env::args().skip(1).map(word).collect();
    let command = ["cargo xtask report".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ");
    let skipped = std::mem::take(&mut data.environment.skipped);
    data.environment = machine::environment(&command);
    data.environment.skipped = skipped;
    data.environment.skipped.extend(contender::absent(&args.rival));
    let part_of_time = if args.quick { TRIAL } else { 1.0 };
    let tools = ReportTools::new(args.build, part_of_time)?;
    let mut models = ModelRows::default();
    let began = Instant::now();
    for (number, row) in rows.iter().enumerate() {
        let key = cell::blank(row).key();
        if !args.again && is_there(&data, row, &key) {
            continue;
        }
        eprintln!("[{} of {}, {:.0} s] {key}", number + 1, rows.len(), began.elapsed().as_secs_f64());
        let began_row = Instant::now();
        let measured = match (row.trouble, args.inside_netem) {
            (Trouble::Netem, false) => netem::measure(&key, &folder, args.quick),
            _ => measure(row, &tools, &mut models),
        };
        let took = began_row.elapsed().as_secs_f64();
        match measured {
            Ok(mut cells) => {
                cells.first_mut().into_iter().for_each(|cell| cell.took_s = (took * 10.0).round() / 10.0);
                data.environment.skipped.remove(&key);
                cells.into_iter().for_each(|cell| data.put(cell));
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                eprintln!("SKIPPED: {key}: {error:#}");
                data.environment.skipped.insert(key, first_line(&error));
            }
        }
        in_order(&mut data, &plan(&contenders));
        data.write(&path)?;
    }
    if !args.inside_netem {
        draw::draw(&data, &folder)?;
        let late: Vec<String> = data.cells.iter().filter(|cell| cell.was_late()).map(ReportCell::key).collect();
        if !late.is_empty() {
            let (rows, keys) = (late.len(), late.join(","));
            eprintln!("warning: the machine was too busy for {rows} rows; measure them again: --again --only {keys}");
        }
        eprintln!("{:.0} s; {}", began.elapsed().as_secs_f64(), folder.join(report::PAGE).display());
    }
    Ok(())
}

/// Starts a contender and leaves it running until the user stops it.
fn serve(name: &str, task: BenchTask, contenders: &[Contender], build: timed::Build) -> anyhow::Result<()> {
    let known = || contenders.iter().map(Contender::name).collect::<Vec<_>>().join(", ");
    let contender = contenders.iter().find(|contender| contender.name() == name);
    let contender = contender.with_context(|| format!("--serve {name}: there are {}", known()))?;
    anyhow::ensure!(task != BenchTask::Classify, "--serve-task classify: no rival has a model for it");
    let tools = ReportTools::new(build, 1.0)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
    let serving = ServingContender::start(contender, task, &tools, scratch.path())?;
    println!("{} --protocol {} --model {}", serving.endpoint, contender.protocol(task).name(), serving.model);
    interrupt::poll(None, || Ok(None::<()>))?;
    Ok(())
}

/// Whether a row was measured before.
fn is_there(data: &ReportData, row: &PlannedCell, key: &str) -> bool {
    match row.measure {
        Measure::Vast => data.cells.iter().any(|cell| cell.note.contains("virtual seconds")),
        _ => data.cell(key).is_some(),
    }
}

/// Measures a row.
fn measure(row: &PlannedCell, tools: &ReportTools, models: &mut ModelRows) -> anyhow::Result<Vec<ReportCell>> {
    match &row.measure {
        Measure::Fleet(sender) => fleet::measure(row, *sender, tools).map(|cell| vec![cell]),
        Measure::Model(contender) => models.measure(row, contender, tools).map(|cell| vec![cell]),
        Measure::Simulated => simulated::measure(row, tools),
        Measure::Vast => simulated::vast(row, tools).map(|cell| vec![cell]),
    }
}

/// Puts cells into the plan's order; those that no plan has now stay behind.
fn in_order(data: &mut ReportData, plan: &[PlannedCell]) {
    let keys: Vec<String> = plan.iter().map(|row| cell::blank(row).key()).collect();
    let place = |cell: &ReportCell| keys.iter().position(|key| *key == cell.key()).unwrap_or(keys.len());
    data.cells.sort_by_key(|cell| (cell.part, place(cell)));
}

/// An error without what follows it on other lines, or names of this machine's folders.
fn first_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let line = text.lines().next().unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let plain = line.replace(&workspace::root().display().to_string(), "");
    if home.is_empty() { plain } else { plain.replace(&home, "~") }
}

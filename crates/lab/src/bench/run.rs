//! One benchmark: the pool, the rate, then every strategy in turn, round after round.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sortie_client::Client;
use tokio::time::sleep_until;

use super::{
    args::BenchArgs,
    cpu,
    drive::StrategyDriver,
    generate::{Done, generate},
    jobs::{Arrivals, Mix},
    log::Log,
    record::Record,
    report::{BenchReport, Setting, StrategyRow},
    target::{BenchError, BenchTarget},
    texts::TextPool,
};
use crate::{fault, stats::Spent};

/// Between setting a round up and its first job: the thread of arrivals is up by then.
const RUN_UP: Duration = Duration::from_millis(20);

/// Jobs that tell how many tokens a byte makes.
const TASTERS: usize = 3;

/// Time one of them has, whatever the measured jobs have: nothing is measured yet.
const TASTE_WITHIN: Duration = Duration::from_secs(30);

/// A benchmark that can be run: its inputs are read.
#[derive(Debug)]
pub struct LoadTest<'a> {
    args: &'a BenchArgs,
    pool: Arc<TextPool>,
    log: Log,
}

impl<'a> LoadTest<'a> {
    /// Makes or reads what jobs are made of.
    ///
    /// # Errors
    ///
    /// Names the flag whose file cannot be used.
    pub fn new(args: &'a BenchArgs) -> Result<Self, BenchError> {
        let pool = match (&args.jobs, &args.texts) {
            (Some(path), _) => TextPool::jobs(path)?,
            (None, Some(path)) => TextPool::read(path, &args.query, args.seed)?,
            (None, None) => TextPool::made(args.bytes, &args.query, args.seed),
        };
        Ok(Self { args, pool: Arc::new(pool), log: Log::create(args.log.as_deref())? })
    }

    /// Measures every strategy in turn, round after round; `say` is told of each.
    ///
    /// # Errors
    ///
    /// If no server answers, the rate is not known or something of this machine fails.
    pub async fn run(mut self, target: &BenchTarget, say: &dyn Fn(&str)) -> Result<BenchReport, BenchError> {
        let (args, pool) = (self.args, &self.pool);
        let client = target.client.clone().connect().await?;
        let tokens = taste(&client, args, pool).await?;
        let capacity = capacity(&client).await?;
        let rate = match (args.rate, args.load) {
            (Some(rate), _) => rate,
            (None, Some(load)) if capacity > 0.0 => load * capacity / tokens,
            _ => return Err(BenchError::Usage("--load: the servers do not report their rate; say --rate".to_owned())),
        };
        drop(client);
        let mix = Mix {
            rate,
            documents: args.documents,
            cancel: args.cancel,
            cancel_within: args.cancel_within,
            pool: (pool.len(), pool.queries()),
            given: pool.given(),
        };
        let mut records = Vec::new();
        for strategy in &args.strategies {
            let record = Record::new().map_err(|error| BenchError::Internal(format!("no histogram: {error}")))?;
            records.push((*strategy, record));
        }
        for round in 0..args.rounds {
            for (strategy, record) in &mut records {
                say(&format!("{}: round {} of {}", strategy.name(), round + 1, args.rounds));
                let driver = StrategyDriver::start(*strategy, args, target, pool).await?;
                let seed = args.seed.wrapping_add(u64::from(round));
                let note = |job: &Done| self.log.add(strategy.name(), round + 1, args.warm_up, job);
                one_round(args, target.deadline, mix.clone(), seed, driver, record, note).await?;
            }
        }
        self.log.finish()?;
        let file = |path: &PathBuf| path.display().to_string();
        let setting = Setting {
            rate,
            load: rate * tokens / capacity,
            tokens_per_job: tokens,
            documents: args.jobs.as_ref().map_or_else(|| args.documents.to_string(), file),
            bytes: args.jobs.as_ref().or(args.texts.as_ref()).map_or_else(|| args.bytes.to_string(), file),
            seconds: args.duration.as_secs_f64(),
            rounds: args.rounds,
            seed: args.seed,
            deadline_ms: target.deadline.as_secs_f64() * 1e3,
            endpoints: target.endpoints.len(),
        };
        let rows = records.iter().map(|(strategy, record)| StrategyRow::new(strategy.name(), record));
        Ok(BenchReport { setting, results: rows.collect() })
    }
}

/// One strategy's turn.
async fn one_round(
    args: &BenchArgs,
    deadline: Duration,
    mix: Mix,
    seed: u64,
    driver: StrategyDriver,
    record: &mut Record,
    mut note: impl FnMut(&Done) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let window = args.duration / args.rounds;
    let (start, end) = (Instant::now() + RUN_UP, args.warm_up + window);
    let generated = generate(Arrivals::new(mix, seed), driver.clone(), start, end);
    let (_generator, mut done) =
        generated.map_err(|error| BenchError::Internal(format!("no thread for arrivals: {error}")))?;
    let mut faults = fault::start(&args.fault, start + args.warm_up, seed);
    let (warm, over) = (sleep_until((start + args.warm_up).into()), sleep_until((start + end).into()));
    tokio::pin!(warm, over);
    let mut before: Option<(Duration, Spent)> = None;
    let mut after = None;
    loop {
        tokio::select! {
            () = &mut warm, if before.is_none() => before = Some((cpu::used(), driver.spent())),
            () = &mut over, if after.is_none() => {
                after = Some((cpu::used(), driver.spent()));
                faults.abort_all();
            }
            Some(_) = faults.join_next() => {}
            job = done.recv() => match job {
                Some(job) if job.at >= args.warm_up => {
                    note(&job)?;
                    record.add(&job.ended, job.latency, job.late, deadline);
                }
                Some(_) => {}
                // All jobs may have ended early; the window is what was asked for.
                None if after.is_some() => break,
                None => { sleep_until((start + end).into()).await; }
            },
        }
    }
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    record.measured += window;
    record.cpu += after.0.saturating_sub(before.0);
    record.spent += after.1.since(before.1);
    Ok(())
}

/// Mean tokens of a job: a few jobs tell how many tokens a byte makes.
async fn taste(client: &Client, args: &BenchArgs, pool: &TextPool) -> Result<f64, BenchError> {
    let (mut bytes, mut tokens) = (0, 0);
    for turn in 0..TASTERS {
        let documents: Vec<&str> = (0..16).map(|n| pool.document((turn * 16 + n) % pool.len().max(1))).collect();
        bytes += documents.iter().map(|text| text.len()).sum::<usize>();
        tokens += client
            .rerank(pool.query(turn % pool.queries().max(1)), documents)
            .deadline(TASTE_WITHIN)
            .await?
            .report
            .total_tokens();
    }
    let per_byte = tokens as f64 / bytes.max(1) as f64;
    Ok(pool.mean_documents(args.documents) * pool.mean_bytes() * per_byte)
}

/// Tokens a second that the servers report they can do, all together.
async fn capacity(client: &Client) -> Result<f64, BenchError> {
    let probes = client.probe().await?;
    Ok(probes.into_iter().filter_map(|probe| probe.result.ok()).map(|load| f64::from(load.tokens_per_second)).sum())
}

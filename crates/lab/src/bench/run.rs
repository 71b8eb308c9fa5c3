//! One benchmark: the pool, the rate, then every strategy in turn, round after round.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sortie_client::Client;
use sortie_dispatch::WorkCurve;
use tokio::time::sleep_until;

use super::{
    args::BenchArgs,
    cpu,
    drive::{BYTES_PER_TOKEN, StrategyDriver},
    generate::{Done, closed_loop, generate},
    jobs::{Arrivals, Mix},
    log::Log,
    moments::ArrivalTimes,
    record::Record,
    report::{BenchReport, Setting, StrategyRow},
    target::{BenchError, BenchTarget},
    texts::TextPool,
    wire::{BenchProtocol, BenchTask},
};
use crate::{fault, stats::Spent};

/// Between setting a round up and its first job: the thread of arrivals is up by then.
const RUN_UP: Duration = Duration::from_millis(20);

/// Jobs that tell how many tokens a byte makes.
const TASTERS: usize = 3;

/// Time one of them has, whatever the measured jobs have: nothing is measured yet.
const TASTE_WITHIN: Duration = Duration::from_secs(30);

/// Length of the closed loop that finds the capacity of servers that do not report it.
const CAPACITY_WITHIN: Duration = Duration::from_secs(10);

/// The share of that which counts: before, servers warm up.
const CAPACITY_COUNTED: f64 = 0.8;

/// Callers of that loop for each server: enough that one is never idle, few enough that none refuses.
const CALLERS_A_SERVER: u32 = 4;

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
        args.ways()?;
        let squashed = args.task == BenchTask::Rerank && !args.protocol.gives_logits();
        if squashed && args.save_reference.is_some() {
            let protocol = args.protocol.name();
            return Err(BenchError::Usage(format!("--save-reference: scores of {protocol} are squeezed into 0 to 1")));
        }
        let pool = match (&args.jobs, &args.texts) {
            (Some(path), _) => TextPool::jobs(path, squashed)?,
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
        let ways = args.ways()?;
        let (tokens, reported) = if args.protocol == BenchProtocol::Sortie {
            let client = target.client.clone().connect().await?;
            (taste(&client, args, pool).await?, capacity(&client).await?)
        } else {
            (guess(args, pool), 0.0)
        };
        let mix = Mix {
            times: ArrivalTimes::AtOnce,
            documents: args.documents,
            cancel: args.cancel,
            cancel_within: args.cancel_within,
            pool: (pool.len(), pool.queries()),
            given: pool.given(),
        };
        let mut found = f64::NAN;
        if let (Some(load), Some(&way)) = (args.load, ways.first())
            && (args.measure_capacity.is_some() || args.protocol != BenchProtocol::Sortie)
        {
            let driver = StrategyDriver::start(way, args, target, pool).await?;
            found = measured_capacity(args, target, &mix, driver).await?;
            say(&format!("capacity: {found:.2} jobs a second by {}; load {load} is taken of that", way.name()));
        }
        let share = |load: f64| match (found.is_finite(), reported > 0.0) {
            (true, _) => Some(load * found),
            (false, true) => Some(load * reported / tokens),
            (false, false) => None,
        };
        let times = args.times(args.rate.or_else(|| args.load.and_then(share)))?;
        let rate = times.rate();
        let mix = Mix { times, ..mix };
        let mut records = Vec::new();
        for strategy in ways {
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
        if let Some(path) = &args.save_reference {
            pool.save(path)?;
        }
        let file = |path: &PathBuf| path.display().to_string();
        let arrivals = match (&args.trace, args.closed, args.arrivals.0) {
            (Some(trace), _, _) => file(trace),
            (None, Some(callers), _) => format!("closed:{callers}"),
            (None, None, 1) => "poisson".to_owned(),
            (None, None, size) => format!("burst:{size}"),
        };
        let load = if found.is_finite() { rate / found } else { rate * tokens / reported };
        let setting = Setting {
            label: args.label.clone(),
            protocol: args.protocol,
            task: args.task,
            arrivals,
            rate,
            capacity: found,
            load,
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
    let arrivals = Arrivals::new(mix, seed);
    let (_generator, mut done) = match args.closed {
        Some(callers) => (None, closed_loop(arrivals, callers, &driver, start, end)),
        None => {
            let generated = generate(arrivals, driver.clone(), start, end);
            let (generator, done) =
                generated.map_err(|error| BenchError::Internal(format!("no thread for arrivals: {error}")))?;
            (Some(generator), done)
        }
    };
    let mut faults = fault::start(&args.fault, start + args.warm_up, seed);
    let (warm, over) = (sleep_until((start + args.warm_up).into()), sleep_until((start + end).into()));
    tokio::pin!(warm, over);
    let mut before: Option<(Duration, Spent)> = None;
    let mut after = None;
    let mut last_end = end;
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
                    last_end = last_end.max(job.at + job.latency);
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
    // A closed loop's last jobs start within the window and end after it: they have had that time too.
    record.measured += if args.closed.is_some() { last_end.saturating_sub(args.warm_up) } else { window };
    record.cpu += after.0.saturating_sub(before.0);
    record.spent += after.1.since(before.1);
    Ok(())
}

/// Jobs a second that a closed loop gets answered: what servers can do at most, in the eyes of this way to send.
async fn measured_capacity(
    args: &BenchArgs,
    target: &BenchTarget,
    mix: &Mix,
    driver: StrategyDriver,
) -> Result<f64, BenchError> {
    let within = args.measure_capacity.unwrap_or(CAPACITY_WITHIN);
    let mut record = Record::new().map_err(|error| BenchError::Internal(format!("no histogram: {error}")))?;
    let callers = CALLERS_A_SERVER * u32::try_from(target.endpoints.len()).unwrap_or(u32::MAX).max(1);
    let closed = BenchArgs {
        closed: Some(callers),
        duration: within.mul_f64(CAPACITY_COUNTED),
        warm_up: within.mul_f64(1.0 - CAPACITY_COUNTED),
        rounds: 1,
        fault: Vec::new(),
        ..args.clone()
    };
    one_round(&closed, target.deadline, mix.clone(), args.seed, driver, &mut record, |_| Ok(())).await?;
    match (record.answered.len(), record.reasons.keys().next()) {
        (0, Some(reason)) => {
            Err(BenchError::Usage(format!("--load: no job was answered while capacity was measured: {reason}")))
        }
        (0, None) => Err(BenchError::Usage(
            "--load: no job ended while capacity was measured; say a longer --measure-capacity".to_owned(),
        )),
        (answered, _) => Ok(answered as f64 / record.measured.as_secs_f64().max(f64::MIN_POSITIVE)),
    }
}

/// Mean tokens of a job where no server says: four bytes make one.
fn guess(args: &BenchArgs, pool: &TextPool) -> f64 {
    pool.mean_documents(args.documents) * pool.mean_bytes() / BYTES_PER_TOKEN as f64
}

/// Mean tokens of work of a job: a few jobs tell how many tokens a byte makes, the model how much more long texts are.
async fn taste(client: &Client, args: &BenchArgs, pool: &TextPool) -> Result<f64, BenchError> {
    let (mut bytes, mut tokens) = (0, 0);
    for turn in 0..TASTERS {
        let documents: Vec<&str> = (0..16).map(|n| pool.document((turn * 16 + n) % pool.len().max(1))).collect();
        bytes += documents.iter().map(|text| text.len()).sum::<usize>();
        let report = match args.task {
            BenchTask::Rerank => {
                let query = pool.query(turn % pool.queries().max(1));
                client.rerank(query, documents).deadline(TASTE_WITHIN).await?.report
            }
            BenchTask::Embed => client.embed(documents).deadline(TASTE_WITHIN).await?.report,
            BenchTask::Classify => client.classify(documents).deadline(TASTE_WITHIN).await?.report,
        };
        tokens += report.total_tokens();
    }
    let per_byte = tokens as f64 / bytes.max(1) as f64;
    let curve = WorkCurve::new(client.get_model().await?.doubling_length.unwrap_or(0));
    let work = |bytes: usize| curve.work((bytes as f64 * per_byte).round() as u64) as f64;
    Ok(pool.mean_documents(args.documents) * pool.mean_over_sizes(work))
}

/// Tokens of work a second that the servers report they can do, all together.
async fn capacity(client: &Client) -> Result<f64, BenchError> {
    let probes = client.probe().await?;
    Ok(probes.into_iter().filter_map(|probe| probe.result.ok()).map(|load| f64::from(load.tokens_per_second)).sum())
}

//! One benchmark: the pool, the rate, then every strategy in turn, round after round.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use sortie_client::Client;
use tokio::time::sleep_until;

use super::{
    arrivals::{Arrivals, Mix},
    cpu,
    drive::StrategyDriver,
    fault,
    generate::{Done, generate},
    log::Log,
    plot,
    record::{Record, Spent},
    report::{Bench, Setting, StrategyRow},
    texts::TextPool,
};
use crate::{
    args::BenchArgs,
    context::CommandContext,
    exit::{CommandFailure, Exit},
    run::print,
};

/// Between setting a round up and its first job: the thread of arrivals is up by then.
const RUN_UP: Duration = Duration::from_millis(20);

/// Jobs that tell how many tokens a byte makes.
const TASTERS: usize = 3;

/// Time one of them has, whatever the measured jobs have: nothing is measured yet.
const TASTE_WITHIN: Duration = Duration::from_secs(30);

/// Runs the benchmark and prints it.
pub(crate) fn run(args: &BenchArgs, context: &CommandContext) -> Result<Exit, CommandFailure> {
    let pool = Arc::new(match (&args.jobs, &args.texts) {
        (Some(path), _) => TextPool::jobs(path)?,
        (None, Some(path)) => TextPool::read(path, &args.query, args.seed)?,
        (None, None) => TextPool::made(args.bytes, &args.query, args.seed),
    });
    let bench = context.run(measure(args, context, &pool))?;
    if let Some(path) = &args.plot {
        draw(path, &bench)?;
    }
    print(&bench, &context.output)
}

async fn measure(args: &BenchArgs, context: &CommandContext, pool: &Arc<TextPool>) -> Result<Bench, CommandFailure> {
    let mut log = Log::create(args.log.as_deref())?;
    let client = context.builder().connect().await?;
    let tokens = taste(&client, args, pool).await?;
    let capacity = capacity(&client).await?;
    let rate = match (args.rate, args.load) {
        (Some(rate), _) => rate,
        (None, Some(load)) if capacity > 0.0 => load * capacity / tokens,
        _ => return Err(CommandFailure::usage("--load: the servers do not report their rate; say --rate")),
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
        records.push((*strategy, record()?));
    }
    for round in 0..args.rounds {
        for (strategy, record) in &mut records {
            context.say(&format!("{}: round {} of {}", strategy.name(), round + 1, args.rounds));
            let driver = StrategyDriver::start(*strategy, args, context, pool).await?;
            let seed = args.seed.wrapping_add(u64::from(round));
            let note = |job: &Done| log.add(strategy.name(), round + 1, args.warm_up, job);
            one_round(args, context, mix.clone(), seed, driver, record, note).await?;
        }
    }
    log.finish()?;
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
        deadline_ms: context.connection.deadline.as_secs_f64() * 1e3,
        endpoints: context.endpoints().count(),
    };
    Ok(Bench::new(
        setting,
        records.iter().map(|(strategy, record)| StrategyRow::new(strategy.name(), record)).collect(),
    ))
}

fn record() -> Result<Record, CommandFailure> {
    Record::new().map_err(|error| CommandFailure::new(Exit::Internal, format!("no histogram: {error}")))
}

/// One strategy's turn.
async fn one_round(
    args: &BenchArgs,
    context: &CommandContext,
    mix: Mix,
    seed: u64,
    driver: StrategyDriver,
    record: &mut Record,
    mut note: impl FnMut(&Done) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let window = args.duration / args.rounds;
    let (start, end) = (Instant::now() + RUN_UP, args.warm_up + window);
    let generated = generate(Arrivals::new(mix, seed), driver.clone(), start, end);
    let (_generator, mut done) =
        generated.map_err(|error| CommandFailure::new(Exit::Internal, format!("no thread for arrivals: {error}")))?;
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
                    record.add(&job.ended, job.latency, job.late, context.connection.deadline);
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
    record.spent = record.spent.plus(after.1.since(before.1));
    Ok(())
}

/// Mean tokens of a job: a few jobs tell how many tokens a byte makes.
async fn taste(client: &Client, args: &BenchArgs, pool: &TextPool) -> Result<f64, CommandFailure> {
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
async fn capacity(client: &Client) -> Result<f64, CommandFailure> {
    let probes = client.probe().await?;
    Ok(probes.into_iter().filter_map(|probe| probe.result.ok()).map(|load| f64::from(load.tokens_per_second)).sum())
}

fn draw(path: &Path, bench: &Bench) -> Result<(), CommandFailure> {
    plot::draw(path, bench)
        .map_err(|error| CommandFailure::new(Exit::Internal, format!("--plot {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use crate::bench::Strategy;

    #[test]
    fn strategies_have_the_names_the_flag_takes() {
        use clap::ValueEnum as _;
        for strategy in Strategy::value_variants() {
            assert_eq!(strategy.to_possible_value().unwrap().get_name(), strategy.name());
        }
    }
}

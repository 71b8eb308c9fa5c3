//! Somebody who waits beside bulk work: one interactive pair at random moments, alone, beside bulk jobs of 200 pairs at nine
//! tenths of what they reach alone, and beside as many of them as the server takes. And singles alone in an open loop.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use sortie_benches::SeededNumbers;
use sortie_client::{Client, Lane};
use sortie_lab::stats::quantile;
use tokio::sync::mpsc;

use crate::{
    Common,
    serve::{SIDE_BY_SIDE, full},
    server::WatchedServer,
    texts::{self, RerankJob, ServableModel},
};

/// Pairs of 108 tokens a second that somebody waits for.
const GUARDS: f64 = 20.0;
/// Words of such a pair's document.
const WORDS: usize = 96;
/// Load of the bulk lane, of what it reaches alone.
const LOAD: f64 = 0.9;
/// Singles a second in an open loop: what MiniLM's shape and base's are asked.
const SINGLES: [f64; 3] = [10_000.0, 15_000.0, 40_000.0];
/// Seconds of singles.
const SINGLES_LAST: Duration = Duration::from_secs(3);
/// Latest answer of a single that counts as answered.
const GIVEN_UP: Duration = Duration::from_secs(5);

/// Prints the tables.
pub(crate) fn run(common: &Common) -> anyhow::Result<()> {
    texts::for_each_model(common, one)
}

async fn one(common: &Common, model: &ServableModel) -> anyhow::Result<()> {
    let bulk = Arc::new(RerankJob::of_200(&model.words)?);
    let mut seeded = SeededNumbers::new(3);
    let mut pick = || usize::try_from(seeded.below(1 << 30)).unwrap_or(0);
    let pair = Arc::new(RerankJob::of(&model.words, [WORDS].into_iter(), &mut pick));
    let server = WatchedServer::start(common, model.folder.path(), &common.device.to_string(), &[])?;
    let connect = async |lane| Client::builder().endpoint(&server.address).lane(lane).connect().await;
    let (waiting, lazy) = (Arc::new(connect(Lane::Interactive).await?), Arc::new(connect(Lane::Bulk).await?));
    let lasting = Duration::from_secs(common.seconds);

    println!("\n## {}: one pair of {} tokens at a time beside bulk work\n", model.shape.name(), pair.tokens);
    println!(
        "| beside | pairs | p50 ms | p99 ms | failed | bulk, tokens/s | of alone |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    let row = |beside: &str, loop_: &OpenLoop, rate: f64, share: f64| {
        let at = |q| quantile(&loop_.took, q) * 1e3;
        println!(
            "| {beside} | {} | {:.2} | {:.2} | {} | {rate:.0} | {share:.3} |",
            loop_.took.len(),
            at(0.5),
            at(0.99),
            loop_.failed
        );
    };
    full(&lazy, &bulk, SIDE_BY_SIDE, Duration::from_secs(1)).await?;
    row("nothing", &open_loop(&waiting, &pair, GUARDS, lasting, 1).await, 0.0, 0.0);
    let alone = full(&lazy, &bulk, SIDE_BY_SIDE, lasting).await?;
    let jobs = LOAD * alone / bulk.tokens as f64;
    let (guards, work) =
        tokio::join!(open_loop(&waiting, &pair, GUARDS, lasting, 2), open_loop(&lazy, &bulk, jobs, lasting, 3));
    let rate = work.took.len() as f64 * bulk.tokens as f64 / lasting.as_secs_f64();
    row("bulk at 0.9", &guards, rate, rate / alone);
    let (guards, rate) =
        tokio::join!(open_loop(&waiting, &pair, GUARDS, lasting, 4), full(&lazy, &bulk, SIDE_BY_SIDE, lasting));
    row(&format!("{SIDE_BY_SIDE} bulk jobs at a time"), &guards, rate?, 0.0);
    let again = full(&lazy, &bulk, SIDE_BY_SIDE, lasting).await?;
    println!("\nBulk alone: {alone:.0} tokens/s, and {again:.0} after the rows above.");

    println!("\n| singles a second | answered | p50 ms | p99 ms | failed |\n| ---: | ---: | ---: | ---: | ---: |");
    for rate in SINGLES {
        let all = open_loop(&waiting, &pair, rate, SINGLES_LAST, 5).await;
        let at = |q| quantile(&all.took, q) * 1e3;
        println!("| {rate:.0} | {} | {:.2} | {:.2} | {} |", all.took.len(), at(0.5), at(0.99), all.failed);
    }
    Ok(())
}

/// What came of jobs that start whether others have ended or not.
struct OpenLoop {
    /// Seconds from the moment that a job was meant to start.
    took: Vec<f64>,
    failed: usize,
}

/// Jobs at random moments, so many a second.
async fn open_loop(client: &Arc<Client>, job: &Arc<RerankJob>, rate: f64, lasting: Duration, seed: u64) -> OpenLoop {
    let (answers, mut answered) = mpsc::unbounded_channel();
    let (client, job) = (Arc::clone(client), Arc::clone(job));
    let runtime = tokio::runtime::Handle::current();
    // A thread of its own starts them: tokio's timer is a millisecond coarse.
    let starter = thread::spawn(move || {
        let mut seeded = SeededNumbers::new(seed);
        let start = Instant::now();
        let mut at = Duration::ZERO;
        loop {
            // 31 bits of an even draw, never 0.
            let even = (seeded.below(1 << 31) + 1) as f64 / (1_u64 << 31) as f64;
            at += Duration::from_secs_f64(-even.ln() / rate);
            if at > lasting {
                break;
            }
            let meant = start + at;
            thread::sleep(meant.saturating_duration_since(Instant::now()));
            let (client, job, answers) = (Arc::clone(&client), Arc::clone(&job), answers.clone());
            runtime.spawn(async move {
                let answer = tokio::time::timeout(GIVEN_UP, job.run(&client)).await;
                // Who reads them waits for all.
                let seconds = matches!(answer, Ok(Ok(_))).then(|| meant.elapsed().as_secs_f64());
                answers.send(seconds).unwrap_or_default();
            });
        }
    });
    let mut outcome = OpenLoop { took: Vec::new(), failed: 0 };
    while let Some(ended) = answered.recv().await {
        match ended {
            Some(seconds) => outcome.took.push(seconds),
            None => outcome.failed += 1,
        }
    }
    // It ended before the last answer came.
    drop(starter.join());
    outcome
}

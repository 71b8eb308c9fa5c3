//! Hand-written strategies over the generated stubs: chunks by count, a rule for the server, perhaps a hedge.
//!
//! A job fails with its first chunk that fails; the others are cancelled then. A chunk is tried again on another server
//! after UNAVAILABLE, as often as asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::{self, Either};
use parking_lot::Mutex;
use sortie_client::Lane;
use sortie_proto::v1::{Input, RerankRequest, RerankResponse, input::Kind};
use tonic::{Code, Request, Status, metadata::MetadataValue};

use super::{quantile::WindowQuantile, server::BaselineServer, token_bucket::TokenBucket};
use crate::{
    args::BenchArgs,
    bench::{
        arrivals::BenchJob,
        record::{AnsweredJob, BenchJobEnd, Spent},
        texts::TextPool,
    },
    context::CommandContext,
    exit::CommandFailure,
};

/// Share of chunks that are not hedged.
const HEDGE_QUANTILE: f64 = 0.97;

/// Least wait before a hedge.
const HEDGE_FLOOR: Duration = Duration::from_millis(1);

/// Bytes that count as a token where all that is needed is a share of others.
const BYTES_PER_TOKEN: usize = 4;

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BalancePolicy {
    /// In turn.
    RoundRobin,
    /// Of two at random the one with fewer requests of ours.
    TwoChoices,
    /// One chunk, to the server with the fewest tokens of ours.
    Whole,
}

/// One such strategy at work.
#[derive(Debug)]
pub(crate) struct BaselineStrategy {
    policy: BalancePolicy,
    hedge: bool,
    chunk: usize,
    retries: u32,
    model: String,
    deadline: Duration,
    headers: RequestHeaders,
    servers: Vec<BaselineServer>,
    next: AtomicUsize,
    pool: Arc<TextPool>,
    budget: TokenBucket,
    latencies: Mutex<WindowQuantile>,
    first: AtomicU64,
    hedges: AtomicU64,
    retried: AtomicU64,
}

/// Metadata of every request.
#[derive(Debug)]
struct RequestHeaders {
    lane: &'static str,
    tenant: Option<MetadataValue<tonic::metadata::Ascii>>,
    authorization: Option<MetadataValue<tonic::metadata::Ascii>>,
}

/// A slice of a job.
struct SentChunk<'a> {
    job: &'a BenchJob,
    documents: &'a [usize],
    tokens: u64,
    deadline: Instant,
}

/// A chunk that was answered.
struct AnsweredChunk<'a> {
    documents: &'a [usize],
    response: RerankResponse,
    /// Who answered.
    server: usize,
    /// Whether it was hedged, and if so, whether the hedge answered.
    hedge: Option<bool>,
    retries: u32,
}

impl BaselineStrategy {
    /// Sets it up; connections are made when first needed.
    pub(super) fn start(
        policy: BalancePolicy,
        hedge: bool,
        args: &BenchArgs,
        context: &CommandContext,
        pool: &Arc<TextPool>,
    ) -> Result<Self, CommandFailure> {
        let connection = &context.connection;
        let value = |flag: &str, text: String| {
            MetadataValue::try_from(text).map_err(|_| CommandFailure::usage(format!("{flag}: is no header value")))
        };
        let token = context.token()?.map(|token| format!("Bearer {token}"));
        Ok(Self {
            policy,
            hedge,
            chunk: if policy == BalancePolicy::Whole { usize::MAX } else { args.chunk as usize },
            retries: args.retries,
            model: connection.model.clone(),
            deadline: connection.deadline,
            headers: RequestHeaders {
                lane: if Lane::from(connection.lane) == Lane::Bulk { "bulk" } else { "interactive" },
                tenant: connection.tenant.clone().map(|name| value("--tenant", name)).transpose()?,
                authorization: token.map(|token| value("--token", token)).transpose()?,
            },
            servers: context.endpoints().map(BaselineServer::new).collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
            pool: Arc::clone(pool),
            budget: TokenBucket::default(),
            latencies: Mutex::new(WindowQuantile::new(HEDGE_QUANTILE)),
            first: AtomicU64::new(0),
            hedges: AtomicU64::new(0),
            retried: AtomicU64::new(0),
        })
    }

    /// Tokens sent so far.
    pub(super) fn spent(&self) -> Spent {
        Spent {
            first: self.first.load(Ordering::Relaxed),
            hedges: self.hedges.load(Ordering::Relaxed),
            retries: self.retried.load(Ordering::Relaxed),
            free: 0,
        }
    }

    /// Runs one job.
    pub(super) async fn drive(&self, job: &BenchJob) -> BenchJobEnd {
        let deadline = Instant::now() + self.deadline;
        let chunks = job.documents.chunks(self.chunk.min(job.documents.len()).max(1)).map(|documents| {
            let chunk = SentChunk { job, documents, tokens: self.tokens(job, documents), deadline };
            self.first.fetch_add(chunk.tokens, Ordering::Relaxed);
            self.budget.earn(chunk.tokens);
            self.answer(chunk)
        });
        let mut answered = AnsweredJob::default();
        match future::try_join_all(chunks).await {
            Ok(chunks) => {
                for chunk in chunks {
                    self.check(job, &chunk, &mut answered);
                }
                BenchJobEnd::Answered(answered)
            }
            Err(status) => BenchJobEnd::Failed(code_name(status.code())),
        }
    }

    /// One chunk, tried again elsewhere where that is allowed.
    async fn answer<'a>(&self, chunk: SentChunk<'a>) -> Result<AnsweredChunk<'a>, Status> {
        let mut tried = None;
        let mut retries = 0;
        loop {
            let first = self.pick(tried);
            let mut hedge = None;
            let outcome = if self.hedge {
                self.hedged(&chunk, first, &mut hedge).await
            } else {
                self.attempt(&chunk, first, 1).await.map(|response| (response, first))
            };
            match outcome {
                Ok((response, server)) => {
                    let hedge = hedge.map(|hedge| hedge == server);
                    return Ok(AnsweredChunk { documents: chunk.documents, response, server, hedge, retries });
                }
                Err(status) if status.code() == Code::Unavailable && retries < self.retries => {
                    retries += 1;
                    tried = Some(first);
                    self.retried.fetch_add(chunk.tokens, Ordering::Relaxed);
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// A chunk, and again elsewhere (`hedge`) once it is later than most. The first success wins.
    async fn hedged(
        &self,
        chunk: &SentChunk<'_>,
        server: usize,
        hedge: &mut Option<usize>,
    ) -> Result<(RerankResponse, usize), Status> {
        let late_after = self.latencies.lock().value();
        let attempt = async |server, number| Ok((self.attempt(chunk, server, number).await?, server));
        let first = std::pin::pin!(attempt(server, 1));
        let Some(late_after) = late_after.filter(|_| self.servers.len() > 1) else { return first.await };
        let waited = std::pin::pin!(tokio::time::sleep(late_after.max(HEDGE_FLOOR)));
        let first = match future::select(first, waited).await {
            Either::Left((outcome, _)) => return outcome,
            Either::Right(((), first)) => first,
        };
        if !self.budget.take(chunk.tokens) {
            return first.await;
        }
        self.hedges.fetch_add(chunk.tokens, Ordering::Relaxed);
        let other = self.pick(Some(server));
        *hedge = Some(other);
        let second = std::pin::pin!(attempt(other, 2));
        match future::select(first, second).await {
            Either::Left((Ok(answer), _)) | Either::Right((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// One request.
    async fn attempt(&self, chunk: &SentChunk<'_>, server: usize, number: u32) -> Result<RerankResponse, Status> {
        let text = |text: &str| Input { kind: Some(Kind::Text(text.to_owned())) };
        let message = RerankRequest {
            model: self.model.clone(),
            query: Some(text(self.pool.query(chunk.job.query))),
            documents: chunk.documents.iter().map(|&index| text(self.pool.document(index))).collect(),
            ..RerankRequest::default()
        };
        let mut request = Request::new(message);
        let left = chunk.deadline.saturating_duration_since(Instant::now());
        request.set_timeout(left);
        let headers = request.metadata_mut();
        headers.insert("sortie-lane", MetadataValue::from_static(self.headers.lane));
        headers.insert("sortie-attempt", MetadataValue::from(number));
        if let Some(tenant) = &self.headers.tenant {
            headers.insert("sortie-tenant", tenant.clone());
        }
        if let Some(authorization) = &self.headers.authorization {
            headers.insert("authorization", authorization.clone());
        }
        let gone = || Status::internal("there is no such server");
        let (mut stub, _in_flight) = self.servers.get(server).and_then(|s| s.take(chunk.tokens)).ok_or_else(gone)?;
        let sent = Instant::now();
        let late = |_| Status::deadline_exceeded("the deadline passed");
        let response = tokio::time::timeout(left, stub.rerank(request)).await.map_err(late)??;
        self.latencies.lock().add(sent.elapsed());
        Ok(response.into_inner())
    }

    /// A server by the rule, another than the one tried if there is one.
    fn pick(&self, tried: Option<usize>) -> usize {
        let all: Vec<usize> = (0..self.servers.len()).filter(|n| Some(*n) != tried).collect();
        let at = |n: usize| all.get(n % all.len().max(1)).copied().unwrap_or_default();
        let load = |n: usize| self.servers.get(n).map_or((0, 0), |s| (s.tokens(), s.requests()));
        match self.policy {
            BalancePolicy::RoundRobin => at(self.next.fetch_add(1, Ordering::Relaxed)),
            BalancePolicy::TwoChoices => {
                let (a, b) = (at(rand::random::<u32>() as usize), at(rand::random::<u32>() as usize));
                if load(b).1 < load(a).1 { b } else { a }
            }
            BalancePolicy::Whole => {
                let first = rand::random::<u32>() as usize;
                (0..all.len()).map(|n| at(first.wrapping_add(n))).min_by_key(|&n| load(n).0).unwrap_or_default()
            }
        }
    }

    fn tokens(&self, job: &BenchJob, documents: &[usize]) -> u64 {
        let query = self.pool.query(job.query).len();
        let bytes: usize = documents.iter().map(|&index| query + self.pool.document(index).len()).sum();
        (bytes / BYTES_PER_TOKEN) as u64
    }

    fn check(&self, job: &BenchJob, chunk: &AnsweredChunk<'_>, answered: &mut AnsweredJob) {
        let tokens = chunk.response.chunk.as_ref().map_or(0, |chunk| chunk.tokens);
        answered.tokens += tokens;
        if let Some(server) = self.servers.get(chunk.server) {
            *answered.servers.entry(server.address().to_owned()).or_default() += tokens;
        }
        answered.chunks += 1;
        answered.hedges += u64::from(chunk.hedge.is_some());
        answered.hedges_won += u64::from(chunk.hedge == Some(true));
        answered.retries += u64::from(chunk.retries);
        for (place, &document) in chunk.documents.iter().enumerate() {
            match chunk.response.scores.get(place) {
                Some(score) if score.is_finite() => {
                    answered.wrong += usize::from(!self.pool.agrees(job.query, document, *score));
                }
                _ => answered.missing += 1,
            }
        }
    }
}

/// A code as gRPC writes it.
fn code_name(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

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

use super::{budget::Budget, quantile::Quantile, server::Server};
use crate::{
    args::BenchArgs,
    bench::{
        arrivals::Job,
        record::{Answered, Ended, Spent},
        texts::Pool,
    },
    exit::Failure,
    session::Session,
};

/// Share of chunks that are not hedged.
const HEDGE_QUANTILE: f64 = 0.97;

/// Least wait before a hedge.
const HEDGE_FLOOR: Duration = Duration::from_millis(1);

/// Bytes that count as a token where all that is needed is a share of others.
const BYTES_PER_TOKEN: usize = 4;

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// In turn.
    RoundRobin,
    /// Of two at random the one with fewer requests of ours.
    TwoChoices,
    /// One chunk, to the server with the fewest tokens of ours.
    Whole,
}

/// One such strategy at work.
#[derive(Debug)]
pub(crate) struct Plain {
    rule: Rule,
    hedge: bool,
    chunk: usize,
    retries: u32,
    model: String,
    deadline: Duration,
    headers: Headers,
    servers: Vec<Server>,
    next: AtomicUsize,
    pool: Arc<Pool>,
    budget: Budget,
    latencies: Mutex<Quantile>,
    first: AtomicU64,
    hedges: AtomicU64,
    retried: AtomicU64,
}

/// Metadata of every request.
#[derive(Debug)]
struct Headers {
    lane: &'static str,
    tenant: Option<MetadataValue<tonic::metadata::Ascii>>,
    authorization: Option<MetadataValue<tonic::metadata::Ascii>>,
}

/// A slice of a job.
struct Chunk<'a> {
    job: &'a Job,
    documents: &'a [usize],
    tokens: u64,
    deadline: Instant,
}

impl Plain {
    /// Sets it up; connections are made when first needed.
    pub(super) fn start(
        rule: Rule,
        hedge: bool,
        args: &BenchArgs,
        session: &Session,
        pool: &Arc<Pool>,
    ) -> Result<Self, Failure> {
        let connection = &session.connection;
        let value = |flag: &str, text: String| {
            MetadataValue::try_from(text).map_err(|_| Failure::usage(format!("{flag}: is no header value")))
        };
        let token = connection.token.as_ref().map(|token| format!("Bearer {}", token.reveal()));
        Ok(Self {
            rule,
            hedge,
            chunk: if rule == Rule::Whole { usize::MAX } else { args.chunk as usize },
            retries: args.retries,
            model: connection.model.clone(),
            deadline: connection.deadline,
            headers: Headers {
                lane: if Lane::from(connection.lane) == Lane::Bulk { "bulk" } else { "interactive" },
                tenant: connection.tenant.clone().map(|name| value("--tenant", name)).transpose()?,
                authorization: token.map(|token| value("--token", token)).transpose()?,
            },
            servers: session.endpoints().map(Server::new).collect::<Result<_, _>>()?,
            next: AtomicUsize::new(0),
            pool: Arc::clone(pool),
            budget: Budget::default(),
            latencies: Mutex::new(Quantile::new(HEDGE_QUANTILE)),
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
    pub(super) async fn drive(&self, job: &Job) -> Ended {
        let deadline = Instant::now() + self.deadline;
        let chunks = job.documents.chunks(self.chunk.min(job.documents.len()).max(1)).map(|documents| {
            let chunk = Chunk { job, documents, tokens: self.tokens(job, documents), deadline };
            self.first.fetch_add(chunk.tokens, Ordering::Relaxed);
            self.budget.earn(chunk.tokens);
            self.answer(chunk)
        });
        let mut answered = Answered { tokens: 0, missing: 0, wrong: 0 };
        match future::try_join_all(chunks).await {
            Ok(parts) => {
                for (response, documents) in parts {
                    self.check(job, documents, &response, &mut answered);
                }
                Ended::Answered(answered)
            }
            Err(status) => Ended::Failed(word(status.code())),
        }
    }

    /// One chunk, tried again elsewhere where that is allowed.
    async fn answer<'a>(&self, chunk: Chunk<'a>) -> Result<(RerankResponse, &'a [usize]), Status> {
        let mut tried = None;
        let mut left = self.retries;
        loop {
            let server = self.pick(tried);
            let outcome =
                if self.hedge { self.hedged(&chunk, server).await } else { self.attempt(&chunk, server, 1).await };
            match outcome {
                Ok(response) => return Ok((response, chunk.documents)),
                Err(status) if status.code() == Code::Unavailable && left > 0 => {
                    left -= 1;
                    tried = Some(server);
                    self.retried.fetch_add(chunk.tokens, Ordering::Relaxed);
                }
                Err(status) => return Err(status),
            }
        }
    }

    /// A chunk, and again elsewhere once it is later than most. The first success wins.
    async fn hedged(&self, chunk: &Chunk<'_>, server: usize) -> Result<RerankResponse, Status> {
        let patience = self.latencies.lock().value();
        let first = std::pin::pin!(self.attempt(chunk, server, 1));
        let Some(patience) = patience.filter(|_| self.servers.len() > 1) else { return first.await };
        let waited = std::pin::pin!(tokio::time::sleep(patience.max(HEDGE_FLOOR)));
        let first = match future::select(first, waited).await {
            Either::Left((outcome, _)) => return outcome,
            Either::Right(((), first)) => first,
        };
        if !self.budget.take(chunk.tokens) {
            return first.await;
        }
        self.hedges.fetch_add(chunk.tokens, Ordering::Relaxed);
        let second = std::pin::pin!(self.attempt(chunk, self.pick(Some(server)), 2));
        match future::select(first, second).await {
            Either::Left((Ok(response), _)) | Either::Right((Ok(response), _)) => Ok(response),
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
        }
    }

    /// One request.
    async fn attempt(&self, chunk: &Chunk<'_>, server: usize, number: u32) -> Result<RerankResponse, Status> {
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
        match self.rule {
            Rule::RoundRobin => at(self.next.fetch_add(1, Ordering::Relaxed)),
            Rule::TwoChoices => {
                let (a, b) = (at(rand::random::<u32>() as usize), at(rand::random::<u32>() as usize));
                if load(b).1 < load(a).1 { b } else { a }
            }
            Rule::Whole => {
                let first = rand::random::<u32>() as usize;
                (0..all.len()).map(|n| at(first.wrapping_add(n))).min_by_key(|&n| load(n).0).unwrap_or_default()
            }
        }
    }

    fn tokens(&self, job: &Job, documents: &[usize]) -> u64 {
        let query = self.pool.query(job.query).len();
        let bytes: usize = documents.iter().map(|&index| query + self.pool.document(index).len()).sum();
        (bytes / BYTES_PER_TOKEN) as u64
    }

    fn check(&self, job: &Job, documents: &[usize], response: &RerankResponse, answered: &mut Answered) {
        answered.tokens += response.part.as_ref().map_or(0, |part| part.tokens);
        for (place, &document) in documents.iter().enumerate() {
            match response.scores.get(place) {
                Some(score) if score.is_finite() => {
                    answered.wrong += usize::from(!self.pool.agrees(job.query, document, *score));
                }
                _ => answered.missing += 1,
            }
        }
    }
}

/// A code as gRPC writes it.
fn word(code: Code) -> String {
    let mut word = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

//! Every number that steers dispatch, each with its reason and its source.

use std::time::Duration;

use crate::{cost::Cost, report::Limits};

/// What device work costs before anything is known: a mid-sized encoder on a data-centre GPU
/// (1 ms a batch, 0.46 µs a token). Of the costs this project measured it has nearly the largest
/// a/b (2,174 tokens), hence the largest chunks: a cold job is cut only where a fast fleet gains
/// too, and a slow one then gains more.
pub const PRIOR: Cost = Cost { a_us: 1_000.0, b_us: 0.46 };

/// What tokenizing costs before anything is known: about two million tokens a second, and next to
/// nothing a request.
pub const TOKENIZER_PRIOR: Cost = Cost { a_us: 100.0, b_us: 0.5 };

/// Most that one batch may change what a server is believed to cost: a stall of one batch must not
/// brand a server.
pub const MAX_STEP: f64 = 1.5;

/// How fast what was seen of one server fades to what is known otherwise while nothing is seen.
pub const COST_DECAY: Duration = Duration::from_secs(5);

/// Batches until a cost fitted from scratch counts as known. Until then samples are taken as they
/// are: a clip guards what is known, and nothing is.
pub const COLD_SAMPLES: u64 = 8;

/// Round trip assumed of a server: same data centre, with gRPC's own work at both ends.
pub const ROUND_TRIP: Duration = Duration::from_micros(500);

/// Standard deviation of service times over their mean; the last of k chunks is late by about
/// `noise · √(2 ln k)`.
pub const SERVICE_NOISE: f64 = 0.08;

/// Share by which cutting a job must shorten its predicted time: below it the extra work and the
/// extra ways to be late are not worth it.
pub const MIN_GAIN: f64 = 0.10;

/// Most chunks that are cut for speed alone.
pub const MAX_CHUNKS: usize = 64;

/// Share of a server's message limit that a request or its answer is planned to fill; the rest is
/// for options, framing and estimates that fall short.
pub const MESSAGE_SHARE: f64 = 0.8;

/// Share of a server's queue that one chunk may fill: estimates may be off by two, and a chunk that
/// can never be admitted is refused for ever.
pub const QUEUE_SHARE: f64 = 0.5;

/// Fleets up to this size are looked at whole; of larger ones two a chunk are drawn at random
/// (power of two choices), so that the clients of a fleet do not all find the same best server.
pub const SCAN_LIMIT: usize = 32;

/// How fast a load report ages: after this long it counts for 1/e.
pub const REPORT_DECAY: Duration = Duration::from_millis(100);

/// Most attempts of one chunk (gRFC A6).
pub const MAX_ATTEMPTS: u32 = 5;

/// First wait before a chunk goes to a server that already failed it; doubles each time, full jitter.
pub const BACKOFF: Duration = Duration::from_millis(25);

/// Longest such wait.
pub const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// How long a server is passed over after it could not be reached; doubles with each time in a row.
pub const NOT_READY: Duration = Duration::from_millis(100);

/// Longest such time, and longest that one refusal keeps other work from a server, whatever it asks
/// for.
pub const MAX_NOT_READY: Duration = Duration::from_secs(10);

/// Share of the dispatched tokens that retries may add.
pub const RETRY_SHARE: f64 = 0.10;

/// Retry tokens that can be saved up, and that there are at first: ten jobs of 200 pairs.
pub const RETRY_BURST: u64 = 320_000;

/// However little there is in the budget, one retry is let through this often: a client with one
/// small job a minute must be able to retry it.
pub const RETRY_FLOOR: Duration = Duration::from_secs(1);

/// Tokens in a byte of text before anything is known: English in a BERT vocabulary.
pub const TOKENS_PER_BYTE: f64 = 0.25;

/// Special tokens of a sequence: at most four in the pair templates of known encoders.
pub const SPECIAL_TOKENS: u64 = 3;

/// What a request may hold where a server does not say: the server's own defaults. Of a message's
/// bytes it is the most, whatever servers say, for the client has to hold it too.
pub const LIMITS: Limits =
    Limits { max_batch_tokens: 2_048, max_items: 10_000, max_message_bytes: 64 << 20, max_queue_tokens: 1 << 20 };

/// Everything above, to be changed before a fleet is made.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// See [`PRIOR`].
    pub prior: Cost,
    /// See [`TOKENIZER_PRIOR`].
    pub tokenizer_prior: Cost,
    /// See [`MAX_STEP`].
    pub max_step: f64,
    /// See [`COST_DECAY`].
    pub cost_decay: Duration,
    /// See [`COLD_SAMPLES`].
    pub cold_samples: u64,
    /// See [`ROUND_TRIP`].
    pub round_trip: Duration,
    /// See [`SERVICE_NOISE`].
    pub service_noise: f64,
    /// See [`MIN_GAIN`].
    pub min_gain: f64,
    /// See [`MAX_CHUNKS`].
    pub max_chunks: usize,
    /// See [`MESSAGE_SHARE`].
    pub message_share: f64,
    /// See [`QUEUE_SHARE`].
    pub queue_share: f64,
    /// See [`SCAN_LIMIT`].
    pub scan_limit: usize,
    /// See [`REPORT_DECAY`].
    pub report_decay: Duration,
    /// See [`MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// See [`BACKOFF`].
    pub backoff: Duration,
    /// See [`MAX_BACKOFF`].
    pub max_backoff: Duration,
    /// See [`NOT_READY`].
    pub not_ready: Duration,
    /// See [`MAX_NOT_READY`].
    pub max_not_ready: Duration,
    /// See [`RETRY_SHARE`].
    pub retry_share: f64,
    /// See [`RETRY_BURST`].
    pub retry_burst: u64,
    /// See [`RETRY_FLOOR`].
    pub retry_floor: Duration,
    /// See [`TOKENS_PER_BYTE`].
    pub tokens_per_byte: f64,
    /// See [`SPECIAL_TOKENS`].
    pub special_tokens: u64,
    /// See [`LIMITS`].
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prior: PRIOR,
            tokenizer_prior: TOKENIZER_PRIOR,
            max_step: MAX_STEP,
            cost_decay: COST_DECAY,
            cold_samples: COLD_SAMPLES,
            round_trip: ROUND_TRIP,
            service_noise: SERVICE_NOISE,
            min_gain: MIN_GAIN,
            max_chunks: MAX_CHUNKS,
            message_share: MESSAGE_SHARE,
            queue_share: QUEUE_SHARE,
            scan_limit: SCAN_LIMIT,
            report_decay: REPORT_DECAY,
            max_attempts: MAX_ATTEMPTS,
            backoff: BACKOFF,
            max_backoff: MAX_BACKOFF,
            not_ready: NOT_READY,
            max_not_ready: MAX_NOT_READY,
            retry_share: RETRY_SHARE,
            retry_burst: RETRY_BURST,
            retry_floor: RETRY_FLOOR,
            tokens_per_byte: TOKENS_PER_BYTE,
            special_tokens: SPECIAL_TOKENS,
            limits: LIMITS,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ConfigError {
    /// The field of [`Config`].
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Config {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// Names the first that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let share = |x: f64| positive(x) && x <= 1.0;
        let checks = [
            ("prior", self.prior.is_usable(), "must be finite, with b above zero"),
            ("tokenizer_prior", self.tokenizer_prior.is_usable(), "must be finite, with b above zero"),
            ("max_step", self.max_step.is_finite() && self.max_step > 1.0, "must be above 1"),
            ("cost_decay", !self.cost_decay.is_zero(), "must be above zero"),
            ("service_noise", (0.0..1.0).contains(&self.service_noise), "must be from 0 to 1"),
            ("min_gain", (0.0..1.0).contains(&self.min_gain), "must be from 0 to 1"),
            ("max_chunks", self.max_chunks > 0, "must be above zero"),
            ("message_share", share(self.message_share), "must be above 0, at most 1"),
            ("queue_share", share(self.queue_share), "must be above 0, at most 1"),
            ("report_decay", !self.report_decay.is_zero(), "must be above zero"),
            ("max_attempts", self.max_attempts > 0, "must be above zero"),
            ("max_backoff", self.max_backoff >= self.backoff, "must not be below backoff"),
            ("max_not_ready", self.max_not_ready >= self.not_ready, "must not be below not_ready"),
            ("retry_share", (0.0..=1.0).contains(&self.retry_share), "must be from 0 to 1"),
            ("tokens_per_byte", positive(self.tokens_per_byte), "must be above zero"),
            ("limits", self.limits.is_whole(), "must all be above zero"),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(ConfigError { field, problem }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        let wrong = Config { max_step: 1.0, ..Config::default() };
        assert_eq!(wrong.validate().unwrap_err().field, "max_step");
        let wrong = Config { tokens_per_byte: f64::NAN, ..Config::default() };
        assert_eq!(wrong.validate().unwrap_err().to_string(), "tokens_per_byte must be above zero");
    }
}

//! Admission: how long a part would wait, and whether that is in time.
//!
//! `end = rest of the running batch + queue ahead at the measured cost + own work`,
//! where *ahead* are the tokens that the forming rules serve first: more urgent
//! classes, and of its own class what its tenant has plus the others' fair share.
//! The share that goes by age alone is paid by everybody. While no batch was
//! measured nothing is refused for its time, since nothing is known of it. Nor where nothing waits for a device that
//! has been idle for long: the belief may be of a stall that is over, and only a batch can tell.
//!
//! Invariant: what is admitted was predicted to be in time, so that what is
//! refused is refused at once and not dropped later.

use super::{At, Core, form::OWED_SHARE, queue::class_of, secs};
use crate::{
    load::wait_seconds,
    request::{Refusal, Request},
};

/// Predicted time is stretched by this before it is held against a deadline:
/// batches scatter, and an answer must still be written.
const MARGIN: f64 = 1.1;

impl<K, I> Core<K, I> {
    /// Whether a part may come in now.
    pub(super) fn admissible(&self, now: At, request: &Request<At>) -> Result<(), Refusal> {
        if !self.is_alive() {
            return Err(Refusal::NoDevice);
        }
        if self.draining {
            return Err(Refusal::Draining);
        }
        let tokens = request.tokens;
        let limit = self.config.max_queue_tokens;
        if tokens > limit {
            return Err(Refusal::TooLarge { tokens, limit });
        }
        let queued = self.queue.tokens() + self.queue.reserved();
        let drain = || wait_seconds(now, self.queued_tokens(), self.gauges());
        let excess = queued.saturating_add(tokens).saturating_sub(limit);
        if excess > 0 {
            // Room comes when the excess has gone into a batch.
            let retry_after = secs(drain() * excess.min(queued) as f64 / queued.max(1) as f64);
            return Err(Refusal::QueueFull { queued, limit, retry_after });
        }
        let limit = self.config.max_parts.max(1);
        if self.queue.len() >= limit {
            let retry_after = secs(drain() / limit as f64);
            return Err(Refusal::TooManyParts { limit, retry_after });
        }
        let Some(deadline) = request.deadline else { return Ok(()) };
        let remaining = deadline.saturating_sub(now);
        let seconds = self.end_seconds(now, request);
        let wait = secs(seconds);
        let known = self.cost().is_some() && !(queued == 0 && self.devices.iter().any(|dev| dev.is_stale(now)));
        if remaining.is_zero() || (known && seconds * MARGIN > remaining.as_secs_f64()) {
            let retry_after = wait.saturating_sub(remaining);
            return Err(Refusal::TooLate { wait, remaining, retry_after });
        }
        Ok(())
    }

    /// Estimated seconds until a part that is admitted now is answered.
    fn end_seconds(&self, now: At, request: &Request<At>) -> f64 {
        let class = class_of(request.priority);
        let before: u64 = self.queue.classes.iter().take(class).map(|c| c.tokens()).sum();
        let own = self.queue.classes.get(class).map_or(request.tokens, |c| c.ahead(request.tenant, request.tokens));
        let sealed: u64 = self.devices.iter().filter_map(|dev| dev.sealed).sum();
        let ahead = before + own;
        let all = self.queue.tokens() + self.queue.reserved() + request.tokens;
        // Others take what goes by age while they wait.
        let aged = (ahead / (OWED_SHARE as u64 - 1)).min(all.saturating_sub(ahead));
        wait_seconds(now, ahead + aged + sealed, self.gauges())
    }
}

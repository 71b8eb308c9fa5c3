//! Admission: how long a chunk would wait, and whether that is in time.
//!
//! `end = rest of the running batch + queue ahead at the measured cost + own work`, where *ahead* is the work that
//! the forming rules serve first: more urgent classes, and of its own class what its tenant has plus the others' fair
//! share, of what they have or, where work of theirs has been refused since it was last empty, of what they will have.
//! The share that goes by age alone is paid by everybody. Two rules hold:
//!
//! 1. **In time.** `margin · end ≤ time to the deadline`, where the margin is a high quantile of the error that such
//!    estimates have had ([`Margins`](super::margins::Margins)).
//! 2. **No standing queue.** A queue takes up bursts. One that never empties only delays everybody who is served
//!    (bufferbloat; CoDel, Nichols and Jacobson 2012), so a chunk may wait `share · slack`: its slack is what its
//!    deadline leaves beside its own work, at most [`max_queue_wait`](crate::SchedulerConfig::max_queue_wait); the
//!    share is 1 while the tenant's queue was empty within the last such time. Behind a queue that has stood for longer
//!    it falls to [`STANDING_SHARE`] as work is refused, over [`FALL`] times the slack in device time: where next to
//!    nothing is refused the load is about what the device can do, and a shorter queue would leave it idle between
//!    bursts. Chunks without a deadline are held to this rule too.
//!
//! While no batch was measured nothing is refused for its time, since nothing is known of it. Nor where nothing waits
//! for a device that has been idle for long: the belief may be of a stall that is over, and only a batch can tell.
//!
//! Invariant: what is admitted was predicted to be in time, so that what is refused is refused at once and not
//! dropped later.

use std::time::Duration;

use sortie_work::Lane;

use super::{At, Core, form::AGING_SHARE, queue::class_of, secs};
use crate::{
    load::wait_seconds,
    request::{Refusal, Request},
};

/// Share of a chunk's slack that it may wait behind a standing queue at last. Less leaves the device idle between
/// bursts, more only makes those who are served wait: with their own work and their batch-mates' they are answered
/// within half of their time. `docs/scheduling.md` has the table that this was chosen by.
const STANDING_SHARE: f64 = 0.35;

/// Work that is refused, in device time over the slack, until the share has fallen: at eight times the capacity a tenth
/// of a second's, at 1.2 times that of a few seconds, about capacity next to never.
const FALL: f64 = 0.4;

/// Least time that a refused caller is asked to stay away: a queue does not change in less.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

impl<K, I> Core<K, I> {
    /// Whether a chunk may come in now; a refusal counts as load.
    ///
    /// # Errors
    /// As [`Core::admit`].
    pub fn admissible(&mut self, now: At, request: &Request<At>) -> Result<(), Refusal> {
        let verdict = self.check_wait(now, request);
        match &verdict {
            Ok(()) => {}
            // What could not be in time on an idle device is no load.
            Err(Refusal::TooLate { remaining, .. }) if secs(self.own_seconds(request.amount().work)) >= *remaining => {}
            Err(Refusal::TooLate { .. } | Refusal::WaitTooLong { .. }) => {
                // Where a message was not read its tokens are not known: it counts as others do.
                let known = request.tokens > 1;
                let work = if known { request.amount().work } else { self.mean_chunk_work as u64 };
                if let Some(class) = self.queue.classes.get_mut(class_of(request.priority)) {
                    class.refuse(request.tenant, work);
                }
            }
            Err(_) => {}
        }
        verdict
    }

    fn check_wait(&self, now: At, request: &Request<At>) -> Result<(), Refusal> {
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
        let queued = self.queue.waits().and(self.queue.reserved()).tokens;
        let queue_wait = || wait_seconds(now, self.queued_work(), self.gauges());
        let excess = queued.saturating_add(tokens).saturating_sub(limit);
        if excess > 0 {
            // Room comes when the excess has gone into a batch.
            let retry_after = secs(queue_wait() * excess.min(queued) as f64 / queued.max(1) as f64).max(LEAST_PAUSE);
            return Err(Refusal::QueueFull { queued, limit, retry_after });
        }
        let limit = self.config.max_chunks.max(1);
        if self.queue.len() >= limit {
            let retry_after = secs(queue_wait() / limit as f64).max(LEAST_PAUSE);
            return Err(Refusal::TooManyChunks { limit, retry_after });
        }
        let remaining = request.deadline.map(|deadline| deadline.saturating_sub(now));
        if remaining.is_some_and(|left| left.is_zero()) {
            let (wait, queue, remaining) = Default::default();
            return Err(Refusal::TooLate { wait, queue, remaining, retry_after: None });
        }
        let known = self.cost().is_some() && !(queued == 0 && self.devices.iter().any(|dev| dev.is_stale(now)));
        if known { self.in_time(now, request, remaining) } else { Ok(()) }
    }

    /// The two rules.
    fn in_time(&self, now: At, request: &Request<At>, remaining: Option<Duration>) -> Result<(), Refusal> {
        let end = self.end_seconds(now, request);
        let own = self.own_seconds(request.amount().work).min(end);
        let wait = end - own;
        let longest = self.config.max_queue_wait.as_secs_f64();
        let slack = remaining.map_or(longest, |left| (left.as_secs_f64() - own).clamp(0.0, longest));
        let share = self.wait_share(now, request, slack);
        let allowed = share * slack;
        let is_late = remaining.is_some_and(|left| end * self.margins.of(end, now) > left.as_secs_f64());
        if wait <= allowed && !is_late {
            return Ok(());
        }
        // Where it is the deadline that bounds the slack, waiting uses that up too: both sides meet later.
        let closing = if slack < longest && share < 1.0 { 1.0 - share } else { 1.0 };
        let pause = (wait - allowed) / closing;
        let retry_after = secs(pause).max(LEAST_PAUSE);
        match remaining {
            // Bulk work has nobody waiting, and comes back as long as its deadline lets it.
            Some(remaining) => {
                let comes_back = request.priority.lane == Lane::Bulk && !is_late && retry_after < remaining;
                let retry_after = comes_back.then_some(retry_after);
                Err(Refusal::TooLate { wait: secs(end), queue: secs(wait), remaining, retry_after })
            }
            None => Err(Refusal::WaitTooLong { wait: secs(wait), limit: secs(allowed), retry_after }),
        }
    }

    /// Share of `slack` seconds that a chunk may wait: less, the more of its tenant's work was refused since the
    /// tenant's queue was last empty. Who does not ask for more than its part is not held short for others.
    fn wait_share(&self, now: At, request: &Request<At>, slack: f64) -> f64 {
        let class = self.queue.classes.get(class_of(request.priority));
        let Some((empty_at, refused)) = class.and_then(|class| class.standing(request.tenant)) else { return 1.0 };
        let stood = now.saturating_sub(empty_at).as_secs_f64();
        if stood <= slack || slack <= 0.0 {
            return 1.0;
        }
        let refused = refused as f64 * self.cost().map_or(0.0, |cost| cost.b_us / 1e6) / self.alive() as f64;
        1.0 - (1.0 - STANDING_SHARE) * (refused / (FALL * slack)).min(1.0)
    }

    /// Seconds of a chunk's own work, spread over the devices.
    pub(super) fn own_seconds(&self, work: u64) -> f64 {
        self.cost().map_or(0.0, |cost| cost.queue_seconds(work, self.budget()) / self.alive() as f64)
    }

    /// Estimated seconds until a chunk that is admitted now is answered.
    pub(super) fn end_seconds(&self, now: At, request: &Request<At>) -> f64 {
        let class = class_of(request.priority);
        let before: u64 = self.queue.classes.iter().take(class).map(|c| c.tokens()).sum();
        let work = request.amount().work;
        let own = self.queue.classes.get(class).map_or(work, |c| c.ahead(request.tenant, work));
        let sealed: u64 = self.devices.iter().filter_map(|dev| dev.sealed_work()).sum();
        let ahead = before + own;
        let all = self.queue.waits().and(self.queue.reserved()).work + work;
        // Others take what goes by age while they wait.
        let aged = (ahead / (AGING_SHARE as u64 - 1)).min(all.saturating_sub(ahead));
        wait_seconds(now, ahead + aged + sealed, self.gauges())
    }
}

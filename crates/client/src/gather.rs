//! Puts the answers of parts together, in request order.
//!
//! Invariant: a value is where its item was in the request; one that is missing is
//! `None` and has an error with that index.

use std::time::Duration;

use sortie_proto::v1;

use crate::{
    call::RevisionPolicy,
    error::{Error, ErrorKind},
    metadata::millis,
    report::{Batch, ItemError, Part, Report},
    scatter::{Answer, Gathered, Malformed, Scatter, expect_len},
    size::Sizes,
};

/// An attempt as it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) chunk: usize,
    pub(crate) number: u32,
    pub(crate) address: String,
}

/// What came in so far.
#[derive(Debug)]
pub(crate) struct Gather<R: Scatter> {
    head: Option<R::Head>,
    values: Vec<Option<R::Value>>,
    report: Report,
    revisions: RevisionPolicy,
}

impl<R: Scatter> Gather<R> {
    pub(crate) fn new(rpc: &R, job_id: String, revisions: RevisionPolicy) -> Self {
        let count = rpc.items().len();
        let mut report = Report { job_id, ..Report::default() };
        report.tokens.resize(count, 0);
        report.truncated.resize(count, false);
        Self { head: None, values: std::iter::repeat_with(|| None).take(count).collect(), report, revisions }
    }

    /// Items that no request can hold.
    pub(crate) fn oversized(&mut self, places: &[usize], sizes: &Sizes) {
        for &index in places {
            let bytes = sizes.items().get(index).map_or(0, |item| item.bytes);
            let message = format!("the item has {bytes} bytes, more than a request can hold");
            self.report.errors.push(ItemError { index, reason: "TEXT_TOO_LARGE".to_owned(), message });
        }
    }

    pub(crate) fn attempts(&mut self, attempts: u32) {
        self.report.attempts = attempts;
    }

    /// Takes the answer to the items at `places`. The outer error ends the job.
    pub(crate) fn take(
        &mut self,
        sent: &Sent,
        places: &[usize],
        expected_tokens: u64,
        rtt: Duration,
        answer: Answer<R::Head, R::Value>,
    ) -> Result<Result<(), Malformed>, Error> {
        if let Err(malformed) = check(&answer, places.len()) {
            return Ok(Err(malformed));
        }
        let Answer { head, values, items, part } = answer;
        self.revision(&part)?;
        match &self.head {
            Some(first) if *first != head => {
                let message = format!("parts of the job differ: {first:?} and {head:?}");
                return Err(Error::new(ErrorKind::MixedRevisions, message).with_endpoint(&sent.address));
            }
            Some(_) => {}
            None => self.head = Some(head),
        }
        self.put(places, values, &items);
        self.report.parts.push(part_of(sent, places.len(), expected_tokens, rtt, &part, &items));
        if self.report.model.is_empty() {
            self.report.model = part.model;
        }
        Ok(Ok(()))
    }

    fn revision(&mut self, part: &v1::PartInfo) -> Result<(), Error> {
        let revision = &part.model_revision;
        if revision.is_empty() || self.report.revisions.contains(revision) {
            return Ok(());
        }
        self.report.revisions.push(revision.clone());
        if self.revisions == RevisionPolicy::Fail && self.report.mixed_revisions() {
            let message = format!("parts were answered by revisions {}", self.report.revisions.join(" and "));
            return Err(Error::new(ErrorKind::MixedRevisions, message));
        }
        Ok(())
    }

    fn put(&mut self, places: &[usize], values: Vec<Option<R::Value>>, items: &v1::ItemInfo) {
        for (index, (&place, value)) in places.iter().zip(values).enumerate() {
            let error = items.errors.iter().find(|error| error.index as usize == index);
            let error = error.map(|error| (error.reason.clone(), error.message.clone()));
            let error = error.or_else(|| {
                let unsaid = || ("NON_FINITE_OUTPUT".to_owned(), "the answer is not a finite number".to_owned());
                value.is_none().then(unsaid)
            });
            if let Some((reason, message)) = error {
                self.report.errors.push(ItemError { index: place, reason, message });
                continue;
            }
            if let Some(slot) = self.values.get_mut(place) {
                *slot = value;
            }
            if let (Some(slot), Some(&tokens)) = (self.report.tokens.get_mut(place), items.tokens.get(index)) {
                *slot = tokens;
            }
            if let (Some(slot), Some(&cut)) = (self.report.truncated.get_mut(place), items.truncated.get(index)) {
                *slot = cut;
            }
        }
    }

    /// Makes the result.
    pub(crate) fn finish(mut self, rpc: R, elapsed: Duration) -> Result<R::Output, Error> {
        self.report.errors.sort_by_key(|error| error.index);
        self.report.elapsed = elapsed;
        Ok(rpc.finish(Gathered { head: self.head, values: self.values, report: self.report }))
    }
}

fn check<H, V>(answer: &Answer<H, V>, count: usize) -> Result<(), Malformed> {
    for (what, len) in [("token counts", answer.items.tokens.len()), ("truncations", answer.items.truncated.len())] {
        if len > 0 {
            expect_len(what, len, count)?;
        }
    }
    match answer.items.errors.iter().find(|error| error.index as usize >= count) {
        Some(error) => Err(Malformed(format!("the answer has an error of item {} of {count}", error.index))),
        None => Ok(()),
    }
}

fn part_of(
    sent: &Sent,
    items: usize,
    estimated_tokens: u64,
    rtt: Duration,
    part: &v1::PartInfo,
    info: &v1::ItemInfo,
) -> Part {
    let batches = part.batch_ms.iter().zip(&part.batch_tok);
    let batch = |(&ms, &tokens): (&f32, &u32)| Batch { duration: millis(f64::from(ms)), tokens };
    let counted = info.tokens.iter().map(|&tokens| u64::from(tokens)).sum();
    Part {
        endpoint: sent.address.clone(),
        replica: part.replica.clone(),
        revision: part.model_revision.clone(),
        items,
        tokens: if part.tokens > 0 { part.tokens } else { counted },
        estimated_tokens,
        attempt: sent.number,
        queue: Duration::from_micros(part.queue_us),
        tokenize: Duration::from_micros(part.tokenize_us),
        compute: Duration::from_micros(part.compute_us),
        total: Duration::from_micros(part.total_us),
        rtt,
        batches: batches.map(batch).collect(),
    }
}

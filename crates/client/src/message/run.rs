//! Runs a message as a job of the items that have to be computed, and gives every item its answer: of items that are
//! the same one is sent, and those whose answers were kept ([`super::kept`]) are not.
//!
//! Invariant: an answer has as many items as its message, in its order, and each is what it would be if it had been sent.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Pass, PassedRpc,
    distinct::DistinctItems,
    kept::{AnswerStore, KeptAnswers},
    size::AnswerBytes as _,
};
use crate::{
    client::Client,
    error::{Error, ErrorKind},
    job::{
        self,
        chunked::{ChunkedRpc, MergedAnswer},
    },
    options::CallOptions,
    report::{ItemError, Report},
};

type Merged<R> = MergedAnswer<<R as ChunkedRpc>::Head, <R as ChunkedRpc>::Value>;

/// Runs a message.
pub(super) async fn run<M>(
    pass: Pass<M>,
    client: &Client,
    options: CallOptions,
    store: Option<Arc<dyn AnswerStore>>,
) -> Result<<Pass<M> as ChunkedRpc>::Output, Error>
where
    Pass<M>: PassedRpc,
    M: Clone,
{
    let distinct = DistinctItems::of(&pass.items);
    let store = store.filter(|_| KeptAnswers::are_for(&pass) && !pass.items.is_empty());
    if store.is_none() && distinct.duplicates() == 0 {
        return job::run(pass, client.state(), options).await;
    }
    let started = Instant::now();
    let (_, deadline) = client.state().defaults().deadline_of(&options);
    let kept = store.map(|store| KeptAnswers::find(store, &pass, &distinct));
    let all = || (0..distinct.firsts.len()).collect::<Vec<_>>();
    let numbers = kept.as_ref().map_or_else(all, KeptAnswers::missing);
    let fresh = match &kept {
        Some(kept) if numbers.is_empty() => answered_before(kept, client, &options)?,
        _ => of_items(&pass, &distinct, &numbers, client, options.clone()).await?,
    };
    let limit = client.state().fleet().config().limits.max_message_bytes;
    let merged = match kept {
        Some(kept) if numbers.is_empty() || kept.goes_with(&fresh) => {
            kept.keep(&pass, &numbers, &fresh);
            fits(&distinct, &numbers, &fresh, Some(&kept), limit)?;
            spread(&distinct, &numbers, fresh, Some(kept))
        }
        // The model is another one by now: what was kept may not stand beside its answers.
        Some(_) if numbers.len() < distinct.firsts.len() => {
            let numbers = all();
            let deadline = Some(deadline.saturating_duration_since(Instant::now()));
            let fresh = of_items(&pass, &distinct, &numbers, client, CallOptions { deadline, ..options }).await?;
            fits::<Pass<M>>(&distinct, &numbers, &fresh, None, limit)?;
            spread::<Pass<M>>(&distinct, &numbers, fresh, None)
        }
        _ => {
            fits::<Pass<M>>(&distinct, &numbers, &fresh, None, limit)?;
            spread::<Pass<M>>(&distinct, &numbers, fresh, None)
        }
    };
    Ok(pass.finish(in_all(merged, started.elapsed())))
}

fn in_all<H, V>(mut merged: MergedAnswer<H, V>, elapsed: Duration) -> MergedAnswer<H, V> {
    merged.report.elapsed = elapsed;
    merged
}

/// The answer to a job that has nothing to compute.
fn answered_before<R: PassedRpc>(
    kept: &KeptAnswers<R>,
    client: &Client,
    options: &CallOptions,
) -> Result<Merged<R>, Error> {
    job::check(options)?;
    let report = Report {
        job_id: options.job_id.clone().unwrap_or_else(job::new_job_id),
        model: client.state().defaults().model_of(options).to_owned(),
        revisions: vec![kept.revision().to_owned()],
        ..Report::default()
    };
    Ok(MergedAnswer { head: kept.head.clone(), values: Vec::new(), report })
}

/// Runs the distinct items of these numbers as a job.
async fn of_items<M>(
    pass: &Pass<M>,
    distinct: &DistinctItems,
    numbers: &[usize],
    client: &Client,
    options: CallOptions,
) -> Result<Merged<Pass<M>>, Error>
where
    Pass<M>: PassedRpc,
    M: Clone,
{
    let places: Vec<usize> = numbers.iter().filter_map(|&number| distinct.firsts.get(number)).copied().collect();
    let items = places.iter().filter_map(|&place| pass.items.get(place)).cloned().collect();
    let part = Pass { head: pass.head.clone(), items };
    let merged = job::run_merged(part, client.state(), options).await;
    let (_, merged) = merged.map_err(|error| error.with_job_indices(<Pass<M> as ChunkedRpc>::ITEMS, &places))?;
    Ok(merged)
}

/// Refuses answers that no message holds before they are made: an item that is asked for a million times is computed once.
fn fits<R: PassedRpc>(
    distinct: &DistinctItems,
    numbers: &[usize],
    fresh: &Merged<R>,
    kept: Option<&KeptAnswers<R>>,
    limit: u64,
) -> Result<(), Error> {
    let mut each = vec![0_u64; distinct.firsts.len()];
    for (&number, value) in numbers.iter().zip(&fresh.values) {
        if let (Some(bytes), Some(value)) = (each.get_mut(number), value) {
            *bytes = value.answer_bytes() as u64;
        }
    }
    for (bytes, answer) in each.iter_mut().zip(kept.map_or(&[][..], |kept| &kept.answers)) {
        if let Some(answer) = answer {
            *bytes = answer.value.answer_bytes() as u64;
        }
    }
    let of = |number: &usize| each.get(*number).copied().unwrap_or(0);
    let bytes = distinct.number.iter().map(of).fold(0, u64::saturating_add);
    if bytes > limit {
        let message = format!("the answer would have {bytes} bytes or more; a message may have {limit}");
        return Err(Error::new(ErrorKind::InvalidArgument, message).with_reason("ANSWER_TOO_LARGE"));
    }
    Ok(())
}

/// Gives every item of the message its answer: what was kept of it, or what `fresh` has for its number, whose place in
/// `numbers` is its place there.
fn spread<R: PassedRpc>(
    distinct: &DistinctItems,
    numbers: &[usize],
    fresh: Merged<R>,
    kept: Option<KeptAnswers<R>>,
) -> Merged<R> {
    let MergedAnswer { head, mut values, report } = fresh;
    let asked = kept.is_some();
    let (kept_head, mut kept) = kept.map_or((None, Vec::new()), |kept| (kept.head, kept.answers));
    let mut places = vec![None; distinct.firsts.len()];
    for (place, &number) in numbers.iter().enumerate() {
        if let Some(slot) = places.get_mut(number) {
            *slot = Some(place);
        }
    }
    let mut uses = vec![0usize; distinct.firsts.len()];
    distinct.number.iter().for_each(|&number| uses[number] += 1);
    let items = distinct.number.len();
    let mut all = Report {
        tokens: Vec::with_capacity(items),
        truncated: Vec::with_capacity(items),
        windows: Vec::new(),
        errors: Vec::new(),
        ..report
    };
    let mut answers = Vec::with_capacity(items);
    let mut windows = Vec::with_capacity(items);
    let mut taken = 0;
    for (index, &number) in distinct.number.iter().enumerate() {
        uses[number] -= 1;
        let last = uses[number] == 0;
        let duplicate = distinct.firsts[number] != index;
        if let Some(answer) = kept.get_mut(number).and_then(Option::as_mut) {
            taken += 1;
            all.tokens.push(answer.tokens);
            all.truncated.push(answer.truncated);
            windows.push(answer.windows);
            answers.push(Some(answer.value.clone()));
            continue;
        }
        all.duplicates += usize::from(duplicate);
        let place = places[number].unwrap_or(usize::MAX);
        all.tokens.push(report.tokens.get(place).copied().unwrap_or_default());
        all.truncated.push(report.truncated.get(place).copied().unwrap_or_default());
        windows.push(report.windows.get(place).copied());
        if let Ok(at) = report.errors.binary_search_by_key(&place, |error| error.index) {
            all.errors.push(ItemError { index, ..report.errors[at].clone() });
        }
        let value = values.get_mut(place).and_then(|value| if last { value.take() } else { value.clone() });
        answers.push(value);
    }
    if windows.iter().any(Option::is_some) {
        all.windows = windows.into_iter().map(Option::unwrap_or_default).collect();
    }
    all.kept = asked.then_some(taken);
    MergedAnswer { head: head.or(kept_head), values: answers, report: all }
}

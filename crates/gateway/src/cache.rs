//! Answers of items, kept between jobs: the exact ones, by everything that they depend on.
//!
//! An answer is a pure function of the model, the RPC, what the message says beside its items, and the item. Its name is
//! the SHA-256 of all of these and of the caller's tenant. No two different ones are known to have the same, and 2^64
//! answers would have to be kept for one chance in 2^129 of it; a short or a keyed hash would leave more to chance, and the
//! texts themselves would take a hundred times the memory of the score that they stand for.
//!
//! Invariant: what is kept takes no more memory than [`AnswerCache::new`] was told, names and bookkeeping included.

use std::{sync::Arc, thread::available_parallelism};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};
use sha2::{Digest as _, Sha256};
use sortie_client::{AnswerName, AnswerStore, ChunkReport};

use crate::catalog::{ModelIdentity, ModelRuns};

/// What an entry takes beside its answer. Its slot has 64 bytes (name, pointer, links), twice that just after the slab
/// has doubled; its place in the table 5, and up to 12 as the table doubles; the answer's counts 16; and the
/// allocator rounds up.
const ENTRY_BYTES: u64 = 64 * 2 + 12 + 16 + 16;

/// Bytes for each entry that went a while ago and is remembered, in case it comes again: one slot as above. There are at
/// most [`REMEMBERED`] of them a byte of the cache, so they take a sixteenth of it.
const MEMORY_SHARE: u64 = 16;

/// Bytes of the cache for each entry that is remembered.
const REMEMBERED: u64 = 2_048;

/// Least size of a part of the cache that has a lock of its own: it holds any answer of a few hundred vectors.
const SHARD_BYTES: u64 = 4 << 20;

/// Weighs entries.
#[derive(Clone, Copy, Debug)]
struct EntryBytes;

impl Weighter<AnswerName, Arc<[u8]>> for EntryBytes {
    fn weight(&self, _: &AnswerName, answer: &Arc<[u8]>) -> u64 {
        answer.len() as u64 + ENTRY_BYTES
    }
}

/// The answers of all jobs.
#[derive(Debug)]
pub(crate) struct AnswerCache {
    answers: Cache<AnswerName, Arc<[u8]>, EntryBytes>,
}

impl AnswerCache {
    /// One of at most so many bytes; none where that is zero.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let shards = usize::try_from(bytes / SHARD_BYTES).unwrap_or(usize::MAX).clamp(1, 4 * processors);
        let options = OptionsBuilder::new()
            .weight_capacity(bytes - bytes / MEMORY_SHARE)
            // Half as many entries are remembered.
            .estimated_items_capacity(usize::try_from(2 * (bytes / REMEMBERED)).unwrap_or(usize::MAX))
            .shards(shards)
            .build()
            .ok()
            .filter(|_| bytes > 0)?;
        let (hash, life) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Some(Self { answers: Cache::with_options(options, EntryBytes, hash, life) })
    }

    /// Entries, and the bytes that they take.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.answers.len(), self.answers.weight())
    }

    /// What a tenant's jobs may have of it while the fleet's model is `model`, which `runs` serve. Tenants share nothing:
    /// how soon an answer comes would tell one what another asked.
    pub(crate) fn of(self: &Arc<Self>, model: &ModelIdentity, runs: &Arc<ModelRuns>, tenant: &str) -> JobAnswers {
        let mut scope = Sha256::new();
        scope.update(model.digest);
        told(&mut scope, tenant.as_bytes());
        JobAnswers { cache: Arc::clone(self), scope, revision: model.revision.clone(), runs: Arc::clone(runs) }
    }
}

/// Hashes a text so that where it ends shows.
fn told(hash: &mut Sha256, text: &[u8]) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

/// What one job may have of the cache.
#[derive(Clone, Debug)]
pub(crate) struct JobAnswers {
    cache: Arc<AnswerCache>,
    /// Model and tenant.
    scope: Sha256,
    revision: String,
    runs: Arc<ModelRuns>,
}

impl AnswerStore for JobAnswers {
    fn revision(&self) -> &str {
        &self.revision
    }

    fn trusts(&self, chunk: &ChunkReport) -> bool {
        self.runs.answered(chunk)
    }

    fn message_name(&self, rpc: &str, message: &[u8]) -> AnswerName {
        let mut hash = self.scope.clone();
        told(&mut hash, rpc.as_bytes());
        told(&mut hash, message);
        hash.finalize().into()
    }

    fn item_name(&self, message: &AnswerName, item: &[u8]) -> AnswerName {
        let mut hash = Sha256::new();
        hash.update(message);
        hash.update(item);
        hash.finalize().into()
    }

    fn get(&self, name: &AnswerName) -> Option<Arc<[u8]>> {
        self.cache.answers.get(name)
    }

    fn put(&self, name: AnswerName, answer: &[u8]) {
        self.cache.answers.insert(name, answer.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn cache(bytes: u64) -> Arc<AnswerCache> {
        Arc::new(AnswerCache::new(bytes).unwrap())
    }

    fn model(revision: &str, digest: u8) -> ModelIdentity {
        ModelIdentity { revision: revision.to_owned(), digest: [digest; 32] }
    }

    #[test]
    fn nothing_is_kept_unless_it_is_asked_for() {
        assert!(AnswerCache::new(0).is_none());
    }

    #[test]
    fn whatever_an_answer_depends_on_changes_its_name() {
        let cache = cache(1 << 20);
        let mut names = HashSet::new();
        for (digest, tenant, rpc, message, item) in [
            (1, "", "Rerank", "q", "d"),
            (2, "", "Rerank", "q", "d"),
            (1, "a", "Rerank", "q", "d"),
            (1, "", "Embed", "q", "d"),
            (1, "", "Rerank", "p", "d"),
            (1, "", "Rerank", "q", "e"),
            // The same bytes, parted elsewhere.
            (1, "", "Reran", "kq", "d"),
            (1, "", "Rerank", "", "qd"),
        ] {
            let job = cache.of(&model("r", digest), &Arc::default(), tenant);
            let message = job.message_name(rpc, message.as_bytes());
            assert!(names.insert(job.item_name(&message, item.as_bytes())), "{digest} {tenant} {rpc} {item}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn memory_stays_below_what_was_said(
            bytes in (1u64 << 20)..(8 << 20), sizes in proptest::collection::vec(0usize..6_000, 1..50), small in any::<bool>(),
        ) {
            let cache = cache(bytes);
            let job = cache.of(&model("r", 1), &Arc::default(), "");
            let mut put = 0;
            for n in 0u64.. {
                let size = if small { n as usize % 40 } else { sizes[n as usize % sizes.len()] };
                job.put(job.item_name(&[0; 32], &n.to_le_bytes()), &vec![7; size]);
                put += size as u64 + ENTRY_BYTES;
                if put > 3 * bytes {
                    break;
                }
            }
            let used = cache.answers.memory_used();
            // An allocation has two counts, and the allocator gives in steps of 16.
            let heap: usize = cache.answers.iter().map(|(_, answer)| (answer.len() + 16).next_multiple_of(16)).sum();
            prop_assert!((used.total() + heap) as u64 <= bytes, "{used:?} and {heap} of {bytes}");
            prop_assert!(cache.size().1 > bytes / 2, "{:?} of {bytes}: it is used", cache.size());
        }
    }
}

//! Counts of each model's tokenizing, added at a scrape.

use std::{collections::HashMap, time::Duration};

use prometheus::{CounterVec, GaugeVec, IntCounterVec};
use sortie_engine::{TextCounts, TokenizerPath};

use sortie_frontend::metrics::MetricRegistrar;

use crate::models::Served;

/// See the module.
#[derive(Debug)]
pub(super) struct TokenizeMetrics {
    items: IntCounterVec,
    tokens: IntCounterVec,
    busy: CounterVec,
    texts: IntCounterVec,
    fast: GaugeVec,
    waiting: GaugeVec,
    /// What was added of each model so far, and the epoch of its scheduler.
    seen: HashMap<String, (u64, TokenizeSums)>,
}

/// What was counted since the model was loaded.
#[derive(Clone, Copy, Debug, Default)]
struct TokenizeSums {
    items: u64,
    tokens: u64,
    busy: Duration,
    texts: TextCounts,
}

impl TokenizeMetrics {
    pub(super) fn new(make: &MetricRegistrar<'_>) -> Result<Self, prometheus::Error> {
        let of_model = |name, help| make.counters(name, help, &["model"]);
        let busy = "Time of threads that tokenize; tokens over it are the rate of one thread";
        let fast = "1 where texts take the fast tokenizer, 0 where the file is the reference's alone";
        Ok(Self {
            items: of_model("sortie_tokenizer_items_total", "Items tokenized")?,
            tokens: of_model("sortie_tokenizer_tokens_total", "Tokens made of them")?,
            busy: make.real_counters("sortie_tokenizer_busy_seconds_total", busy, &["model"])?,
            texts: make.counters("sortie_tokenizer_texts_total", "Texts by the way they went", &["model", "path"])?,
            fast: make.gauges("sortie_tokenizer_fast", fast, &["model"])?,
            waiting: make.gauges("sortie_tokenizer_pieces", "Pieces of requests in the tokenizing pool", &["state"])?,
            seen: HashMap::new(),
        })
    }

    /// Adds what came since the last scrape. A model loaded anew, as by a swap, counts from zero.
    pub(super) fn copy(&mut self, served: &Served, epoch: u64) {
        let tokenizer = served.model.tokenizer();
        let (items, tokens, busy) = served.tokenizing.sums();
        let now = TokenizeSums { items, tokens, busy, texts: tokenizer.text_counts() };
        let before = self.seen.insert(served.name.clone(), (epoch, now));
        let before = before.filter(|(then, _)| *then == epoch).map_or_else(TokenizeSums::default, |(_, sums)| sums);
        let model = served.name.as_str();
        let came = |read: fn(&TokenizeSums) -> u64| read(&now).saturating_sub(read(&before));
        self.items.with_label_values(&[model]).inc_by(came(|s| s.items));
        self.tokens.with_label_values(&[model]).inc_by(came(|s| s.tokens));
        let busy = now.busy.saturating_sub(before.busy);
        self.busy.with_label_values(&[model]).inc_by(busy.as_secs_f64());
        for (path, texts) in [
            ("fast", came(|s| s.texts.fast)),
            ("reference", came(|s| s.texts.reference)),
            ("failed", came(|s| s.texts.failed)),
        ] {
            self.texts.with_label_values(&[model, path]).inc_by(texts);
        }
        let fast = tokenizer.path() == TokenizerPath::Fast;
        self.fast.with_label_values(&[model]).set(f64::from(u8::from(fast)));
        let (waiting, running) = served.tokenizers.occupancy();
        self.waiting.with_label_values(&["waiting"]).set(waiting as f64);
        self.waiting.with_label_values(&["running"]).set(running as f64);
    }

    /// A model is no longer served.
    pub(super) fn forget(&self, model: &str) {
        // An error means that it was never set.
        drop(self.fast.remove_label_values(&[model]));
    }
}

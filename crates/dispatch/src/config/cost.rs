//! What batches cost, and how many tokens a text has.

use std::time::Duration;

use sortie_work::Cost;

use super::settings::{above_one, lasting, positive};

settings! {
    /// See [the module](self).
    CostConfig in "cost" {
        /// What device work costs before anything is known: a mid-sized encoder on a data-centre GPU
        /// (1 ms a batch, 0.46 µs a token). Of the costs this project measured it has nearly the largest
        /// a/b (2,174 tokens), hence the largest chunks: a cold job is cut only where a fast fleet gains
        /// too, and a slow one then gains more.
        PRIOR prior: Cost = Cost { a_us: 1_000.0, b_us: 0.46 }, Cost::is_usable, "must be finite, with b above zero";

        /// What tokenizing costs before anything is known: about two million tokens a second, and next to
        /// nothing a request.
        TOKENIZER_PRIOR tokenizer_prior: Cost = Cost { a_us: 100.0, b_us: 0.5 }, Cost::is_usable, "must be finite, with b above zero";

        /// Most that one batch may change what a server is believed to cost: a stall of one batch must not
        /// brand a server.
        MAX_STEP max_step: f64 = 1.5, above_one, "must be above 1";

        /// How fast what was seen of one server fades to what is known otherwise while nothing is seen.
        DECAY decay: Duration = Duration::from_secs(5), lasting, "must be above zero";

        /// Batches until a cost fitted from scratch counts as known. Until then samples are taken as they
        /// are: a clip guards what is known, and nothing is.
        COLD_SAMPLES cold_samples: u64 = 8, |_| true, "";

        /// Tokens in a byte of text before anything is known: English in a BERT vocabulary.
        TOKENS_PER_BYTE tokens_per_byte: f64 = sortie_work::TOKENS_PER_BYTE, positive, "must be above zero";

        /// Special tokens of a sequence: at most four in the pair templates of known encoders.
        SPECIAL_TOKENS special_tokens: u64 = sortie_work::SPECIAL_TOKENS, |_| true, "";
    }
}

//! Every default of the server's own settings, with its reason. [`super::ServerConfig`] is built from these and from
//! [`sortie_frontend::config::defaults`].

use sortie_frontend::config::ConfigDuration;

/// Who reaches the admin port may look; who may change what is served is decided on purpose.
pub const ADMIN_MODELS: bool = false;

/// Every machine has one. A GPU is asked for by name, since a server must not be slow by surprise.
pub const DEVICE: &str = "cpu";

/// On GPUs f16: half the memory and several times the speed of f32, within five thousandths of it. On processors f32: others are
/// faster, and are asked for by name.
pub const PRECISION: &str = "default";

/// 0 sets no limit: the arena grows to the largest batch seen and stays there.
pub const GPU_MEMORY_MIB: u64 = 0;

/// As the engine has it.
pub const CUDA_GRAPHS: bool = sortie_engine::DEFAULT_GRAPHS;

/// As the engine has it: the faster of two that hold the same bounds.
pub const GELU: &str = "fused";

/// 0 lets ONNX Runtime take one thread a core.
pub const THREADS: usize = 0;

/// 0 takes one tokenizing thread a core: tokenizing runs ahead of the device and the two share the machine.
pub const TOKENIZE_THREADS: usize = 0;

/// Tokens in one batch; 0 is what suits the device and the model: [`CPU_BATCH_TOKENS`], [`GPU_BATCH_TOKENS`] or
/// [`SMALL_MODEL_BATCH_TOKENS`].
pub const MAX_BATCH_TOKENS: u32 = 0;

/// On a CPU batches of about a thousand tokens did better than larger ones
/// (`cargo xtask bench cpu`), as good as smaller ones, and make a new caller wait less.
pub const CPU_BATCH_TOKENS: u32 = 1_024;

/// On a GPU a token costs less the more there are; past this the gain is small and a new
/// caller waits longer for the batch that runs (a few milliseconds for a small model).
pub const GPU_BATCH_TOKENS: u32 = 16_384;

/// On a GPU, of a model with at most [`SMALL_MODEL_PARAMETERS`]: such a batch still takes only 3 ms of MiniLM-L6 on an
/// H100, and what a batch costs by itself is a large part of a small model's time. Measured there: 9.9 million tokens a
/// second instead of 8.5, and 0.5 ms less for 200 pairs on an idle server (docs/benchmarks.md).
pub const SMALL_MODEL_BATCH_TOKENS: u32 = 32_768;

/// Weights in the layers of a small model: MiniLM-L12's 21 million are, BERT-base's 85 million, whose batch of 16,384
/// tokens takes 7 ms, are not.
pub const SMALL_MODEL_PARAMETERS: u64 = 25_000_000;

/// Tokens that may wait: about two minutes of a small CPU's work, or forty jobs of 200 pairs. A
/// caller with a deadline is refused long before.
pub const MAX_QUEUE_TOKENS: u64 = 1 << 20;

/// Longest estimated wait: it outlasts any burst that people wait for. Bulk work comes back, and whoever set no
/// deadline hears in time that the server is busy.
pub const MAX_QUEUE_WAIT: ConfigDuration = ConfigDuration::secs(10);

/// Items in one request: far above any rerank list, low enough that per-item bookkeeping stays in
/// the megabytes.
pub const MAX_ITEMS: u32 = 10_000;

/// Token vectors that all requests bring along, as f32: four of the largest messages, whose eight-bit numbers grow to four
/// times their bytes.
pub const MAX_VECTOR_BYTES: u64 = 1 << 30;

/// Bytes that a byte of a message may become: a number of token vectors, once it is read as f32.
pub const VECTOR_GROWTH: u64 = 4;

/// Bytes of one text: about 250,000 tokens, more than any encoder reads.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A few batches before the first caller's, so that the first estimates of waiting are measured.
pub const WARM_UP: bool = true;

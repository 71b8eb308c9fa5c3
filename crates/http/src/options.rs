//! What whoever mounts the routes may set.

use std::{collections::BTreeMap, fmt, sync::Arc};

use axum::response::Response;
use http::request::Parts;

/// Bytes of one body: that of the largest message a server takes unless it is told otherwise. JSON is seldom shorter than
/// the message it becomes.
pub(crate) const MAX_BODY_BYTES: usize = 64 << 20;

/// Texts that are too long are cut unless a request says otherwise, as TEI does since its 1.8 and everybody who indexes
/// documents expects. The answer says which were.
pub(crate) const CUT_BY_DEFAULT: bool = true;

/// Requests worked on at once that `/info` tells; the server's own default.
pub(crate) const MAX_CONCURRENT_REQUESTS: u32 = 1_024;

/// The answer to browsers at `/`, made from the request's head.
pub type Page = Arc<dyn Fn(&Parts) -> Response + Send + Sync>;

/// Whether work is taken now: `/health` says so without a key.
pub type IsReady = Arc<dyn Fn() -> bool + Send + Sync>;

/// Options of [`routes`](crate::routes).
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Other names of served models: what clients ask for, and the name that is served. `text-embedding-3-small` may stand
    /// for any embedding model.
    pub aliases: BTreeMap<String, String>,
    /// The model of requests that name none where several would do. `None` refuses them.
    pub default_model: Option<String>,
    /// Most bytes of a body.
    pub max_body_bytes: usize,
    /// Whether texts that are too long are cut where a request does not say.
    pub cut_by_default: bool,
    /// Whether `/v1/embeddings` takes token ids. Off: most callers that send ids made them with another model's
    /// vocabulary, which gives wrong vectors without a word.
    pub allow_token_ids: bool,
    /// Whether documents come back with their scores where a request does not say: `None` takes the habit of the route
    /// (Jina's and vLLM's give them, Cohere's second version does not).
    pub return_documents: Option<bool>,
    /// What `/info` says of requests worked on at once.
    pub max_concurrent_requests: u32,
    /// What `/info` says of threads that tokenize.
    pub tokenization_workers: u32,
    /// Whether work is taken now.
    pub ready: IsReady,
    /// The page that browsers get at `/`; `None` answers them as everybody.
    pub page: Option<Page>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            aliases: BTreeMap::new(),
            default_model: None,
            max_body_bytes: MAX_BODY_BYTES,
            cut_by_default: CUT_BY_DEFAULT,
            allow_token_ids: false,
            return_documents: None,
            max_concurrent_requests: MAX_CONCURRENT_REQUESTS,
            tokenization_workers: u32::try_from(threads).unwrap_or(u32::MAX),
            ready: Arc::new(|| true),
            page: None,
        }
    }
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("aliases", &self.aliases)
            .field("default_model", &self.default_model)
            .field("max_body_bytes", &self.max_body_bytes)
            .field("cut_by_default", &self.cut_by_default)
            .field("allow_token_ids", &self.allow_token_ids)
            .field("return_documents", &self.return_documents)
            .finish_non_exhaustive()
    }
}

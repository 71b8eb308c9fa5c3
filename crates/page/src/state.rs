//! What the page's script is told: everything that moves, as JSON.

use serde::Serialize;
use sortie_proto::v1::{LoadReport, ModelInfo, ModelState, Task};

use crate::{
    recent::{KindTimes, ShownJob},
    source::PageFleet,
};

/// The process as it stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageState {
    pub(crate) program: &'static str,
    pub(crate) version: &'static str,
    /// Whether work is taken.
    pub(crate) ready: bool,
    /// `ready`, or why not.
    pub(crate) status: &'static str,
    pub(crate) uptime_s: u64,
    pub(crate) models: Vec<PageModel>,
    /// Of a gateway.
    pub(crate) fleet: Option<PageFleet>,
    /// Jobs since the start.
    pub(crate) jobs_total: u64,
    pub(crate) times: Vec<KindTimes>,
    /// The last jobs, the newest first.
    pub(crate) jobs: Vec<ShownJob>,
}

/// One served model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PageModel {
    pub(crate) name: String,
    pub(crate) revision: String,
    /// What it was made for, for people.
    pub(crate) task: &'static str,
    pub(crate) rpcs: Vec<String>,
    pub(crate) max_length: u32,
    pub(crate) dimensions: u32,
    pub(crate) labels: usize,
    /// Its labels come with a request.
    pub(crate) labels_in_request: bool,
    pub(crate) engine: String,
    pub(crate) device: String,
    pub(crate) precision: String,
    pub(crate) experimental: bool,
    pub(crate) load: PageLoad,
}

/// How busy a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PageLoad {
    state: &'static str,
    queue_wait_ms: f32,
    busy: f32,
    queued_tokens: u64,
    running_tokens: u64,
    a_ms: f32,
    b_us: f32,
    rate_tokens_per_second: f32,
    served_tokens_per_second: f32,
    max_batch_tokens: u32,
}

impl PageModel {
    pub(crate) fn new(info: ModelInfo, report: &LoadReport) -> Self {
        Self {
            task: made_for(info.task()),
            name: info.name,
            revision: info.revision,
            rpcs: info.rpcs,
            max_length: info.max_length,
            dimensions: info.dimensions,
            labels: info.labels.len(),
            labels_in_request: info.labels_in_request,
            engine: info.engine,
            device: info.device,
            precision: info.precision,
            experimental: info.experimental,
            load: PageLoad::from(report),
        }
    }

    /// Whether it takes work, as the page says it.
    pub(crate) fn state(&self) -> &'static str {
        self.load.state
    }

    /// What its answers are made of, in a few words.
    pub(crate) fn facts(&self) -> String {
        let mut facts = vec![format!("up to {} tokens", self.max_length)];
        if self.dimensions > 0 {
            facts.push(format!("{} dimensions", self.dimensions));
        }
        if self.labels > 1 {
            facts.push(format!("{} labels", self.labels));
        }
        if self.labels_in_request {
            facts.push("labels of the request".to_owned());
        }
        if self.experimental {
            facts.push("experimental".to_owned());
        }
        facts.join(", ")
    }

    /// What it runs on.
    pub(crate) fn runs_on(&self) -> String {
        let words = [&self.device, &self.precision, &self.engine];
        words.map(String::as_str).into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" · ")
    }
}

impl From<&LoadReport> for PageLoad {
    fn from(report: &LoadReport) -> Self {
        Self {
            state: match report.state() {
                ModelState::Ready => "ready",
                ModelState::Loading => "loading",
                ModelState::Draining => "draining",
                ModelState::Failed | ModelState::Unspecified => "failed",
            },
            queue_wait_ms: report.queue_wait_ms,
            busy: report.busy,
            queued_tokens: report.queued_tokens,
            running_tokens: report.running_tokens,
            a_ms: report.a_ms,
            b_us: report.b_us,
            rate_tokens_per_second: report.rate_tokens_per_second,
            served_tokens_per_second: report.served_tokens_per_second,
            max_batch_tokens: report.limits.map_or(0, |limits| limits.max_batch_tokens),
        }
    }
}

/// What a task means to a person.
fn made_for(task: Task) -> &'static str {
    match task {
        Task::Rerank => "reranker",
        Task::Classify => "classifier",
        Task::Tag => "tagger",
        Task::Embed => "embeddings",
        Task::EmbedSparse => "sparse embeddings",
        Task::LateInteraction => "late interaction",
        Task::Unspecified => "another kind",
    }
}

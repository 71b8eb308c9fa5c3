//! One page: what it is of, and how it is written.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use tokio::time::Instant;

use crate::{
    headers::{guarded, plain},
    recent::RecentJobs,
    source::PageSource,
    state::{PageModel, PageState},
};

/// Whether work is taken, or a word for why not.
pub type PageReadiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// The page of a process. Clones show the same.
#[derive(Clone)]
pub struct LivePage {
    program: &'static str,
    started: Instant,
    ready: PageReadiness,
    jobs: Arc<RecentJobs>,
    source: Arc<OnceLock<Arc<dyn PageSource>>>,
    dialects: bool,
}

impl fmt::Debug for LivePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePage")
            .field("program", &self.program)
            .field("dialects", &self.dialects)
            .finish_non_exhaustive()
    }
}

/// The page as it is without its script.
#[derive(Template)]
#[template(path = "page.html")]
struct PageHtml {
    program: &'static str,
    version: &'static str,
    ready: bool,
    status: &'static str,
    dialects: bool,
    models: Vec<PageModel>,
    servers: Option<usize>,
}

impl LivePage {
    /// The page of `program`, which starts now and has nothing to show yet.
    #[must_use]
    pub fn new(program: &'static str, ready: PageReadiness) -> Self {
        let (jobs, source) = (Arc::default(), Arc::default());
        Self { program, started: Instant::now(), ready, jobs, source, dialects: false }
    }

    /// Where its jobs are told.
    #[must_use]
    pub fn jobs(&self) -> Arc<RecentJobs> {
        Arc::clone(&self.jobs)
    }

    /// It shows `source` from now on; the first that is given stays.
    pub fn show(&self, source: Arc<dyn PageSource>) {
        drop(self.source.set(source));
    }

    /// The same page on a port that serves the HTTP dialects: models can be tried on it.
    #[must_use]
    pub fn with_dialects(&self) -> Self {
        Self { dialects: true, ..self.clone() }
    }

    /// The process as it stands.
    #[must_use]
    pub fn state(&self) -> PageState {
        let source = self.source.get();
        let models = source.map(|source| source.models()).unwrap_or_default();
        let status = (self.ready)();
        PageState {
            program: self.program,
            version: env!("CARGO_PKG_VERSION"),
            ready: status.is_ok(),
            status: status.err().unwrap_or("ready"),
            uptime_s: self.started.elapsed().as_secs(),
            models: models.into_iter().map(|(info, report)| PageModel::new(info, &report)).collect(),
            fleet: source.and_then(|source| source.fleet()),
            jobs_total: self.jobs.count(),
            times: self.jobs.times(),
            jobs: self.jobs.jobs(),
        }
    }

    /// The page itself, readable without its script.
    #[must_use]
    pub fn html(&self) -> Response {
        let PageState { program, version, ready, status, models, fleet, .. } = self.state();
        let servers = fleet.map(|fleet| fleet.servers.len());
        let page = PageHtml { program, version, ready, status, dialects: self.dialects, models, servers };
        match page.render() {
            Ok(text) => {
                let kind = HeaderValue::from_static("text/html; charset=utf-8");
                guarded(([(CONTENT_TYPE, kind)], text).into_response())
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("the page cannot be written: {error}\n")),
        }
    }
}

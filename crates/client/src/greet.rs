//! Getting to know the servers: before the first job of a model every server is
//! asked what the model takes (GetModel) and what its work costs (Probe), so that
//! already that job is cut by real costs and limits.
//!
//! The first job waits [`crate::DEFAULT_GREETING`] for it and goes on with what
//! came. Later ones learn from the trailers of answers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sortie_dispatch::{EndpointId, Work};
use sortie_proto::v1;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    ask,
    call::CallOptions,
    client::Client,
    error::{Error, ErrorKind},
    metadata,
};

/// Models whose servers were asked. A model is known once a server described it.
#[derive(Debug, Default)]
pub(crate) struct Acquainted {
    models: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

/// How long servers may take to introduce themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) greeting: Duration,
}

impl Patience {
    fn connecting(self) -> Duration {
        self.connect + self.greeting
    }
}

impl Client {
    /// Asks every server about its model, and fails where none says anything useful.
    pub(crate) async fn greet(&self) -> Result<(), Error> {
        let model = self.model_of(&CallOptions::default()).to_owned();
        self.introduce(&model, self.patience().connecting()).await.or_else(|error| {
            // Servers of several models want a name, which each call may give.
            let nameless = model.is_empty() && matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound);
            if nameless { Ok(()) } else { Err(error) }
        })
    }

    /// Makes sure that the servers of a model were asked about it. No answer is no failure: the job
    /// itself finds out more.
    pub(crate) async fn acquaint(&self, model: &str, deadline: Instant) {
        let known = self.acquainted().models.lock().get(model).cloned();
        let cell = match known {
            Some(cell) if cell.initialized() => return,
            Some(cell) => cell,
            None => self.acquainted().models.lock().entry(model.to_owned()).or_default().clone(),
        };
        let within = self.patience().greeting.min(deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = cell.get_or_try_init(|| self.introduce(model, within)).await {
            tracing::debug!(model, %error, "no server described the model");
            // Names that nobody serves are not remembered.
            self.acquainted().models.lock().remove(model);
        }
    }

    async fn introduce(&self, model: &str, within: Duration) -> Result<(), Error> {
        let options = CallOptions { deadline: Some(within), ..CallOptions::default() };
        let described = ask::every(self, &options, |mut stub, wrap| {
            let request = wrap.request(v1::GetModelRequest { model: model.to_owned() });
            async move { stub.get_model(request).await }
        });
        let probed = ask::every(self, &options, |mut stub, wrap| {
            let request = wrap.request(v1::ProbeRequest { model: model.to_owned(), tokens: 0 });
            async move { stub.probe(request).await }
        });
        let (described, probed) = futures::try_join!(described, probed)?;

        let now = self.now();
        let mut fleet = self.fleet().lock();
        let ids = [fleet.model(model, Work::Device), fleet.model(model, Work::Tokenizer)];
        let mut refusal = None;
        let mut known = false;
        for (index, answer) in (0..).zip(described) {
            match answer.result {
                Ok(response) => {
                    let info = response.model.unwrap_or_default();
                    let limits = info.limits.as_ref().map(metadata::from_limits).unwrap_or_default();
                    for id in ids {
                        fleet.set_limits(EndpointId(index), id, limits, info.max_length.into());
                    }
                    known = true;
                }
                Err(error) => refusal = Some(error),
            }
        }
        for (index, answer) in (0..).zip(probed) {
            if let Ok(v1::ProbeResponse { report: Some(report), .. }) = answer.result {
                for id in ids {
                    fleet.report(EndpointId(index), id, metadata::from_load_report(&report), now);
                }
            }
        }
        match refusal {
            Some(error) if !known => Err(error),
            _ => Ok(()),
        }
    }
}

//! First contact with the servers of a model. Before the first job of a model, every server is
//! asked for the limits of the model (GetModel) and for its load and costs (Probe), so that the
//! first job is already cut by real costs and limits.
//!
//! The first job waits at most [`crate::DEFAULT_GREETING`] for the answers and goes on with those that
//! came. Later jobs learn from the trailers of answers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use sortie_proto::v1;
use tokio::{sync::OnceCell, time::Instant};
use tonic::Response;

use crate::{
    ask,
    call::CallOptions,
    client::Client,
    contact,
    error::{Error, ErrorKind},
};

/// Models whose servers were asked. A model is known once a server described it.
#[derive(Debug, Default)]
pub(crate) struct Acquainted {
    models: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl Acquainted {
    /// Names of the models that were asked about.
    pub(crate) fn models(&self) -> Vec<String> {
        self.models.lock().keys().cloned().collect()
    }
}

/// How long first contact with a server may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    pub(crate) greeting: Duration,
}

impl Patience {
    /// Longest that first contact may take: to connect, to check the connection, and one call.
    pub(crate) fn connecting(self) -> Duration {
        self.connect + self.connect + self.greeting
    }
}

impl Client {
    /// Asks every server about its model, and fails where none says anything useful.
    pub(crate) async fn greet(&self) -> Result<(), Error> {
        let model = self.model_of(&CallOptions::default()).to_owned();
        match self.introduce(&model, self.patience().connecting()).await {
            Ok(()) => {
                // The first job need not ask again.
                let known = Arc::new(OnceCell::new_with(Some(())));
                self.acquainted().models.lock().insert(model, known);
                Ok(())
            }
            // Servers of several models want a name, which each call may give.
            Err(error)
                if model.is_empty() && matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::NotFound) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the servers of a model were asked about it. No answer is no failure: the job
    /// itself finds out more. Fails only where no server is known at all.
    pub(crate) async fn acquaint(&self, model: &str, deadline: Instant) -> Result<(), Error> {
        self.populated(deadline).await?;
        let known = self.acquainted().models.lock().get(model).cloned();
        let cell = match known {
            Some(cell) if cell.initialized() => return Ok(()),
            Some(cell) => cell,
            None => self.acquainted().models.lock().entry(model.to_owned()).or_default().clone(),
        };
        let within = self.patience().greeting.min(deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = cell.get_or_try_init(|| self.introduce(model, within)).await {
            tracing::debug!(model, %error, "no server described the model");
            // Names that nobody serves are not remembered.
            self.acquainted().models.lock().remove(model);
        }
        Ok(())
    }

    async fn introduce(&self, model: &str, within: Duration) -> Result<(), Error> {
        let options = CallOptions { deadline: Some(within), ..CallOptions::default() };
        let answers = ask::every(self, &options, |mut stub, wrap| {
            let describe = wrap.request(v1::GetModelRequest { model: model.to_owned() });
            let probe = wrap.request(v1::ProbeRequest { model: model.to_owned(), tokens: 0 });
            // One after the other: a server may take few calls at once.
            async move {
                let described = stub.get_model(describe).await?.into_inner().model;
                let report = stub.probe(probe).await.ok().and_then(|answer| answer.into_inner().report);
                Ok(Response::new((described, report)))
            }
        });
        let mut refusal = None;
        let mut known = false;
        for (id, answer) in answers.await? {
            match answer.result {
                Ok((described, report)) => {
                    known = true;
                    contact::learn(self, id, model, described.as_ref(), report);
                }
                Err(error) => refusal = Some(error),
            }
        }
        match refusal {
            Some(error) if !known => Err(error),
            _ => Ok(()),
        }
    }
}

//! Which model a request goes to, and what is known of it.
//!
//! Facts are kept for a moment, so that not every request asks for them. Nothing is refused by what was kept: before a
//! refusal the list is asked for anew, with the caller's key, so that whoever has none does not read models' names.

mod instruction;
mod pick;

pub(crate) use instruction::takes_instruction;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use sortie_proto::v1::{ModelInfo, Task};
use tokio::time::Instant;

use crate::{door::Door, failure::HttpFailure, request::Caller};

/// How long facts are kept. Asking again costs a server some microseconds and a gateway one round trip; a model that is
/// loaded while a server runs should be found by those who do not name it within seconds.
const KEPT: Duration = Duration::from_secs(5);

/// What a route needs of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// The RPC that it must answer; empty where any will do.
    pub(crate) rpc: &'static str,
    /// What it should be made for: among several that answer the RPC, the only one made for it is taken.
    pub(crate) task: Task,
}

impl Need {
    pub(crate) const RERANK: Self = Self { rpc: "Rerank", task: Task::Rerank };
    pub(crate) const EMBED: Self = Self { rpc: "Embed", task: Task::Embed };
    pub(crate) const EMBED_TOKENS: Self = Self { rpc: "EmbedTokens", task: Task::LateInteraction };
    pub(crate) const EMBED_SPARSE: Self = Self { rpc: "EmbedSparse", task: Task::EmbedSparse };
    pub(crate) const CLASSIFY: Self = Self { rpc: "Classify", task: Task::Classify };
    /// Pairs are read by Classify, and scored by rerankers.
    pub(crate) const SCORE_PAIRS: Self = Self { rpc: "Classify", task: Task::Rerank };
    pub(crate) const SIMILARITY: Self = Self { rpc: "Similarity", task: Task::Embed };
    pub(crate) const TAG: Self = Self { rpc: "TagTokens", task: Task::Tag };
    pub(crate) const TOKENIZE: Self = Self { rpc: "Tokenize", task: Task::Unspecified };
    pub(crate) const DETOKENIZE: Self = Self { rpc: "Detokenize", task: Task::Unspecified };
    pub(crate) const ANY: Self = Self { rpc: "", task: Task::Unspecified };
}

/// The models, as they were last told.
#[derive(Debug, Default)]
pub(crate) struct Models(ArcSwapOption<KnownModels>);

#[derive(Debug)]
struct KnownModels {
    at: Instant,
    models: Vec<Arc<ModelInfo>>,
}

impl Door {
    /// The model for a request that names `asked`.
    pub(crate) async fn model(
        &self,
        caller: &Caller,
        asked: Option<&str>,
        need: Need,
    ) -> Result<Arc<ModelInfo>, HttpFailure> {
        let kept = self.models().0.load_full().filter(|listed| listed.at.elapsed() < KEPT);
        if let Some(listed) = kept
            && let Ok(model) = pick::pick(&listed.models, self.options(), asked, need)
        {
            return Ok(model);
        }
        let models = self.fresh_models(caller).await?;
        pick::pick(&models, self.options(), asked, need)
    }

    /// Every model, asked for now.
    pub(crate) async fn fresh_models(&self, caller: &Caller) -> Result<Vec<Arc<ModelInfo>>, HttpFailure> {
        let models: Vec<_> = self.list_models(caller).await?.into_iter().map(Arc::new).collect();
        self.models().0.store(Some(Arc::new(KnownModels { at: Instant::now(), models: models.clone() })));
        Ok(models)
    }
}

//! Label scores, best first: sigmoid for one label, softmax for several, whatever the folder says, as TEI has it.

use sortie_frontend::ServeError;
use sortie_proto::{
    ranking,
    tei::{PredictPairRequest, PredictRequest, PredictResponse, Prediction, predict_server::Predict},
    v1::{self, Input, Truncation, input::Kind},
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    call::{TeiCalls, answered, options, passed_on, text, whole},
    stream::{TeiStream, each},
};

/// What to score, and how it is made to fit.
struct ScoredLabels {
    input: Input,
    chars: usize,
    options: v1::TextOptions,
    raw: bool,
}

impl TeiCalls {
    async fn score(&self, metadata: &MetadataMap, scored: ScoredLabels) -> Result<Response<PredictResponse>, Status> {
        let ScoredLabels { input, chars, options, raw } = scored;
        let model = self.model(metadata, "Classify")?;
        let activation = match (raw, model.info.labels.len()) {
            (true, _) => v1::Activation::Raw,
            (false, 0 | 1) => v1::Activation::Sigmoid,
            (false, _) => v1::Activation::Softmax,
        };
        let message = v1::ClassifyRequest {
            model: model.info.name.clone(),
            inputs: vec![input],
            options: Some(options),
            activation: activation.into(),
        };
        let answer = self.stub().classify(passed_on(message, metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        let best = ranking::best(&answer.scores, answer.scores.len());
        let of = |index: u32| {
            let at = usize::try_from(index).unwrap_or(usize::MAX);
            Some(Prediction { score: *answer.scores.get(at)?, label: answer.labels.get(at)?.clone() })
        };
        let predictions = best.into_iter().filter_map(of).collect();
        let make = |metadata| PredictResponse { predictions, metadata };
        Ok(answered(chars, answer.items.as_ref(), answer.chunk.as_ref(), make))
    }
}

#[tonic::async_trait]
impl Predict for TeiCalls {
    async fn predict(&self, request: Request<PredictRequest>) -> Result<Response<PredictResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let PredictRequest { inputs, truncate, raw_scores, truncation_direction } = message;
        let scored = ScoredLabels {
            chars: inputs.chars().count(),
            input: text(inputs),
            options: options(truncate, Truncation::DocumentOnly, truncation_direction, None)?,
            raw: raw_scores,
        };
        self.score(&metadata, scored).await
    }

    async fn predict_pair(&self, request: Request<PredictPairRequest>) -> Result<Response<PredictResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let PredictPairRequest { inputs, truncate, raw_scores, truncation_direction } = message;
        let [first, second] = <[String; 2]>::try_from(inputs)
            .map_err(|inputs| ServeError::bad_field("inputs", format!("has {} texts; a pair has two", inputs.len())))?;
        let scored = ScoredLabels {
            chars: first.chars().count() + second.chars().count(),
            input: Input { kind: Some(Kind::Pair(v1::TextPair { first, second })) },
            options: options(truncate, Truncation::LongestFirst, truncation_direction, None)?,
            raw: raw_scores,
        };
        self.score(&metadata, scored).await
    }

    type PredictStreamStream = TeiStream<PredictResponse>;

    async fn predict_stream(
        &self,
        request: Request<Streaming<PredictRequest>>,
    ) -> Result<Response<Self::PredictStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.predict(request).await }
        }))
    }

    type PredictPairStreamStream = TeiStream<PredictResponse>;

    async fn predict_pair_stream(
        &self,
        request: Request<Streaming<PredictPairRequest>>,
    ) -> Result<Response<Self::PredictPairStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.predict_pair(request).await }
        }))
    }
}

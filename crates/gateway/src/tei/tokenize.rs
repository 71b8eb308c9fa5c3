//! The model's tokenizer, both ways.

use sortie_frontend::ServeError;
use sortie_proto::{
    tei::{DecodeRequest, DecodeResponse, EncodeRequest, EncodeResponse, SimpleToken, tokenize_server::Tokenize},
    v1::{self, Input, input::Kind},
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    call::{TeiCalls, passed_on, text, whole},
    stream::{TeiStream, each},
};
use crate::catalog::FleetModel;

/// The text with a prompt that the model names before it: places are counted from the prompt on.
fn prompted(model: &FleetModel, inputs: String, name: Option<String>) -> Result<String, ServeError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(inputs) };
    let prompts = &model.info.prompts;
    match prompts.iter().find(|prompt| prompt.name == name) {
        Some(prompt) => Ok(format!("{}{inputs}", prompt.text)),
        None => {
            let known = prompts.iter().map(|prompt| prompt.name.clone()).collect();
            Err(ServeError::UnknownPrompt { model: model.info.name.clone(), name, known })
        }
    }
}

/// Tokens as TEI shows them.
fn simple(tokens: &v1::TokenizedInput, source: &str) -> Vec<SimpleToken> {
    let of = |(at, &id): (usize, &u32)| {
        let special = tokens.special.get(at).copied().unwrap_or_default();
        let entry = || tokens.tokens.get(at).cloned().unwrap_or_default();
        let place = tokens.starts.get(at).copied().zip(tokens.ends.get(at).copied()).filter(|_| !special);
        let slice = place.and_then(|(start, stop)| source.get(start as usize..stop as usize)).map(str::to_owned);
        let (start, stop) = place.unzip();
        SimpleToken { id, text: slice.unwrap_or_else(entry), special, start, stop }
    };
    tokens.ids.iter().enumerate().map(of).collect()
}

#[tonic::async_trait]
impl Tokenize for TeiCalls {
    async fn tokenize(&self, request: Request<EncodeRequest>) -> Result<Response<EncodeResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let EncodeRequest { inputs, add_special_tokens, prompt_name } = message;
        let model = self.model(&metadata, "Tokenize")?;
        let source = prompted(&model, inputs, prompt_name)?;
        let message = v1::TokenizeRequest {
            model: model.info.name.clone(),
            inputs: vec![text(source.as_str())],
            options: None,
            without_special_tokens: !add_special_tokens,
        };
        let answer = self.stub().tokenize(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        let tokens = answer.inputs.first().map(|tokens| simple(tokens, &source)).unwrap_or_default();
        Ok(Response::new(EncodeResponse { tokens }))
    }

    type TokenizeStreamStream = TeiStream<EncodeResponse>;

    async fn tokenize_stream(
        &self,
        request: Request<Streaming<EncodeRequest>>,
    ) -> Result<Response<Self::TokenizeStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.tokenize(request).await }
        }))
    }

    async fn decode(&self, request: Request<DecodeRequest>) -> Result<Response<DecodeResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let DecodeRequest { ids, skip_special_tokens } = message;
        let tokens = v1::TokenIds { ids, type_ids: Vec::new() };
        let message = v1::DetokenizeRequest {
            model: self.model(&metadata, "Detokenize")?.info.name.clone(),
            inputs: vec![Input { kind: Some(Kind::Tokens(tokens)) }],
            skip_special_tokens,
        };
        let mut answer = self.stub().detokenize(passed_on(message, &metadata)).await?.into_inner();
        whole(answer.items.as_ref(), None)?;
        Ok(Response::new(DecodeResponse { text: answer.texts.pop().unwrap_or_default() }))
    }

    type DecodeStreamStream = TeiStream<DecodeResponse>;

    async fn decode_stream(
        &self,
        request: Request<Streaming<DecodeRequest>>,
    ) -> Result<Response<Self::DecodeStreamStream>, Status> {
        let calls = self.clone();
        Ok(each(request, move |request| {
            let calls = calls.clone();
            async move { calls.decode(request).await }
        }))
    }
}

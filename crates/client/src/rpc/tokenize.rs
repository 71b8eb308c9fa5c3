//! Tokenize: how a model's tokenizer reads inputs.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::chunked;
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, Resource, expect_len},
    report::Report,
    transport::Stub,
};

/// Bytes assumed of a token in an answer: id, segment, entry, bounds, flag.
const ASSUMED_TOKEN_BYTES: u64 = 32;

/// Shows how a tokenizer reads inputs; made by [`Client::tokenize`].
#[derive(Clone, Debug)]
pub struct Tokenize {
    inputs: Vec<v1::Input>,
    special_tokens: bool,
}

/// One token of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Vocabulary id.
    pub id: u32,
    /// Segment.
    pub type_id: u32,
    /// Vocabulary entry.
    pub text: String,
    /// Its bytes in its text; empty for a special token.
    pub range: std::ops::Range<usize>,
    /// Whether it is a special one.
    pub special: bool,
}

/// Tokenized inputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tokenized {
    /// One an input, in request order; `None` where it failed, with its reason in [`Report::errors`].
    pub inputs: Vec<Option<Vec<Token>>>,
    /// What happened. Servers do not say where the time went here.
    pub report: Report,
}

impl Client {
    /// Shows how the model's tokenizer reads inputs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.tokenize(["unaffable"]).special_tokens(false).await?;
    /// println!("{:?}", answer.inputs);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tokenize<I>(&self, inputs: I) -> Call<Tokenize>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        Call::new(self, Tokenize { inputs: to_wire(inputs), special_tokens: true })
    }
}

impl Call<Tokenize> {
    /// Sets whether the answer has special tokens. It has them by default.
    pub fn special_tokens(mut self, keep: bool) -> Self {
        self.rpc.special_tokens = keep;
        self
    }
}

fn tokens(wire: v1::TokenizedInput) -> Result<Vec<Token>, Malformed> {
    let v1::TokenizedInput { ids, type_ids, tokens, starts, ends, special } = wire;
    for (what, len) in [
        ("segments", type_ids.len()),
        ("tokens", tokens.len()),
        ("starts", starts.len()),
        ("ends", ends.len()),
        ("special flags", special.len()),
    ] {
        expect_len(what, len, ids.len())?;
    }
    let lists = ids.into_iter().zip(type_ids).zip(tokens).zip(starts).zip(ends).zip(special);
    Ok(lists
        .map(|(((((id, type_id), text), start), end), special)| Token {
            id,
            type_id,
            text,
            range: start as usize..end as usize,
            special,
        })
        .collect())
}

/// Bytes of so many tokens with their places.
pub(crate) fn answer_bytes(tokens: u64) -> u64 {
    ASSUMED_TOKEN_BYTES * tokens
}

impl ChunkedRpc for Tokenize {
    type Request = v1::TokenizeRequest;
    type Response = v1::TokenizeResponse;
    type Head = ();
    type Value = Vec<Token>;
    type Output = Tokenized;

    const NAME: &'static str = "Tokenize";
    const ITEMS: &'static str = "inputs";
    const RESOURCE: Resource = Resource::Tokenizer;

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        answer_bytes(tokens)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::TokenizeRequest {
        v1::TokenizeRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            without_special_tokens: !self.special_tokens,
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::TokenizeRequest>,
    ) -> Result<Response<v1::TokenizeResponse>, Status> {
        stub.tokenize(request).await
    }

    fn open(response: v1::TokenizeResponse, count: usize) -> Result<ChunkAnswer<(), Vec<Token>>, Malformed> {
        expect_len("inputs", response.inputs.len(), count)?;
        let values = response.inputs.into_iter().map(|wire| tokens(wire).map(Some)).collect::<Result<_, _>>()?;
        Ok(ChunkAnswer { head: (), values, items: response.items.unwrap_or_default(), chunk: v1::ChunkInfo::default() })
    }

    fn finish(&self, merged: MergedAnswer<(), Vec<Token>>) -> Tokenized {
        Tokenized { inputs: merged.values, report: merged.report }
    }
}

chunked!(Tokenize);

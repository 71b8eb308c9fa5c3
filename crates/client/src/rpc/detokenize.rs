//! Detokenize: token ids back to text.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::chunked;
use crate::{
    call::Call,
    client::Client,
    input::{Input, TokenIds, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, Resource, expect_len},
    report::Report,
    transport::Stub,
};

/// Bytes assumed of a token's text in an answer.
const ASSUMED_TEXT_BYTES: u64 = 8;

/// Turns token ids back into text; made by [`Client::detokenize`].
#[derive(Clone, Debug)]
pub struct Detokenize {
    inputs: Vec<v1::Input>,
    skip_special_tokens: bool,
}

/// Texts of token ids.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detokenized {
    /// One a sequence, in request order; `None` where it failed, with its reason in [`Report::errors`].
    pub texts: Vec<Option<String>>,
    /// What happened. Servers do not say where the time went here.
    pub report: Report,
}

impl Client {
    /// Turns token ids back into text, special tokens included, as the model's tokenizer joins them.
    ///
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = sortie_client::Client::builder().endpoint("http://127.0.0.1:50051").connect().await?;
    /// use sortie_client::TokenIds;
    ///
    /// let answer = client.detokenize([TokenIds::new([101, 7592, 102])]).skip_special_tokens(true).await?;
    /// println!("{:?}", answer.texts);
    /// # Ok(())
    /// # }
    /// ```
    pub fn detokenize<I>(&self, sequences: I) -> Call<Detokenize>
    where
        I: IntoIterator<Item = TokenIds>,
    {
        let inputs = to_wire(sequences.into_iter().map(Input::Tokens));
        Call::new(self, Detokenize { inputs, skip_special_tokens: false })
    }
}

impl Call<Detokenize> {
    /// Leaves special tokens out of the texts.
    pub fn skip_special_tokens(mut self, skip: bool) -> Self {
        self.rpc.skip_special_tokens = skip;
        self
    }
}

/// Bytes of the text of so many tokens.
pub(crate) fn answer_bytes(tokens: u64) -> u64 {
    ASSUMED_TEXT_BYTES * tokens
}

impl ChunkedRpc for Detokenize {
    type Request = v1::DetokenizeRequest;
    type Response = v1::DetokenizeResponse;
    type Head = ();
    type Value = String;
    type Output = Detokenized;

    const NAME: &'static str = "Detokenize";
    const ITEMS: &'static str = "inputs";
    const RESOURCE: Resource = Resource::Tokenizer;

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        answer_bytes(tokens)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::DetokenizeRequest {
        v1::DetokenizeRequest { model: model.to_owned(), inputs: items, skip_special_tokens: self.skip_special_tokens }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::DetokenizeRequest>,
    ) -> Result<Response<v1::DetokenizeResponse>, Status> {
        stub.detokenize(request).await
    }

    fn open(response: v1::DetokenizeResponse, count: usize) -> Result<ChunkAnswer<(), String>, Malformed> {
        expect_len("texts", response.texts.len(), count)?;
        let values = response.texts.into_iter().map(Some).collect();
        Ok(ChunkAnswer { head: (), values, items: response.items.unwrap_or_default(), chunk: v1::ChunkInfo::default() })
    }

    fn finish(&self, merged: MergedAnswer<(), String>) -> Detokenized {
        Detokenized { texts: merged.values, report: merged.report }
    }
}

chunked!(Detokenize);

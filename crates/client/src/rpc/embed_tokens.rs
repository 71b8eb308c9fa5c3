//! EmbedTokens: one vector a token, a matrix an input.

use sortie_proto::v1;
use tonic::{Response, Status};

use super::{
    chunked,
    vectors::{floats, row_bytes},
};
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, expect_len},
    kept_vectors::{KeptFormat, KeptVectors},
    report::Report,
    transport::Stub,
    vector_format::VectorFormat,
};

/// Dimensions assumed of a token's vector until a server tells: those of the widest encoders that are served natively.
const ASSUMED_DIMENSIONS: u64 = 1_536;

/// Turns inputs into vectors of their tokens; made by [`Client::embed_tokens`].
#[derive(Clone, Debug)]
pub struct EmbedTokens {
    inputs: Vec<v1::Input>,
    format: KeptFormat,
    keep: bool,
    with_places: bool,
}

/// The vectors of one input's tokens.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TokenVectors {
    /// One vector a token that has one, in order.
    pub rows: Vec<Vec<f32>>,
    /// Place of each row's token in its sequence; empty unless asked for.
    pub tokens: Vec<u32>,
}

impl From<&TokenVectors> for Input {
    /// For rerank, exactly. [`KeptVectors`](crate::KeptVectors) takes half the bytes.
    fn from(vectors: &TokenVectors) -> Self {
        KeptVectors::new(&vectors.rows, VectorFormat::F32).into()
    }
}

/// Vectors of tokens.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokensEmbedded {
    /// One an input, in request order; `None` where it failed, with its reason in [`Report::errors`]. Empty where bytes
    /// were asked for.
    pub matrices: Vec<Option<TokenVectors>>,
    /// The bytes of each matrix, where [`Call::keep`] asked for them; likewise.
    pub kept: Vec<Option<KeptVectors>>,
    /// What happened.
    pub report: Report,
}

impl Client {
    /// Turns inputs into vectors of their tokens, as late interaction compares them. Such models need a
    /// [`role`](Call::role).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.embed_tokens(["one text", "another"]).role(sortie_client::Role::Document).await?;
    /// assert_eq!(answer.matrices.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed_tokens<I>(&self, inputs: I) -> Call<EmbedTokens>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        let rpc = EmbedTokens { inputs: to_wire(inputs), format: KeptFormat::F32, keep: false, with_places: false };
        Call::new(self, rpc)
    }
}

impl Call<EmbedTokens> {
    /// Sets the number format of vectors on the wire. The caller gets `f32` either way.
    pub fn format(mut self, format: VectorFormat) -> Self {
        self.rpc.format = match format {
            VectorFormat::F32 => KeptFormat::F32,
            VectorFormat::F16 => KeptFormat::F16,
        };
        self.rpc.keep = false;
        self
    }

    /// Asks for vectors as bytes, to be kept: [`TokensEmbedded::kept`] in place of [`TokensEmbedded::matrices`].
    pub fn keep(mut self, format: KeptFormat) -> Self {
        self.rpc.format = format;
        self.rpc.keep = true;
        self
    }

    /// Asks for the place of each vector's token too.
    pub fn with_places(mut self, ask: bool) -> Self {
        self.rpc.with_places = ask;
        self
    }
}

/// One matrix of an answer, whose bytes and places fit.
#[derive(Clone, Debug)]
pub struct TokenMatrix {
    wire: v1::TokenMatrix,
    dimensions: u32,
    format: v1::VectorFormat,
    row_bytes: usize,
}

impl TokenMatrix {
    fn new(wire: v1::TokenMatrix, dimensions: u32, format: v1::VectorFormat) -> Result<Self, Malformed> {
        let count = wire.rows as usize;
        let row_bytes = row_bytes(dimensions as usize, format).filter(|&bytes| count == 0 || bytes > 0);
        let Some(row_bytes) = row_bytes.filter(|row| row.checked_mul(count) == Some(wire.vectors.len())) else {
            let bytes = wire.vectors.len();
            let message = format!("the answer has {bytes} bytes of vectors for {count} tokens of {dimensions}");
            return Err(Malformed(message));
        };
        if !wire.tokens.is_empty() {
            expect_len("places", wire.tokens.len(), count)?;
        }
        Ok(Self { wire, dimensions, format, row_bytes })
    }

    fn numbers(self) -> TokenVectors {
        let rows = floats(&self.wire.vectors, self.row_bytes, self.format).collect();
        TokenVectors { rows, tokens: self.wire.tokens }
    }

    fn kept(self) -> KeptVectors {
        KeptVectors::of(self.wire, self.dimensions, self.format)
    }
}

/// Bytes of the vectors of so many tokens.
pub(crate) fn answer_bytes(tokens: u64, format: v1::VectorFormat, with_places: bool) -> u64 {
    let width = row_bytes(1, format).unwrap_or_default();
    let place = if with_places { size_of::<u64>() as u64 } else { 0 };
    tokens.saturating_mul(ASSUMED_DIMENSIONS * width as u64 + place)
}

impl ChunkedRpc for EmbedTokens {
    type Request = v1::EmbedTokensRequest;
    type Response = v1::EmbedTokensResponse;
    type Head = ();
    type Value = TokenMatrix;
    type Output = TokensEmbedded;

    const NAME: &'static str = "EmbedTokens";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        answer_bytes(tokens, self.format.to_wire(), self.with_places)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedTokensRequest {
        v1::EmbedTokensRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            format: self.format.to_wire().into(),
            with_places: self.with_places,
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedTokensRequest>,
    ) -> Result<Response<v1::EmbedTokensResponse>, Status> {
        stub.embed_tokens(request).await
    }

    fn open(response: v1::EmbedTokensResponse, count: usize) -> Result<ChunkAnswer<(), TokenMatrix>, Malformed> {
        let (dimensions, format) = (response.dimensions, response.format());
        expect_len("matrices", response.matrices.len(), count)?;
        let matrices = response.matrices.into_iter();
        Ok(ChunkAnswer {
            head: (),
            values: matrices
                .map(|wire| TokenMatrix::new(wire, dimensions, format).map(Some))
                .collect::<Result<_, _>>()?,
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<(), TokenMatrix>) -> TokensEmbedded {
        let (mut matrices, mut kept) = (Vec::new(), Vec::new());
        let values = merged.values.into_iter();
        if self.keep {
            kept = values.map(|matrix| matrix.map(TokenMatrix::kept)).collect();
        } else {
            matrices = values.map(|matrix| matrix.map(TokenMatrix::numbers)).collect();
        }
        TokensEmbedded { matrices, kept, report: merged.report }
    }
}

chunked!(EmbedTokens);

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn both_formats_become_rows_of_f32() {
        let numbers = [1.0f32, -0.5, 0.25, 2.0];
        let wide: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let narrow: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        for (bytes, format) in [(wide, v1::VectorFormat::F32), (narrow, v1::VectorFormat::F16)] {
            let wire = v1::TokenMatrix { rows: 2, vectors: bytes.into(), tokens: vec![0, 3], ..Default::default() };
            let got = TokenMatrix::new(wire.clone(), 2, format).unwrap().numbers();
            assert_eq!((got.rows, got.tokens), (vec![vec![1.0, -0.5], vec![0.25, 2.0]], vec![0, 3]));
            assert!(TokenMatrix::new(wire.clone(), 3, format).is_err());
            assert!(TokenMatrix::new(v1::TokenMatrix { tokens: vec![0], ..wire }, 2, format).is_err());
        }
        let none = TokenMatrix::new(v1::TokenMatrix::default(), 0, v1::VectorFormat::F32).unwrap();
        assert_eq!(none.numbers(), TokenVectors::default());
    }
}

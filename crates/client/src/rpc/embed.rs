//! Embed: one dense vector an input.
//!
//! Each input's vector is a `Vec<f32>`, whatever its format on the wire. Vectors in bytes or bits, as stores want them,
//! stay as they are.

use bytes::Bytes;
use sortie_proto::v1;
use tonic::{Response, Status};

use super::{
    chunked,
    vectors::{Quantization, Row, row_bytes, rows},
};
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer},
    report::Report,
    transport::Stub,
    vector_format::VectorFormat,
};

/// Dimensions assumed of a vector until a server tells: no known encoder has more.
const ASSUMED_DIMENSIONS: u64 = 8_192;

/// Turns inputs into dense vectors; made by [`Client::embed`].
#[derive(Clone, Debug)]
pub struct Embed {
    inputs: Vec<v1::Input>,
    pooling: Option<Pooling>,
    normalize: Option<bool>,
    dimensions: Option<u32>,
    format: VectorFormat,
    quantization: Option<Quantization>,
    stride: Option<u32>,
}

/// How token states become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// State of the first token.
    Cls,
    /// Mean over all tokens, specials included.
    Mean,
    /// Largest value of each dimension.
    Max,
    /// State of the last token.
    Last,
    /// Sum over the tokens divided by the root of their number.
    MeanSqrtLen,
    /// Mean with tokens weighted by their place.
    WeightedMean,
}

impl Pooling {
    fn to_wire(self) -> v1::Pooling {
        match self {
            Self::Cls => v1::Pooling::Cls,
            Self::Mean => v1::Pooling::Mean,
            Self::Max => v1::Pooling::Max,
            Self::Last => v1::Pooling::Last,
            Self::MeanSqrtLen => v1::Pooling::MeanSqrtLen,
            Self::WeightedMean => v1::Pooling::WeightedMean,
        }
    }

    pub(crate) fn from_wire(wire: v1::Pooling) -> Option<Self> {
        match wire {
            v1::Pooling::Unspecified => None,
            v1::Pooling::Cls => Some(Self::Cls),
            v1::Pooling::Mean => Some(Self::Mean),
            v1::Pooling::Max => Some(Self::Max),
            v1::Pooling::Last => Some(Self::Last),
            v1::Pooling::MeanSqrtLen => Some(Self::MeanSqrtLen),
            v1::Pooling::WeightedMean => Some(Self::WeightedMean),
        }
    }
}

/// Dense vectors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Embedded {
    /// One vector an input, in request order; `None` where it failed, with its reason in
    /// [`Report::errors`]. Empty where bytes were asked for.
    pub vectors: Vec<Option<Vec<f32>>>,
    /// The bytes of each vector, where [`Call::quantized`] asked for them; likewise.
    pub bytes: Vec<Option<Bytes>>,
    /// Numbers in each vector; 0 where no input was encoded.
    pub dimensions: usize,
    /// What happened.
    pub report: Report,
}

impl Client {
    /// Turns inputs into dense vectors.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = sortie_testkit::TestServer::start().await?;
    /// # let client = sortie_client::Client::builder().endpoint(server.address()).connect().await?;
    /// let answer = client.embed(["one text", "another"]).normalize(true).await?;
    /// assert_eq!(answer.vectors.len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed<I>(&self, inputs: I) -> Call<Embed>
    where
        I: IntoIterator,
        I::Item: Into<Input>,
    {
        let rpc = Embed {
            inputs: to_wire(inputs),
            pooling: None,
            normalize: None,
            dimensions: None,
            format: VectorFormat::default(),
            quantization: None,
            stride: None,
        };
        Call::new(self, rpc)
    }
}

impl Call<Embed> {
    /// Pools otherwise than the model does by itself.
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.rpc.pooling = Some(pooling);
        self
    }

    /// Sets whether vectors are scaled to length 1, in place of the model's own choice.
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.rpc.normalize = Some(normalize);
        self
    }

    /// Keeps the first so many dimensions (Matryoshka), before normalising.
    pub fn dimensions(mut self, dimensions: u32) -> Self {
        self.rpc.dimensions = Some(dimensions);
        self
    }

    /// Sets the number format of vectors on the wire. The caller gets `f32` either way.
    pub fn format(mut self, format: VectorFormat) -> Self {
        self.rpc.format = format;
        self
    }

    /// Reads texts that are too long in windows that share `stride` tokens, in place of cutting them. A text's vector is
    /// the mean of its windows', weighted by tokens; [`Report::windows`] says how many there were.
    pub fn windows(mut self, stride: u32) -> Self {
        self.rpc.stride = Some(stride);
        self
    }

    /// Asks for vectors in bytes or bits, as stores keep them: [`Embedded::bytes`] in place of [`Embedded::vectors`].
    pub fn quantized(mut self, quantization: Quantization) -> Self {
        self.rpc.quantization = Some(quantization);
        self
    }
}

impl Embed {
    fn wire_format(&self) -> (v1::VectorFormat, Option<v1::Ranges>) {
        match (&self.quantization, self.format) {
            (Some(quantization), _) => quantization.to_wire(),
            (None, format) => (format.to_wire(), None),
        }
    }
}

/// Bytes of one vector; `dimensions` is zero where none were asked for.
pub(crate) fn answer_bytes(dimensions: u32, format: v1::VectorFormat) -> u64 {
    let dimensions = if dimensions == 0 { ASSUMED_DIMENSIONS } else { u64::from(dimensions) };
    let dimensions = usize::try_from(dimensions).unwrap_or(usize::MAX);
    row_bytes(dimensions, format).map_or(u64::MAX, |bytes| bytes as u64)
}

impl ChunkedRpc for Embed {
    type Request = v1::EmbedRequest;
    type Response = v1::EmbedResponse;
    type Head = u32;
    type Value = Row;
    type Output = Embedded;

    const NAME: &'static str = "Embed";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn stride(&self) -> Option<u32> {
        self.stride
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        answer_bytes(self.dimensions.unwrap_or_default(), self.wire_format().0)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedRequest {
        let (format, ranges) = self.wire_format();
        v1::EmbedRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            pooling: self.pooling.map_or(v1::Pooling::Unspecified, Pooling::to_wire).into(),
            normalize: self.normalize,
            dimensions: self.dimensions.unwrap_or_default(),
            format: format.into(),
            ranges,
            windows: self.stride.map(|stride| v1::Windows { stride, score: v1::WindowScore::Unspecified.into() }),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedRequest>,
    ) -> Result<Response<v1::EmbedResponse>, Status> {
        stub.embed(request).await
    }

    fn open(response: v1::EmbedResponse, count: usize) -> Result<ChunkAnswer<u32, Row>, Malformed> {
        let rows = rows(&response.vectors, response.dimensions as usize, response.format(), count)?;
        Ok(ChunkAnswer {
            head: response.dimensions,
            values: rows,
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<u32, Row>) -> Embedded {
        let MergedAnswer { head, values, report } = merged;
        let dimensions = head.unwrap_or_default() as usize;
        let (mut vectors, mut bytes) = (Vec::new(), Vec::new());
        if self.quantization.is_some() {
            bytes = values.into_iter().map(|row| row.and_then(Row::bytes)).collect();
        } else {
            vectors = values.into_iter().map(|row| row.and_then(Row::numbers)).collect();
        }
        Embedded { vectors, bytes, dimensions, report }
    }
}

chunked!(Embed);

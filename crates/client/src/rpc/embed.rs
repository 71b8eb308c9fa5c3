//! Embed: one dense vector an input.
//!
//! On the wire a chunk's vectors are one block of little-endian f32 or f16; here
//! each input's is a `Vec<f32>`. Vectors in bytes or bits, as stores want them, stay as they are.

use bytes::Bytes;
use half::f16;
use sortie_proto::v1;
use tonic::{Response, Status};

use super::{finite_row, sharded};
use crate::{
    call::Call,
    client::Client,
    input::{Input, to_wire},
    job::rpc::{ChunkAnswer, Malformed, MergedAnswer, ShardedRpc},
    report::Report,
    transport::Stub,
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
}

/// The least and the largest number of each dimension. Vectors that are to be compared need the same ranges.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Ranges {
    /// Least, one a dimension.
    pub starts: Vec<f32>,
    /// Largest, one a dimension.
    pub ends: Vec<f32>,
}

impl Ranges {
    /// Ranges from their bounds, one a dimension each.
    pub fn new(starts: impl Into<Vec<f32>>, ends: impl Into<Vec<f32>>) -> Self {
        Self { starts: starts.into(), ends: ends.into() }
    }
}

/// Vectors as stores keep them, by sentence-transformers' formulas. Bytes need ranges: those that a server would take
/// from its share of a job would differ from chunk to chunk.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Quantization {
    /// One signed byte a number.
    Int8(Ranges),
    /// One unsigned byte a number.
    Uint8(Ranges),
    /// One bit a number, above zero or not; bytes less 128.
    Binary,
    /// One bit a number, above zero or not.
    Ubinary,
}

impl Quantization {
    fn to_wire(&self) -> (v1::VectorFormat, Option<v1::Ranges>) {
        let wire = |ranges: &Ranges| Some(v1::Ranges { starts: ranges.starts.clone(), ends: ranges.ends.clone() });
        match self {
            Self::Int8(ranges) => (v1::VectorFormat::Int8, wire(ranges)),
            Self::Uint8(ranges) => (v1::VectorFormat::Uint8, wire(ranges)),
            Self::Binary => (v1::VectorFormat::Binary, None),
            Self::Ubinary => (v1::VectorFormat::Ubinary, None),
        }
    }
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

/// Number format of vectors on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VectorFormat {
    /// Four bytes a number, exact.
    #[default]
    F32,
    /// Two bytes a number, three decimal digits.
    F16,
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

    /// Asks for vectors in bytes or bits, as stores keep them: [`Embedded::bytes`] in place of [`Embedded::vectors`].
    pub fn quantized(mut self, quantization: Quantization) -> Self {
        self.rpc.quantization = Some(quantization);
        self
    }
}

/// One vector.
#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    /// Numbers.
    Numbers(Vec<f32>),
    /// A byte or a bit a number.
    Bytes(Bytes),
}

impl Row {
    fn numbers(self) -> Option<Vec<f32>> {
        match self {
            Self::Numbers(row) => Some(row),
            Self::Bytes(_) => None,
        }
    }

    fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(row) => Some(row),
            Self::Numbers(_) => None,
        }
    }
}

impl Embed {
    fn wire_format(&self) -> (v1::VectorFormat, Option<v1::Ranges>) {
        match (&self.quantization, self.format) {
            (Some(quantization), _) => quantization.to_wire(),
            (None, VectorFormat::F32) => (v1::VectorFormat::F32, None),
            (None, VectorFormat::F16) => (v1::VectorFormat::F16, None),
        }
    }
}

/// Bytes of a row of `dimensions` numbers.
fn row_bytes(dimensions: usize, format: v1::VectorFormat) -> Option<usize> {
    match format {
        v1::VectorFormat::Unspecified | v1::VectorFormat::F32 => dimensions.checked_mul(size_of::<f32>()),
        v1::VectorFormat::F16 => dimensions.checked_mul(size_of::<f16>()),
        v1::VectorFormat::Int8 | v1::VectorFormat::Uint8 => Some(dimensions),
        v1::VectorFormat::Binary | v1::VectorFormat::Ubinary => Some(dimensions.div_ceil(8)),
    }
}

/// Rows of `dimensions` numbers from their bytes.
fn rows(
    bytes: &Bytes,
    dimensions: usize,
    format: v1::VectorFormat,
    count: usize,
) -> Result<Vec<Option<Row>>, Malformed> {
    let row_bytes = row_bytes(dimensions, format).filter(|&bytes| bytes > 0);
    let Some(row_bytes) = row_bytes.filter(|row| row.checked_mul(count) == Some(bytes.len())) else {
        let message = format!("the answer has {} bytes of vectors for {count} rows of {dimensions}", bytes.len());
        return Err(Malformed(message));
    };
    let number = |cell: &[u8]| match *cell {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => f16::from_le_bytes([a, b]).to_f32(),
        _ => f32::NAN,
    };
    let width = match format {
        v1::VectorFormat::Unspecified | v1::VectorFormat::F32 => size_of::<f32>(),
        v1::VectorFormat::F16 => size_of::<f16>(),
        _ => {
            let row = |at: usize| Some(Row::Bytes(bytes.slice(at * row_bytes..(at + 1) * row_bytes)));
            return Ok((0..count).map(row).collect());
        }
    };
    let numbers = bytes.chunks_exact(row_bytes).map(|row| row.chunks_exact(width).map(number).collect());
    Ok(numbers.map(|row| finite_row(row).map(Row::Numbers)).collect())
}

impl ShardedRpc for Embed {
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

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        let dimensions = self.dimensions.map_or(ASSUMED_DIMENSIONS, u64::from);
        let dimensions = usize::try_from(dimensions).unwrap_or(usize::MAX);
        row_bytes(dimensions, self.wire_format().0).map_or(u64::MAX, |bytes| bytes as u64)
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
            windows: None,
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

sharded!(Embed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_become_f32() {
        let numbers = [1.0f32, -0.5, 65504.0, 0.25];
        let wide: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let narrow: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let want: Vec<_> = numbers.chunks(2).map(|row| Some(Row::Numbers(row.to_vec()))).collect();
        assert_eq!(rows(&wide.into(), 2, v1::VectorFormat::F32, 2).unwrap(), want);
        assert_eq!(rows(&narrow.into(), 2, v1::VectorFormat::F16, 2).unwrap(), want);
    }

    #[test]
    fn bytes_and_bits_stay_as_they_are() {
        let block = Bytes::from(vec![1, 2, 3, 4]);
        let bytes =
            |rows: Vec<Option<Row>>| rows.into_iter().map(|row| row.unwrap().bytes().unwrap()).collect::<Vec<_>>();
        assert_eq!(bytes(rows(&block, 2, v1::VectorFormat::Int8, 2).unwrap()), [&[1u8, 2][..], &[3, 4]]);
        assert_eq!(bytes(rows(&block, 9, v1::VectorFormat::Ubinary, 2).unwrap()), [&[1u8, 2][..], &[3, 4]]);
        assert!(rows(&block, 3, v1::VectorFormat::Uint8, 2).is_err());
    }

    #[test]
    fn a_block_of_the_wrong_size_is_refused() {
        let block = Bytes::from(vec![0; 12]);
        assert!(rows(&block, 2, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, 0, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, usize::MAX, v1::VectorFormat::F32, 2).is_err());
    }
}

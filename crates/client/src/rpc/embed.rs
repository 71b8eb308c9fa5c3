//! Embed: one dense vector an input.
//!
//! On the wire a chunk's vectors are one block of little-endian f32 or f16; here
//! each input's is a `Vec<f32>`.

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
    /// [`Report::errors`].
    pub vectors: Vec<Option<Vec<f32>>>,
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
}

/// Rows of `dimensions` numbers from their bytes.
fn rows(bytes: &Bytes, dimensions: usize, format: v1::VectorFormat, count: usize) -> Result<Vec<Vec<f32>>, Malformed> {
    let width = if format == v1::VectorFormat::F16 { size_of::<f16>() } else { size_of::<f32>() };
    let row_bytes = dimensions.checked_mul(width).filter(|&bytes| bytes > 0);
    let Some(row_bytes) = row_bytes.filter(|row| row.checked_mul(count) == Some(bytes.len())) else {
        let message = format!("the answer has {} bytes of vectors for {count} rows of {dimensions}", bytes.len());
        return Err(Malformed(message));
    };
    let number = |cell: &[u8]| match *cell {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] => f16::from_le_bytes([a, b]).to_f32(),
        _ => f32::NAN,
    };
    Ok(bytes.chunks_exact(row_bytes).map(|row| row.chunks_exact(width).map(number).collect()).collect())
}

impl ShardedRpc for Embed {
    type Request = v1::EmbedRequest;
    type Response = v1::EmbedResponse;
    type Head = u32;
    type Value = Vec<f32>;
    type Output = Embedded;

    const NAME: &'static str = "Embed";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.inputs
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        let width = match self.format {
            VectorFormat::F32 => size_of::<f32>(),
            VectorFormat::F16 => size_of::<f16>(),
        };
        width as u64 * self.dimensions.map_or(ASSUMED_DIMENSIONS, u64::from)
    }

    fn request(&self, model: &str, text: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedRequest {
        let format = match self.format {
            VectorFormat::F32 => v1::VectorFormat::F32,
            VectorFormat::F16 => v1::VectorFormat::F16,
        };
        v1::EmbedRequest {
            model: model.to_owned(),
            inputs: items,
            options: Some(text),
            pooling: self.pooling.map_or(v1::Pooling::Unspecified, Pooling::to_wire).into(),
            normalize: self.normalize,
            dimensions: self.dimensions.unwrap_or_default(),
            format: format.into(),
        }
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedRequest>,
    ) -> Result<Response<v1::EmbedResponse>, Status> {
        stub.embed(request).await
    }

    fn open(response: v1::EmbedResponse, count: usize) -> Result<ChunkAnswer<u32, Vec<f32>>, Malformed> {
        let rows = rows(&response.vectors, response.dimensions as usize, response.format(), count)?;
        Ok(ChunkAnswer {
            head: response.dimensions,
            values: rows.into_iter().map(finite_row).collect(),
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<u32, Vec<f32>>) -> Embedded {
        let MergedAnswer { head, values, report } = merged;
        Embedded { vectors: values, dimensions: head.unwrap_or_default() as usize, report }
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
        let want = vec![numbers[..2].to_vec(), numbers[2..].to_vec()];
        assert_eq!(rows(&wide.into(), 2, v1::VectorFormat::F32, 2).unwrap(), want);
        assert_eq!(rows(&narrow.into(), 2, v1::VectorFormat::F16, 2).unwrap(), want);
    }

    #[test]
    fn a_block_of_the_wrong_size_is_refused() {
        let block = Bytes::from(vec![0; 12]);
        assert!(rows(&block, 2, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, 0, v1::VectorFormat::F32, 2).is_err());
        assert!(rows(&block, usize::MAX, v1::VectorFormat::F32, 2).is_err());
    }
}

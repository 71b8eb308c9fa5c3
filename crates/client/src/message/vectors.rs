//! Messages that are answered by vectors: Embed, EmbedTokens, EmbedSparse. Rows stay bytes on their way.

use bytes::{Bytes, BytesMut};
use half::f16;
use sortie_proto::v1::{self, VectorFormat};
use tonic::{Response, Status};

use super::{MessageAnswer, Pass, answer, message};
use crate::{
    job::chunked::{ChunkAnswer, ChunkedRpc, Malformed, MergedAnswer, expect_len},
    rpc::{
        embed, embed_tokens,
        sparse::{self, EmbedSparse, SparseVector},
        vectors::{byte_rows, row_bytes},
    },
    transport::Stub,
};

message!(v1::EmbedRequest, v1::EmbedResponse, inputs, |message| message.options.as_ref());
message!(v1::EmbedTokensRequest, v1::EmbedTokensResponse, inputs, |message| message.options.as_ref());
message!(v1::EmbedSparseRequest, v1::EmbedSparseResponse, inputs, |message| message.options.as_ref());

/// Whether the numbers of a format are laid over ranges.
fn needs_ranges(format: VectorFormat) -> bool {
    matches!(format, VectorFormat::Int8 | VectorFormat::Uint8)
}

/// A failed row of so many bytes: NaN throughout, and zero where the format has none.
fn failed_row(bytes: usize, format: VectorFormat) -> Vec<u8> {
    match format {
        VectorFormat::Unspecified | VectorFormat::F32 => {
            f32::NAN.to_le_bytes().into_iter().cycle().take(bytes).collect()
        }
        VectorFormat::F16 => f16::NAN.to_le_bytes().into_iter().cycle().take(bytes).collect(),
        _ => vec![0; bytes],
    }
}

impl ChunkedRpc for Pass<v1::EmbedRequest> {
    type Request = v1::EmbedRequest;
    type Response = v1::EmbedResponse;
    /// Numbers in a row, their format, and the ranges they were laid over.
    type Head = (u32, i32, Option<v1::Ranges>);
    type Value = Bytes;
    type Output = MessageAnswer<v1::EmbedResponse>;

    const NAME: &'static str = "Embed";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn stride(&self) -> Option<u32> {
        self.head.windows.as_ref().map(|windows| windows.stride)
    }

    fn whole(&self) -> bool {
        // Ranges that are not sent are those of the answer's own vectors: of one server's, or they would differ.
        self.head.ranges.is_none() && needs_ranges(self.head.format())
    }

    fn answer_bytes(&self, _tokens: u64) -> u64 {
        embed::answer_bytes(self.head.dimensions, self.head.format())
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedRequest>,
    ) -> Result<Response<v1::EmbedResponse>, Status> {
        stub.embed(request).await
    }

    fn open(response: v1::EmbedResponse, count: usize) -> Result<ChunkAnswer<Self::Head, Bytes>, Malformed> {
        let rows = byte_rows(&response.vectors, response.dimensions as usize, response.format(), count)?;
        let values = rows.map(Some).collect();
        Ok(ChunkAnswer {
            values,
            head: (response.dimensions, response.format, response.ranges),
            items: response.items.unwrap_or_default(),
            chunk: response.chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<Self::Head, Bytes>) -> Self::Output {
        let MergedAnswer { head, values, report } = merged;
        let (dimensions, format, ranges) = head.unwrap_or_default();
        let mut message = v1::EmbedResponse { dimensions, format, ranges, ..v1::EmbedResponse::default() };
        let row_bytes = row_bytes(dimensions as usize, message.format()).unwrap_or_default();
        let failed = failed_row(row_bytes, message.format());
        let mut vectors = BytesMut::with_capacity(row_bytes.saturating_mul(values.len()));
        for row in &values {
            vectors.extend_from_slice(row.as_deref().unwrap_or(&failed));
        }
        message.vectors = vectors.freeze();
        (message.items, message.chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        MessageAnswer { message, report }
    }
}

impl ChunkedRpc for Pass<v1::EmbedTokensRequest> {
    type Request = v1::EmbedTokensRequest;
    type Response = v1::EmbedTokensResponse;
    /// The format of the numbers.
    type Head = i32;
    /// A matrix, and the numbers in its rows: an answer whose every item failed says none.
    type Value = (v1::TokenMatrix, u32);
    type Output = MessageAnswer<v1::EmbedTokensResponse>;

    const NAME: &'static str = "EmbedTokens";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        embed_tokens::answer_bytes(tokens, self.head.format(), self.head.with_places)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedTokensRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedTokensRequest>,
    ) -> Result<Response<v1::EmbedTokensResponse>, Status> {
        stub.embed_tokens(request).await
    }

    fn open(response: v1::EmbedTokensResponse, count: usize) -> Result<ChunkAnswer<i32, Self::Value>, Malformed> {
        let v1::EmbedTokensResponse { matrices, dimensions, format, items, chunk } = response;
        expect_len("matrices", matrices.len(), count)?;
        Ok(ChunkAnswer {
            head: format,
            values: matrices.into_iter().map(|matrix| Some((matrix, dimensions))).collect(),
            items: items.unwrap_or_default(),
            chunk: chunk.unwrap_or_default(),
        })
    }

    fn finish(&self, merged: MergedAnswer<i32, Self::Value>) -> Self::Output {
        let MergedAnswer { head, values, report } = merged;
        let dimensions = values.iter().flatten().map(|(_, dimensions)| *dimensions).max().unwrap_or_default();
        let matrices = values.into_iter().map(|value| value.unwrap_or_default().0).collect();
        let (items, chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        let format = head.unwrap_or_default();
        MessageAnswer { message: v1::EmbedTokensResponse { matrices, dimensions, format, items, chunk }, report }
    }
}

impl ChunkedRpc for Pass<v1::EmbedSparseRequest> {
    type Request = v1::EmbedSparseRequest;
    type Response = v1::EmbedSparseResponse;
    type Head = ();
    type Value = SparseVector;
    type Output = MessageAnswer<v1::EmbedSparseResponse>;

    const NAME: &'static str = "EmbedSparse";
    const ITEMS: &'static str = "inputs";

    fn items(&self) -> &[v1::Input] {
        &self.items
    }

    fn answer_bytes(&self, tokens: u64) -> u64 {
        sparse::answer_bytes(tokens, self.head.top_k)
    }

    fn request(&self, model: &str, _: v1::TextOptions, items: Vec<v1::Input>) -> v1::EmbedSparseRequest {
        self.chunk(model, items)
    }

    async fn send(
        mut stub: Stub,
        request: tonic::Request<v1::EmbedSparseRequest>,
    ) -> Result<Response<v1::EmbedSparseResponse>, Status> {
        stub.embed_sparse(request).await
    }

    fn open(response: v1::EmbedSparseResponse, count: usize) -> Result<ChunkAnswer<(), SparseVector>, Malformed> {
        EmbedSparse::open(response, count)
    }

    fn finish(&self, merged: MergedAnswer<(), SparseVector>) -> Self::Output {
        let MergedAnswer { values, report, .. } = merged;
        let mut message = v1::EmbedSparseResponse { offsets: vec![0], ..v1::EmbedSparseResponse::default() };
        for vector in values {
            let SparseVector { indices, weights } = vector.unwrap_or_default();
            message.indices.extend(indices);
            message.weights.extend(weights);
            message.offsets.push(u32::try_from(message.indices.len()).unwrap_or(u32::MAX));
        }
        (message.items, message.chunk) = (Some(answer::items(&report)), Some(answer::chunk(&report)));
        MessageAnswer { message, report }
    }
}

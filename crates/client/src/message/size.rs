//! How large an item's answer is in a message.

use bytes::Bytes;
use prost::Message as _;
use sortie_proto::v1;

use crate::rpc::sparse::SparseVector;

/// Bytes that an item's answer takes in a message, about.
pub(super) trait AnswerBytes {
    fn answer_bytes(&self) -> usize;
}

impl AnswerBytes for f32 {
    fn answer_bytes(&self) -> usize {
        size_of::<f32>()
    }
}

impl AnswerBytes for Vec<f32> {
    fn answer_bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

impl AnswerBytes for Bytes {
    fn answer_bytes(&self) -> usize {
        self.len()
    }
}

impl AnswerBytes for String {
    fn answer_bytes(&self) -> usize {
        self.len()
    }
}

impl AnswerBytes for v1::TaggedText {
    fn answer_bytes(&self) -> usize {
        self.encoded_len()
    }
}

impl AnswerBytes for v1::TokenizedInput {
    fn answer_bytes(&self) -> usize {
        self.encoded_len()
    }
}

impl AnswerBytes for (v1::TokenMatrix, u32) {
    fn answer_bytes(&self) -> usize {
        self.0.encoded_len()
    }
}

impl AnswerBytes for SparseVector {
    fn answer_bytes(&self) -> usize {
        self.indices.len() * (size_of::<u32>() + size_of::<f32>())
    }
}

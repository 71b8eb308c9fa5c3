//! Refusals that tonic makes before a handler runs, put into our words.
//!
//! tonic answers a message it cannot decode with INTERNAL and one over the size
//! limit with OUT_OF_RANGE or (compressed) RESOURCE_EXHAUSTED, both without
//! details. Ours always carry details, so an error without them is tonic's.

use tonic::{Code, Status};

use super::ServeError;

/// Says a tonic-made refusal in our words; `None` where there is nothing better to say.
pub(crate) fn refine(status: &Status, max_message_bytes: u64) -> Option<ServeError> {
    if !status.details().is_empty() {
        return None;
    }
    let message = status.message();
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted if message.contains("message") => {
            Some(ServeError::MessageTooLarge { limit: max_message_bytes })
        }
        Code::Internal if is_decoding(message) => Some(ServeError::Undecodable(message.to_owned())),
        _ => None,
    }
}

/// Texts of prost and of tonic's frame reader, for bytes the caller got wrong.
fn is_decoding(message: &str) -> bool {
    ["failed to decode Protobuf", "Missing request message", "Unexpected EOF", "protocol error", "Error decompressing"]
        .iter()
        .any(|start| message.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prost_still_words_its_error_so() {
        // A string field that is not UTF-8.
        let error = <sortie_proto::v1::GetModelRequest as prost::Message>::decode(&[0x0a, 1, 0xff][..]).unwrap_err();
        assert!(is_decoding(&error.to_string()), "{error}");
    }

    #[test]
    fn our_own_errors_are_left_alone() {
        let ours = Status::from(ServeError::MessageTooLarge { limit: 1 });
        assert_eq!(refine(&ours, 1), None);
        assert_eq!(refine(&Status::internal("something else"), 1), None);
    }
}

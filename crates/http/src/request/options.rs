//! Options of texts that several dialects have, by their names there.

use sortie_proto::v1::TruncationSide;

use crate::failure::HttpFailure;

/// Where a text that is too long is cut.
pub(crate) fn side(field: &str, value: Option<&str>) -> Result<TruncationSide, HttpFailure> {
    match value {
        None => Ok(TruncationSide::Unspecified),
        Some("left" | "Left") => Ok(TruncationSide::Left),
        Some("right" | "Right") => Ok(TruncationSide::Right),
        Some(other) => Err(HttpFailure::field(field, format!("{other:?} is neither left nor right"))),
    }
}

/// Longest sequence in tokens as vLLM says it; 0 of ours where the model's own limit holds (absent and -1).
pub(crate) fn max_length(field: &str, value: Option<i64>) -> Result<u32, HttpFailure> {
    match value {
        None | Some(-1) => Ok(0),
        Some(tokens) if tokens > 0 => {
            u32::try_from(tokens).map_err(|_| HttpFailure::field(field, format!("at most {}", u32::MAX)))
        }
        Some(tokens) => {
            Err(HttpFailure::field(field, format!("{tokens} leaves nothing to read; -1 is the model's limit")))
        }
    }
}

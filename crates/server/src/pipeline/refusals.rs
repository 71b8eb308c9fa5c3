//! What stops a request on its way, as its caller is told.

use sortie_engine::InputError;
use sortie_frontend::ServeError;
use sortie_scheduler::{ChunkError, Refusal};

/// A chunk that ended without answers.
pub(super) fn chunk_failed(error: ChunkError) -> ServeError {
    match error {
        ChunkError::Expired => ServeError::DeadlineExceeded,
        _ => ServeError::BackendGone,
    }
}

/// A request that the scheduler does not take.
pub(super) fn refused(refusal: Refusal) -> ServeError {
    match refusal {
        Refusal::QueueFull { queued, limit, retry_after } => ServeError::QueueFull { queued, limit, retry_after },
        Refusal::TooManyChunks { limit, retry_after } => {
            ServeError::TooManyChunks { limit: u32::try_from(limit).unwrap_or(u32::MAX), retry_after }
        }
        Refusal::TooLate { wait, queue, remaining, retry_after } => {
            ServeError::DeadlineTooShort { wait, queue, remaining, retry_after }
        }
        Refusal::WaitTooLong { wait, limit, retry_after } => ServeError::WaitTooLong { wait, limit, retry_after },
        Refusal::NoDevice => ServeError::BackendGone,
        Refusal::TooLarge { tokens, limit } => ServeError::ChunkTooLarge { tokens, limit },
        Refusal::Draining => ServeError::Draining,
        other => ServeError::Internal(other.to_string()),
    }
}

/// The refusal of a whole request for an input it cannot do without, or for options no input can meet.
pub(crate) fn whole_request(field: &'static str, error: &InputError) -> ServeError {
    match error {
        InputError::BadMaxLength { .. } => ServeError::BadMaxLength(error.to_string()),
        InputError::BadRole(message) => ServeError::bad_field("options.role", message),
        InputError::BadStride { .. } => ServeError::bad_field("windows.stride", error.to_string()),
        InputError::NoWindows(why) => ServeError::bad_field("windows", *why),
        InputError::BadOption { option, why } => ServeError::bad_field(*option, why),
        InputError::QueryTooLong { .. } | InputError::TooLong { .. } => {
            ServeError::QueryTooLong { field, message: error.to_string() }
        }
        _ => ServeError::bad_field(field, error.to_string()),
    }
}

/// Whether options that no input can meet are at fault, and not one input.
pub(super) fn is_of_the_request(error: &InputError) -> bool {
    matches!(
        error,
        InputError::BadMaxLength { .. }
            | InputError::BadRole(_)
            | InputError::BadStride { .. }
            | InputError::NoWindows(_)
            | InputError::BadOption { .. }
    )
}

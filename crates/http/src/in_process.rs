//! Messages for a service in the same process: they are passed as they are, and never become bytes.
//!
//! The service stands behind a stack that is made for the network, and what it is called with is a request whose body is an
//! encoded message. A job of 200 texts would be copied three times more than it has to be, and its texts checked for UTF-8
//! once more. So the body holds a message with nothing in it, and the message itself goes beside the metadata.
//! [`message_of`] finds it there; a service that does not look refuses what it reads as empty.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tonic::Request;

/// A message that is taken once. Extensions have to be cloned; clones are of one message.
struct PassedMessage<M>(Arc<Mutex<Option<M>>>);

impl<M> Clone for PassedMessage<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> fmt::Debug for PassedMessage<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassedMessage")
    }
}

/// The request with an empty message, and its own one beside it.
pub(crate) fn pass<M: Default + Send + 'static>(request: Request<M>) -> Request<M> {
    let (metadata, mut extensions, message) = request.into_parts();
    extensions.insert(PassedMessage(Arc::new(Mutex::new(Some(message)))));
    Request::from_parts(metadata, extensions, M::default())
}

/// The message of a request, however it came: from [`routes`](crate::routes) in this process, or over the network. Every
/// service that the routes stand on must take its messages by this.
pub fn message_of<M: Send + 'static>(mut request: Request<M>) -> M {
    let passed = request.extensions_mut().remove::<PassedMessage<M>>();
    let passed = passed.and_then(|passed| passed.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    passed.unwrap_or_else(|| request.into_inner())
}

#[cfg(test)]
mod tests {
    use sortie_proto::v1::{GetModelRequest, ProbeRequest};

    use super::*;

    fn named(name: &str) -> GetModelRequest {
        GetModelRequest { model: name.to_owned() }
    }

    #[test]
    fn a_message_that_was_passed_is_found_and_its_body_is_empty() {
        let mut request = Request::new(named("a"));
        request.metadata_mut().insert("x-key", "k".parse().unwrap());
        let passed = pass(request);
        assert_eq!((passed.get_ref(), passed.metadata().len()), (&GetModelRequest::default(), 1));
        assert_eq!(message_of(passed), named("a"));
    }

    #[test]
    fn a_message_from_elsewhere_is_that_of_its_body() {
        assert_eq!(message_of(Request::new(named("b"))), named("b"));
        let mut other = Request::new(named("b"));
        let passed = pass(Request::new(ProbeRequest::default()));
        *other.extensions_mut() = passed.into_parts().1;
        assert_eq!(message_of(other), named("b"), "a message of another kind is not taken");
    }
}

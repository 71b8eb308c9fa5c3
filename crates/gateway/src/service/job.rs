//! What the service must know of a message, and what goes with it.

use sortie_client::{Message, MessageOptions};
use sortie_frontend::RequestContext;
use sortie_proto::v1;
use tokio::time::Instant;

/// A message that becomes a job.
pub(super) trait JobMessage: Message<Answer: prost::Message> {
    /// The model it names.
    fn model(&self) -> &str;

    /// Names another.
    fn set_model(&mut self, name: &str);

    /// How many items it has.
    fn items(&self) -> usize;

    /// Where its answer says what the job took.
    fn chunk(answer: &mut Self::Answer) -> Option<&mut v1::ChunkInfo>;
}

macro_rules! job_message {
    ($request:ty, $items:ident, $chunk:expr) => {
        impl JobMessage for $request {
            fn model(&self) -> &str {
                &self.model
            }

            fn set_model(&mut self, name: &str) {
                name.clone_into(&mut self.model);
            }

            fn items(&self) -> usize {
                self.$items.len()
            }

            fn chunk(answer: &mut Self::Answer) -> Option<&mut v1::ChunkInfo> {
                let chunk: fn(&mut Self::Answer) -> Option<&mut v1::ChunkInfo> = $chunk;
                chunk(answer)
            }
        }
    };
}

job_message!(v1::RerankRequest, documents, |answer| answer.chunk.as_mut());
job_message!(v1::EmbedRequest, inputs, |answer| answer.chunk.as_mut());
job_message!(v1::EmbedTokensRequest, inputs, |answer| answer.chunk.as_mut());
job_message!(v1::EmbedSparseRequest, inputs, |answer| answer.chunk.as_mut());
job_message!(v1::ClassifyRequest, inputs, |answer| answer.chunk.as_mut());
job_message!(v1::TagTokensRequest, inputs, |answer| answer.chunk.as_mut());
job_message!(v1::SimilarityRequest, texts, |answer| answer.chunk.as_mut());
job_message!(v1::TokenizeRequest, inputs, |_| None);
job_message!(v1::DetokenizeRequest, inputs, |_| None);

/// What the caller said of itself, for the servers.
pub(super) fn options(context: &RequestContext, traceparent: Option<String>) -> MessageOptions {
    let caller = &context.caller;
    let said = |text: &String| (!text.is_empty()).then(|| text.clone());
    let mut options = MessageOptions::default();
    options.deadline = context.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    options.lane = Some(caller.lane);
    options.tenant = said(&caller.tenant);
    options.job_id = said(&caller.job_id);
    options.traceparent = traceparent;
    options
}

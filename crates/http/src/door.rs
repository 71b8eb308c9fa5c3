//! The one way from a route to the service: an RPC with the caller's metadata, and what came back with it.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::Body as HttpBody;
use prost::Message;
use sortie_proto::v1::{self, encoder_service_client::EncoderServiceClient};
use tonic::body::Body;
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

use crate::{
    failure::{FailureKind, HttpFailure},
    in_process::pass,
    models::Models,
    options::HttpOptions,
    reply::Load,
    request::Caller,
};

type InProcess = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, ServiceError>;

/// The service failed without a status. tonic finds one among the causes, if there is one.
#[derive(Debug, thiserror::Error)]
#[error("the service failed")]
struct ServiceError(#[source] BoxError);

/// An RPC under way. Dropping it cancels it.
pub(crate) type PendingAnswer<T> = BoxFuture<'static, Result<T, HttpFailure>>;

/// What every handler has: the service, the options and what is known of the models.
#[derive(Clone)]
pub(crate) struct Door(Arc<DoorState>);

struct DoorState {
    client: EncoderServiceClient<InProcess>,
    options: HttpOptions,
    models: Models,
    started: SystemTime,
}

/// An answer and the load report that came with it.
pub(crate) struct Answered<M> {
    pub(crate) message: M,
    pub(crate) load: Option<Load>,
}

macro_rules! rpcs {
    ($($name:ident: $request:ident => $response:ident),* $(,)?) => {
        impl Door {
            $(
                #[doc = concat!("Calls `", stringify!($name), "` as `caller`.")]
                pub(crate) fn $name(&self, caller: &Caller, message: v1::$request) -> PendingAnswer<Answered<v1::$response>> {
                    let model = message.model.clone();
                    if let Err(failure) = self.fits(&message) {
                        return Box::pin(std::future::ready(Err(failure)));
                    }
                    let request = pass(caller.request(message, &model));
                    let mut client = self.0.client.clone();
                    Box::pin(async move { answered(client.$name(request).await) })
                }
            )*
        }
    };
}

rpcs! {
    rerank: RerankRequest => RerankResponse,
    embed: EmbedRequest => EmbedResponse,
    embed_tokens: EmbedTokensRequest => EmbedTokensResponse,
    embed_sparse: EmbedSparseRequest => EmbedSparseResponse,
    classify: ClassifyRequest => ClassifyResponse,
    tag_tokens: TagTokensRequest => TagTokensResponse,
    similarity: SimilarityRequest => SimilarityResponse,
    tokenize: TokenizeRequest => TokenizeResponse,
    detokenize: DetokenizeRequest => DetokenizeResponse,
}

impl Door {
    pub(crate) fn new<S, B>(service: S, options: HttpOptions) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service
            .map_err(|error: S::Error| ServiceError(error.into()))
            .map_response(|response: http::Response<B>| response.map(Body::new));
        // What may be too large for the network is not too large here: the service has limits of its own for its answers.
        let client = EncoderServiceClient::new(BoxCloneSyncService::new(service)).max_decoding_message_size(usize::MAX);
        Self(Arc::new(DoorState { client, options, models: Models::default(), started: SystemTime::now() }))
    }

    pub(crate) fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    pub(crate) fn models(&self) -> &Models {
        &self.0.models
    }

    /// When the routes were made.
    pub(crate) fn started(&self) -> SystemTime {
        self.0.started
    }

    /// Refuses a message that would be larger than a body may be: as a list of very short texts is.
    fn fits(&self, message: &impl Message) -> Result<(), HttpFailure> {
        let (bytes, limit) = (message.encoded_len(), self.options().max_body_bytes);
        if bytes <= limit {
            return Ok(());
        }
        let why = format!("the body makes a message of {bytes} bytes, which is too large; max_body_bytes is {limit}");
        Err(HttpFailure::new(FailureKind::BodyTooLarge, why))
    }

    /// Every model, asked for as `caller`.
    pub(crate) fn list_models(&self, caller: &Caller) -> PendingAnswer<Vec<v1::ModelInfo>> {
        let request = caller.request(v1::ListModelsRequest {}, "");
        let mut client = self.0.client.clone();
        Box::pin(async move { Ok(answered(client.list_models(request).await)?.message.models) })
    }
}

fn answered<M>(result: Result<tonic::Response<M>, tonic::Status>) -> Result<Answered<M>, HttpFailure> {
    match result {
        Ok(response) => {
            let load = Load::read(response.metadata());
            Ok(Answered { message: response.into_inner(), load })
        }
        Err(status) => Err(HttpFailure::from(status)),
    }
}

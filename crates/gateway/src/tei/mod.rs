//! `tei.v1`: what clients of Text Embeddings Inference call over gRPC, on top of `sortie.v1`.
//!
//! A call becomes a message of `sortie.v1` and goes through the same stack in process: key, tenant, deadline, permits,
//! metrics and cancelling are those of any other call. What cannot be served is refused by name. A text that cannot be
//! answered fails its call, for there are no errors of single texts here.
//!
//! | file | what |
//! | --- | --- |
//! | `call` | the way of a call: which model, what of the metadata goes along, what an item's error becomes |
//! | `stream` | messages of a stream, several at once, answered in order |
//! | `embed`, `predict`, `rerank`, `tokenize`, `info` | the services |

mod call;
mod embed;
mod info;
mod predict;
mod rerank;
mod stream;
mod tokenize;

use std::sync::Arc;

use sortie_frontend::{Services, config::FrontendConfig};
use sortie_proto::tei::{
    FILE_DESCRIPTOR_SET, embed_server::EmbedServer, info_server::InfoServer, predict_server::PredictServer,
    rerank_server::RerankServer, tokenize_server::TokenizeServer,
};

use self::call::TeiCalls;
use crate::catalog::Catalog;

/// Adds the services to those of the contract, whose stack they call.
pub(crate) fn add(services: &mut Services, catalog: Arc<Catalog>, config: &FrontendConfig) {
    let most = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    let calls = TeiCalls::new(services.stack.clone(), catalog, most, config.max_concurrent_requests);
    macro_rules! add {
        ($($server:ident),*) => {
            $(services.routes.add_service(
                $server::new(calls.clone()).max_decoding_message_size(most).max_encoding_message_size(most),
            );)*
        };
    }
    services.descriptors.push(FILE_DESCRIPTOR_SET);
    add!(InfoServer, EmbedServer, PredictServer, RerankServer, TokenizeServer);
}

//! A gateway's answers against those of one server to the same message.

use prost::Message as _;
use sortie_proto::v1::{self, ChunkInfo};
use sortie_testkit::{Reply, texts};
use tonic::Request;

use crate::support::{Running, config, fleet, inputs, rerank, text};

/// What must be the same of where the time went; the rest is of this run.
fn same(chunk: Option<&ChunkInfo>) -> (String, String, u64) {
    let chunk = chunk.expect("says what it took");
    (chunk.model.clone(), chunk.model_revision.clone(), chunk.tokens)
}

/// Asks server and gateway the same, and compares the answers field by field.
macro_rules! compare {
    ($server:expr, $gateway:expr, $method:ident, $message:expr, $($chunk:ident)?) => {{
        let direct = $server.$method($message.clone()).await.unwrap().into_inner();
        let through = $gateway.$method($message).await.unwrap().into_inner();
        $(
            let (mut direct, mut through) = (direct, through);
            assert_eq!(same(direct.$chunk.as_ref()), same(through.$chunk.as_ref()));
            assert_eq!(through.$chunk.as_ref().unwrap().replica, "g1");
            (direct.$chunk, through.$chunk) = (None, None);
        )?
        // NaN is not equal to itself; the bytes are.
        assert_eq!(direct.encode_to_vec(), through.encode_to_vec(), "{direct:?}\n{through:?}");
    }};
}

#[tokio::test]
async fn answers_are_those_of_one_server_field_by_field() {
    let servers = fleet(4).await;
    let (gateway, mut through) = Running::ready(config(&servers)).await;
    let mut direct = crate::support::Stub::connect(servers[0].address()).await.unwrap();
    let documents = texts(1, 120);
    let list = || inputs(&documents);
    compare!(direct, through, rerank, rerank(&documents), chunk);
    let windows = Some(v1::Windows { stride: 8, score: v1::WindowScore::Max.into() });
    compare!(direct, through, rerank, v1::RerankRequest { windows, ..rerank(&documents) }, chunk);
    compare!(direct, through, embed, v1::EmbedRequest { inputs: list(), ..Default::default() }, chunk);
    compare!(direct, through, embed_tokens, v1::EmbedTokensRequest { inputs: list(), ..Default::default() }, chunk);
    compare!(direct, through, classify, v1::ClassifyRequest { inputs: list(), ..Default::default() }, chunk);
    compare!(direct, through, tag_tokens, v1::TagTokensRequest { inputs: list(), ..Default::default() }, chunk);
    let similar = v1::SimilarityRequest { source: Some(text("s")), texts: list(), ..Default::default() };
    compare!(direct, through, similarity, similar, chunk);
    compare!(direct, through, tokenize, v1::TokenizeRequest { inputs: list(), ..Default::default() },);
    compare!(direct, through, detokenize, v1::DetokenizeRequest { inputs: list(), ..Default::default() },);
    // The script's entries go on counting over a message, so the ids of chunks begin anew.
    let sparse = v1::EmbedSparseRequest { inputs: list(), ..Default::default() };
    let one = direct.embed_sparse(sparse.clone()).await.unwrap().into_inner();
    let all = through.embed_sparse(sparse).await.unwrap().into_inner();
    assert_eq!((one.offsets, one.weights, one.items), (all.offsets, all.weights, all.items));
    // Both servers' shares were of more than one server.
    let asked = servers.iter().filter(|server| !server.calls().is_empty()).count();
    assert!(asked > 1, "{asked} of 4 servers were asked");
    drop(gateway);
}

#[tokio::test]
async fn the_best_are_the_best_of_the_whole_job() {
    let servers = fleet(4).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let documents = texts(3, 100);
    let message = v1::RerankRequest { top_n: 7, ..rerank(&documents) };
    let answer = stub.rerank(message).await.unwrap().into_inner();
    assert_eq!(answer.order, sortie_proto::ranking::best(&answer.scores, 7));
    assert_eq!((answer.order.len(), answer.scores.len()), (7, 100));
}

#[tokio::test]
async fn a_failed_item_keeps_its_place_and_its_reason() {
    let servers = fleet(2).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    for server in &servers {
        server.always(Reply::answer().item_error(0, "TOO_LONG", "the text has too many tokens"));
    }
    let documents = texts(4, 5);
    let answer = stub.rerank(rerank(&documents)).await.unwrap().into_inner();
    let errors = answer.items.unwrap().errors;
    assert!(!errors.is_empty());
    for error in errors {
        assert_eq!(error.reason, "TOO_LONG");
        assert!(answer.scores[error.index as usize].is_nan());
    }
    let embed = v1::EmbedRequest { inputs: inputs(&documents), ..v1::EmbedRequest::default() };
    let answer = stub.embed(embed).await.unwrap().into_inner();
    let failed = answer.items.unwrap().errors[0].index as usize;
    let row = &answer.vectors[failed * 8..(failed + 1) * 8];
    assert!(row.chunks(4).all(|number| f32::from_le_bytes(number.try_into().unwrap()).is_nan()));
}

#[tokio::test]
async fn what_the_caller_says_of_itself_reaches_every_server() {
    let servers = fleet(4).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let mut request = Request::new(rerank(&texts(5, 120)));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (key, value) in
        [("sortie-job-id", "j1"), ("sortie-tenant", "t1"), ("sortie-lane", "interactive"), ("traceparent", trace)]
    {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    request.set_timeout(std::time::Duration::from_secs(40));
    let answer = stub.rerank(request).await.unwrap().into_inner();
    assert_eq!(answer.chunk.unwrap().job_id, "j1");
    let calls: Vec<_> = servers.iter().flat_map(|server| server.calls()).collect();
    assert!(calls.len() > 1);
    for call in calls {
        assert_eq!((call.job_id.as_str(), call.tenant.as_str(), call.lane.as_str()), ("j1", "t1", "interactive"));
        assert_eq!((call.traceparent.as_str(), call.model.as_str()), (trace, "m"));
        let left = call.timeout.unwrap().as_secs_f64();
        assert!(left > 5.0 && left < 40.0, "{left}");
    }
}

#[tokio::test]
async fn the_fleet_is_described_as_one_gateway() {
    let servers = fleet(2).await;
    let (_gateway, mut stub) = Running::ready(config(&servers)).await;
    let model = stub.get_model(v1::GetModelRequest::default()).await.unwrap().into_inner().model.unwrap();
    let listed = stub.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner().models;
    assert_eq!((listed.len(), &listed[0].name, listed[0].limits), (1, &model.name, model.limits));
    assert_eq!((model.name.as_str(), model.state()), ("m", v1::ModelState::Ready));
    let limits = model.limits.unwrap();
    assert!(limits.cuts_jobs, "{limits:?}");
    assert_eq!(limits.max_queue_tokens, 2 << 20, "queues add up");
    let probe = stub.probe(v1::ProbeRequest::default()).await.unwrap().into_inner();
    assert_eq!(probe.replica, "g1");
    let report = probe.report.unwrap();
    assert_eq!((report.a_ms, report.b_us, report.limits), (3.0, 150.0, Some(limits)));
    let unknown = stub.get_model(v1::GetModelRequest { model: "x".to_owned() }).await.unwrap_err();
    assert!(unknown.message().contains("served: m"), "{unknown}");
}

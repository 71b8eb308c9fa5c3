//! `tei.v1` by its generated client.

use std::time::Duration;

use sortie_proto::{
    tei::{
        DecodeRequest, EmbedAllRequest, EmbedRequest, EmbedSparseRequest, EncodeRequest, InfoRequest, ModelType,
        PredictPairRequest, PredictRequest, RerankRequest, RerankStreamRequest, TruncationDirection,
        embed_client::EmbedClient, info_client::InfoClient, predict_client::PredictClient, rerank_client::RerankClient,
        tokenize_client::TokenizeClient,
    },
    v1,
};
use sortie_testkit::{Gate, Reply, TestServer, score_of, texts, tokens_of};
use tonic::{Code, Request, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{Running, config, fleet};

/// Servers whose model does everything, and a gateway to them.
async fn able(count: usize) -> (Vec<TestServer>, Running, Channel) {
    let servers = fleet(count).await;
    for server in &servers {
        server.model(|model| {
            model.labels = vec!["yes".to_owned(), "no".to_owned()];
            model.prompts = vec![v1::Prompt { name: "query".to_owned(), text: "query: ".to_owned() }];
            model.precision = "f16".to_owned();
        });
    }
    let (gateway, _stub) = Running::ready(config(&servers)).await;
    let channel = gateway.channel().await;
    (servers, gateway, channel)
}

#[tokio::test]
async fn info_describes_the_only_model() {
    let (servers, _gateway, channel) = able(1).await;
    let info = InfoClient::new(channel).info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.model_id.as_str(), info.model_sha.as_deref()), ("m", Some("r1")));
    assert_eq!((info.model_type(), info.model_dtype.as_str()), (ModelType::Reranker, "float16"));
    assert_eq!((info.max_input_length, info.max_batch_tokens), (512, 2_048));
    assert!(info.max_client_batch_size > 1_000_000, "lists of any length are cut");
    drop(servers);
}

#[tokio::test]
async fn texts_become_vectors_one_by_one_and_by_streams() {
    let (servers, _gateway, channel) = able(2).await;
    let mut client = EmbedClient::new(channel);
    let request = EmbedRequest { inputs: "a text".to_owned(), truncate: true, ..EmbedRequest::default() };
    let answer = client.embed(request.clone()).await.unwrap();
    assert_eq!(answer.metadata().get("x-compute-tokens").unwrap(), &tokens_of("a text").to_string());
    let answer = answer.into_inner();
    assert_eq!(answer.embeddings, [score_of("a text"), 1.0]);
    let metadata = answer.metadata.unwrap();
    assert_eq!((metadata.compute_chars, metadata.compute_tokens), (6, tokens_of("a text")));
    assert!(metadata.total_time_ns > 0 && metadata.inference_time_ns == 30_000);

    let all = texts(1, 90);
    let messages: Vec<_> = all.iter().map(|text| EmbedRequest { inputs: text.clone(), ..request.clone() }).collect();
    let mut answers = client.embed_stream(tokio_stream::iter(messages)).await.unwrap().into_inner();
    for text in &all {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.embeddings, [score_of(text), 1.0], "{text}");
    }
    assert!(answers.message().await.unwrap().is_none());

    let sparse = EmbedSparseRequest { inputs: "a text".to_owned(), ..EmbedSparseRequest::default() };
    let entries = client.embed_sparse(sparse).await.unwrap().into_inner().sparse_embeddings;
    assert_eq!(entries.iter().map(|entry| entry.value).collect::<Vec<_>>(), [score_of("a text"); 2]);
    let every = EmbedAllRequest { inputs: "a text".to_owned(), ..EmbedAllRequest::default() };
    let rows = client.embed_all(every).await.unwrap().into_inner().token_embeddings;
    assert_eq!(rows[0].embeddings, [score_of("a text"), -1.0]);

    let none = EmbedRequest { dimensions: Some(0), ..request };
    let error = client.embed(none).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "dimensions: should be positive"));
    drop(servers);
}

#[tokio::test]
async fn texts_are_ranked_best_first_with_their_texts_where_asked() {
    let (servers, _gateway, channel) = able(2).await;
    let mut client = RerankClient::new(channel);
    let all = texts(2, 40);
    let request =
        RerankRequest { query: "q".to_owned(), texts: all.clone(), return_text: true, ..RerankRequest::default() };
    let answer = client.rerank(request.clone()).await.unwrap().into_inner();
    assert_eq!(answer.ranks.len(), 40, "every text has its place");
    assert!(answer.ranks.is_sorted_by(|a, b| a.score >= b.score));
    for rank in &answer.ranks {
        assert_eq!(rank.text.as_deref(), Some(all[rank.index as usize].as_str()));
        assert_eq!(rank.score, score_of(&all[rank.index as usize]));
    }
    let plain = client.rerank(RerankRequest { return_text: false, ..request.clone() }).await.unwrap().into_inner();
    assert!(plain.ranks.iter().all(|rank| rank.text.is_none()));

    let messages: Vec<_> = all
        .iter()
        .map(|text| RerankStreamRequest { query: "q".to_owned(), text: text.clone(), ..Default::default() })
        .collect();
    let streamed = client.rerank_stream(tokio_stream::iter(messages)).await.unwrap().into_inner();
    let places = |ranks: &[sortie_proto::tei::Rank]| ranks.iter().map(|rank| rank.index).collect::<Vec<_>>();
    assert_eq!(places(&streamed.ranks), places(&answer.ranks));

    let error = client.rerank(RerankRequest { texts: vec![], ..request.clone() }).await.unwrap_err();
    assert_eq!(
        (error.code(), error.get_details_error_info().unwrap().reason.as_str()),
        (Code::InvalidArgument, "EMPTY_LIST")
    );
    for server in &servers {
        server.always(Reply::answer().item_error(0, "TOO_LONG", "the sequence has 900 tokens"));
    }
    let error = client.rerank(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().starts_with("texts["), "{error}");
}

#[tokio::test]
async fn labels_come_best_first_for_texts_and_pairs() {
    let (_servers, _gateway, channel) = able(1).await;
    let mut client = PredictClient::new(channel);
    let answer = client.predict(PredictRequest { inputs: "a text".to_owned(), ..Default::default() }).await.unwrap();
    let scores: Vec<_> = answer.into_inner().predictions.into_iter().map(|p| (p.label, p.score)).collect();
    let mut want = [("yes".to_owned(), score_of("a text")), ("no".to_owned(), -1.0)];
    want.sort_by(|a, b| b.1.total_cmp(&a.1));
    assert_eq!(scores, want);
    let pair = |inputs: &[&str]| PredictPairRequest {
        inputs: inputs.iter().map(|text| (*text).to_owned()).collect(),
        ..PredictPairRequest::default()
    };
    assert_eq!(client.predict_pair(pair(&["a", "b"])).await.unwrap().into_inner().predictions.len(), 2);
    let error = client.predict_pair(pair(&["a", "b", "c"])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let messages = tokio_stream::iter([pair(&["a", "b"]), pair(&["c", "d"])]);
    let mut answers = client.predict_pair_stream(messages).await.unwrap().into_inner();
    for _ in 0..2 {
        assert_eq!(answers.message().await.unwrap().unwrap().predictions.len(), 2);
    }
}

#[tokio::test]
async fn tokens_go_both_ways() {
    let (_servers, _gateway, channel) = able(1).await;
    let mut client = TokenizeClient::new(channel);
    let request = |prompt: Option<&str>| EncodeRequest {
        inputs: "a text".to_owned(),
        add_special_tokens: true,
        prompt_name: prompt.map(str::to_owned),
    };
    let token = client.tokenize(request(None)).await.unwrap().into_inner().tokens.remove(0);
    assert_eq!((token.text.as_str(), token.start, token.stop, token.special), ("a text", Some(0), Some(6), false));
    let token = client.tokenize(request(Some("query"))).await.unwrap().into_inner().tokens.remove(0);
    assert_eq!((token.text.as_str(), token.stop), ("query: a text", Some(13)));
    let error = client.tokenize(request(Some("nobody"))).await.unwrap_err();
    assert_eq!(error.get_details_error_info().unwrap().reason, "UNKNOWN_PROMPT");
    let text = client.decode(DecodeRequest { ids: vec![7, 8], skip_special_tokens: true }).await.unwrap();
    assert_eq!(text.into_inner().text, "[7, 8]");
}

#[tokio::test]
async fn a_fleet_of_several_models_wants_a_name_and_takes_it_from_the_metadata() {
    let servers = fleet(2).await;
    servers[0].model(|model| model.name = "other".to_owned());
    let (gateway, mut stub) = Running::ready(config(&servers)).await;
    crate::support::until(async || {
        stub.list_models(v1::ListModelsRequest {}).await.unwrap().get_ref().models.len() == 2
    })
    .await;
    let mut client = InfoClient::new(gateway.channel().await);
    let error = client.info(InfoRequest {}).await.unwrap_err();
    assert_eq!(error.get_details_error_info().unwrap().reason, "MODEL_NOT_NAMED");
    let mut request = Request::new(InfoRequest {});
    request.metadata_mut().insert("sortie-model", "other".parse().unwrap());
    assert_eq!(client.info(request).await.unwrap().into_inner().model_id, "other");
}

#[tokio::test]
async fn keys_deadlines_and_going_away_are_those_of_any_call() {
    let servers = fleet(1).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    std::fs::write(&path, "team-a:0123456789abcdef\n").unwrap();
    let mut config = config(&servers);
    config.frontend.api_keys = Some(path);
    let gateway = Running::start(config).await;
    let mut client = EmbedClient::new(gateway.channel().await);
    assert_eq!(client.embed(embed()).await.unwrap_err().code(), Code::Unauthenticated);
    crate::support::until(async || client.embed(with_key()).await.is_ok()).await;
    assert_eq!(servers[0].calls()[0].tenant, "team-a");

    let gate = Gate::new();
    servers[0].always(Reply::answer().gated(&gate));
    let mut request = with_key();
    request.set_timeout(Duration::from_secs(2));
    assert_eq!(client.embed(request).await.unwrap_err().code(), Code::DeadlineExceeded);
    gate.dropped(1).await;
    let mut other = client.clone();
    let call = tokio::spawn(async move { other.embed(with_key()).await });
    gate.entered(2).await;
    call.abort();
    gate.dropped(2).await;
}

fn embed() -> Request<EmbedRequest> {
    let left = TruncationDirection::Left.into();
    Request::new(EmbedRequest { inputs: "a text".to_owned(), truncation_direction: left, ..EmbedRequest::default() })
}

fn with_key() -> Request<EmbedRequest> {
    let mut request = embed();
    request.metadata_mut().insert("authorization", "Bearer 0123456789abcdef".parse().unwrap());
    request
}

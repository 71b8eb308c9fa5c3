//! A gateway before real servers answers as one of them does, message by message.

use std::net::SocketAddr;

use sortie_gateway::GatewayConfig;
use sortie_proto::v1::{self, Input, TextOptions, Truncation, TruncationSide, VectorFormat, WindowScore, Windows};
use sortie_server::ServerConfig;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::support::{Client, Running, config, ids, pair, text};

const MODELS: [&str; 4] = ["bert-rerank", "bert-base", "bert-classify3", "bert-tokens5"];

/// Batches differ from chunk to chunk, and with them the last bits of a sum.
const TOLERANCE: f32 = 1e-4;

/// Items that a server of the fleet takes at once, so that the gateway must cut what the other one takes whole.
const FEW: u32 = 16;

/// A server that is asked directly, and a gateway to two more of the same models.
struct Fleet {
    _servers: [Running; 3],
    direct: Client,
    through: Client,
    gateway: JoinHandle<()>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.gateway.abort();
    }
}

async fn fleet() -> Fleet {
    let few = || ServerConfig { max_items: FEW, ..config(&MODELS) };
    let servers = [Running::start(config(&MODELS)).await, Running::start(few()).await, Running::start(few()).await];
    let endpoint = servers[1..].iter().map(|server| format!("http://{}", server.address)).collect();
    // Nothing is late on a busy machine where nothing is hedged.
    let config = GatewayConfig { endpoint, hedging: false, ..GatewayConfig::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let gateway = tokio::spawn(async move {
        sortie_gateway::serve(listener, config, std::future::pending()).await.unwrap();
    });
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut through = Client::new(channel);
    while through.list_models(v1::ListModelsRequest {}).await.unwrap().get_ref().models.len() < MODELS.len() {
        tokio::task::yield_now().await;
    }
    Fleet { direct: servers[0].client().await, _servers: servers, through, gateway }
}

fn close(one: &[f32], two: &[f32]) {
    assert_eq!(one.len(), two.len());
    for (a, b) in one.iter().zip(two) {
        assert!((a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE, "{a} and {b}");
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|number| f32::from_le_bytes(number.try_into().unwrap())).collect()
}

fn same_facts(one: Option<&v1::ChunkInfo>, two: Option<&v1::ChunkInfo>) {
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((&one.model, &one.model_revision), (&two.model, &two.model_revision));
    assert_eq!(one.tokens, two.tokens);
}

/// Documents of many lengths, one of them too long for any model here.
fn documents() -> Vec<Input> {
    let mut all: Vec<Input> = (0..60).map(|i| text(format!("number {i} {}", "more words ".repeat(i % 13)))).collect();
    all.push(text("very long ".repeat(400)));
    all.push(ids(&[7, 8, 9], &[]));
    all.push(text(""));
    all
}

fn cut(truncation: Truncation) -> Option<TextOptions> {
    Some(TextOptions { truncation: truncation.into(), ..TextOptions::default() })
}

#[tokio::test]
async fn rerank_is_that_of_one_server() {
    let mut fleet = fleet().await;
    let base = v1::RerankRequest {
        model: "bert-rerank".to_owned(),
        query: Some(text("which number")),
        documents: documents(),
        ..v1::RerankRequest::default()
    };
    let left = Some(TextOptions { truncation_side: TruncationSide::Left.into(), ..TextOptions::default() });
    let short = Some(TextOptions { max_length: 24, ..TextOptions::default() });
    let windows = Some(Windows { stride: 4, score: WindowScore::Max.into() });
    for message in [
        base.clone(),
        v1::RerankRequest { top_n: 5, activation: v1::Activation::Sigmoid.into(), ..base.clone() },
        v1::RerankRequest { options: left, ..base.clone() },
        v1::RerankRequest { options: short, ..base.clone() },
        v1::RerankRequest { options: cut(Truncation::LongestFirst), ..base.clone() },
        v1::RerankRequest { options: cut(Truncation::Error), ..base.clone() },
        v1::RerankRequest { windows, ..base.clone() },
    ] {
        let one = fleet.direct.rerank(message.clone()).await.unwrap().into_inner();
        let two = fleet.through.rerank(message).await.unwrap().into_inner();
        close(&one.scores, &two.scores);
        assert_eq!(
            (one.order.len(), one.scoring, one.query_truncated),
            (two.order.len(), two.scoring, two.query_truncated)
        );
        assert_eq!(one.items, two.items);
        same_facts(one.chunk.as_ref(), two.chunk.as_ref());
    }
}

#[tokio::test]
async fn vectors_are_those_of_one_server_in_every_format() {
    let mut fleet = fleet().await;
    let base = v1::EmbedRequest { model: "bert-base".to_owned(), inputs: documents(), ..v1::EmbedRequest::default() };
    let fewer = v1::EmbedRequest { dimensions: 8, normalize: Some(true), ..base.clone() };
    for message in [base.clone(), fewer, v1::EmbedRequest { options: cut(Truncation::Error), ..base.clone() }] {
        let one = fleet.direct.embed(message.clone()).await.unwrap().into_inner();
        let two = fleet.through.embed(message).await.unwrap().into_inner();
        close(&floats(&one.vectors), &floats(&two.vectors));
        assert_eq!((one.dimensions, one.format, one.items), (two.dimensions, two.format, two.items));
        same_facts(one.chunk.as_ref(), two.chunk.as_ref());
    }
    let ranges = |dimensions| v1::Ranges { starts: vec![-1.0; dimensions], ends: vec![1.0; dimensions] };
    for (format, given) in [
        (VectorFormat::F16, None),
        (VectorFormat::Binary, None),
        (VectorFormat::Ubinary, None),
        // Without ranges they are those of all vectors together.
        (VectorFormat::Int8, None),
        (VectorFormat::Uint8, None),
        (VectorFormat::Int8, Some(8)),
    ] {
        let dimensions = given.unwrap_or_default();
        let mut message = v1::EmbedRequest {
            format: format.into(),
            dimensions: dimensions as u32,
            ranges: given.map(ranges),
            options: cut(Truncation::Error),
            ..base.clone()
        };
        if given.is_none() && matches!(format, VectorFormat::Int8 | VectorFormat::Uint8) {
            let error = fleet.through.embed(message.clone()).await.unwrap_err();
            assert_eq!(error.get_details_error_info().unwrap().reason, "JOB_TOO_LARGE");
            message.inputs.truncate(FEW as usize);
        }
        let one = fleet.direct.embed(message.clone()).await.unwrap().into_inner();
        let two = fleet.through.embed(message).await.unwrap().into_inner();
        assert_eq!((one.vectors.len(), one.format, &one.items), (two.vectors.len(), two.format, &two.items));
        let differ = one.vectors.iter().zip(two.vectors.iter()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
        // A sum's last bit may tip a byte or a bit; ranges of other vectors would tip most.
        assert!(differ * 50 <= one.vectors.len(), "{format:?}: {differ} of {}", one.vectors.len());
        let bounds = |answer: v1::Ranges| [answer.starts, answer.ends].concat();
        close(&one.ranges.map(bounds).unwrap_or_default(), &two.ranges.map(bounds).unwrap_or_default());
    }
}

#[tokio::test]
async fn the_other_calls_are_those_of_one_server() {
    let mut fleet = fleet().await;
    let model = |name: &str| name.to_owned();
    let inputs = documents();

    let message = v1::ClassifyRequest { model: model("bert-classify3"), inputs: inputs.clone(), ..Default::default() };
    let one = fleet.direct.classify(message.clone()).await.unwrap().into_inner();
    let two = fleet.through.classify(message).await.unwrap().into_inner();
    close(&one.scores, &two.scores);
    assert_eq!((one.labels, one.activation, one.items), (two.labels, two.activation, two.items));

    let tag = v1::TagTokensRequest { model: model("bert-tokens5"), inputs: inputs.clone(), ..Default::default() };
    let message = v1::TagTokensRequest { per_token_scores: true, ..tag };
    let one = fleet.direct.tag_tokens(message.clone()).await.unwrap().into_inner();
    let two = fleet.through.tag_tokens(message).await.unwrap().into_inner();
    assert_eq!((one.labels, one.items, one.texts.len()), (two.labels, two.items, two.texts.len()));
    for (one, two) in one.texts.iter().zip(&two.texts) {
        close(&one.token_scores, &two.token_scores);
    }

    let source = Some(text("a source"));
    let message =
        v1::SimilarityRequest { model: model("bert-base"), source, texts: inputs.clone(), ..Default::default() };
    let one = fleet.direct.similarity(message.clone()).await.unwrap().into_inner();
    let two = fleet.through.similarity(message).await.unwrap().into_inner();
    close(&one.scores, &two.scores);
    assert_eq!(one.items, two.items);

    let message = v1::EmbedTokensRequest {
        model: model("bert-base"),
        inputs: inputs.clone(),
        with_places: true,
        ..Default::default()
    };
    let one = fleet.direct.embed_tokens(message.clone()).await.unwrap().into_inner();
    let two = fleet.through.embed_tokens(message).await.unwrap().into_inner();
    assert_eq!((one.dimensions, one.format, one.items), (two.dimensions, two.format, two.items));
    for (one, two) in one.matrices.iter().zip(&two.matrices) {
        assert_eq!((one.rows, &one.tokens), (two.rows, &two.tokens));
        close(&floats(&one.vectors), &floats(&two.vectors));
    }

    let mut texts = inputs;
    texts.push(pair("one", "two"));
    let message = v1::TokenizeRequest { model: model("bert-base"), inputs: texts, ..Default::default() };
    let one = fleet.direct.tokenize(message.clone()).await.unwrap().into_inner();
    assert_eq!(one, fleet.through.tokenize(message).await.unwrap().into_inner());
    let sequences = one.inputs.iter().map(|tokens| ids(&tokens.ids, &[])).collect();
    let message = v1::DetokenizeRequest { model: model("bert-base"), inputs: sequences, skip_special_tokens: true };
    let one = fleet.direct.detokenize(message.clone()).await.unwrap().into_inner();
    assert_eq!(one, fleet.through.detokenize(message).await.unwrap().into_inner());
}

/// What a caller is told, but for the trailers of load.
fn told(status: Status) -> (tonic::Code, String, String, Vec<(String, String)>, Option<String>) {
    let details = status.get_error_details();
    let info = details.error_info().cloned().unwrap();
    let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let fields = fields.into_iter().map(|violation| (violation.field, violation.description)).collect();
    let pushback = status.metadata().get(sortie_proto::metadata::PUSHBACK);
    let pushback = pushback.map(|value| value.to_str().unwrap().to_owned());
    let mut facts: Vec<_> = info.metadata.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    facts.sort();
    (
        status.code(),
        format!("{} {} {}", info.domain, info.reason, facts.join(" ")),
        status.message().to_owned(),
        fields,
        pushback,
    )
}

#[tokio::test]
async fn refusals_are_those_of_one_server() {
    let mut fleet = fleet().await;
    let base = v1::RerankRequest {
        model: "bert-rerank".to_owned(),
        query: Some(text("which number")),
        documents: documents(),
        ..v1::RerankRequest::default()
    };
    let options = |options| Some(TextOptions { ..options });
    let two_prompts = TextOptions { prompt: "a".to_owned(), prompt_name: "b".to_owned(), ..TextOptions::default() };
    for message in [
        v1::RerankRequest { documents: vec![], ..base.clone() },
        v1::RerankRequest { query: None, ..base.clone() },
        v1::RerankRequest { query: Some(text("")), ..base.clone() },
        v1::RerankRequest { query: Some(pair("a", "b")), ..base.clone() },
        v1::RerankRequest { query: Some(text("too long ".repeat(900))), ..base.clone() },
        v1::RerankRequest { activation: 77, ..base.clone() },
        v1::RerankRequest { model: "nobody".to_owned(), ..base.clone() },
        v1::RerankRequest { model: String::new(), ..base.clone() },
        v1::RerankRequest { model: "bert-tokens5".to_owned(), ..base.clone() },
        v1::RerankRequest { options: options(two_prompts), ..base.clone() },
        v1::RerankRequest {
            options: options(TextOptions { prompt_name: "none".to_owned(), ..TextOptions::default() }),
            ..base.clone()
        },
        v1::RerankRequest { options: options(TextOptions { max_length: 1, ..TextOptions::default() }), ..base.clone() },
        v1::RerankRequest { options: options(TextOptions { truncation: 9, ..TextOptions::default() }), ..base.clone() },
        v1::RerankRequest { windows: Some(Windows { stride: 100_000, score: 0 }), ..base.clone() },
    ] {
        let one = told(fleet.direct.rerank(message.clone()).await.unwrap_err());
        let two = told(fleet.through.rerank(message).await.unwrap_err());
        assert_eq!(one, two);
    }
    let embed = v1::EmbedRequest { model: "bert-base".to_owned(), inputs: documents(), ..Default::default() };
    for message in [
        v1::EmbedRequest { dimensions: 9_999, ..embed.clone() },
        v1::EmbedRequest { format: 44, ..embed.clone() },
        v1::EmbedRequest { pooling: 55, ..embed.clone() },
        v1::EmbedRequest {
            ranges: Some(v1::Ranges { starts: vec![0.0], ends: vec![1.0] }),
            format: VectorFormat::Int8.into(),
            ..embed.clone()
        },
        v1::EmbedRequest { windows: Some(Windows { stride: 2, score: WindowScore::Max.into() }), ..embed.clone() },
        v1::EmbedRequest { inputs: vec![text("a"), Input { kind: None }], ..embed.clone() },
    ] {
        let one = told(fleet.direct.embed(message.clone()).await.unwrap_err());
        let two = told(fleet.through.embed(message).await.unwrap_err());
        assert_eq!(one, two);
    }
}

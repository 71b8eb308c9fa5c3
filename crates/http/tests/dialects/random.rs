//! No body makes a route panic or blame itself.

use proptest::prelude::*;
use serde_json::{Map, Value};
use sortie_proto::v1::Task;

use crate::{app, fake::Fake, post_request, send};

/// Names that some route reads.
const FIELDS: [&str; 40] = [
    "query",
    "texts",
    "documents",
    "inputs",
    "input",
    "model",
    "top_n",
    "return_text",
    "return_documents",
    "raw_scores",
    "truncate",
    "truncation_direction",
    "truncation_side",
    "truncate_prompt_tokens",
    "max_tokens_per_doc",
    "max_tokens_per_query",
    "max_chunks_per_doc",
    "rank_fields",
    "dimensions",
    "encoding_format",
    "input_type",
    "prompt_name",
    "normalize",
    "text_1",
    "text_2",
    "queries",
    "items",
    "data_1",
    "data_2",
    "ids",
    "instances",
    "parameters",
    "source_sentence",
    "sentences",
    "embedding_types",
    "output_dimension",
    "max_tokens",
    "text",
    "config",
    "use_activation",
];

const PATHS: [&str; 19] = [
    "/rerank",
    "/v2/rerank",
    "/v1/embeddings",
    "/v1/embed",
    "/v2/embed",
    "/score",
    "/classify",
    "/embed",
    "/embed_all",
    "/embed_sparse",
    "/predict",
    "/tag",
    "/similarity",
    "/tokenize",
    "/decode",
    "/",
    "/vertex",
    "/weaviate/rerank",
    "/weaviate/vectors",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("rerank".to_owned()),
        Just("embed".to_owned()),
        Just("classify".to_owned()),
        Just("left".to_owned()),
        Just("END".to_owned()),
        Just("ubinary".to_owned()),
        "\\PC{0,12}",
        "[a-z ]{0,200}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3i64..300).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::String),
        prop::collection::vec(word(), 0..4).prop_map(Value::from),
        prop::collection::vec(0u32..2_000, 0..4).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array), object(inner),]
    })
}

fn object(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let field = prop::sample::select(FIELDS.as_slice()).prop_map(str::to_owned);
    let entries = prop::collection::vec((field, inner), 0..6);
    entries.prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
}

fn asked(path: &str, body: Vec<u8>) -> (u16, Value) {
    let tasks = [Task::Rerank, Task::Classify, Task::Embed, Task::EmbedSparse, Task::LateInteraction];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = send(&app(&Fake::of(&tasks)), post_request(path, body)).await;
        (answer.status.as_u16(), answer.body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn no_json_is_answered_with_a_fault_of_ours(path in prop::sample::select(PATHS.as_slice()), body in object(value())) {
        let (status, answer) = asked(path, body.to_string().into_bytes());
        prop_assert!(status < 500, "{path} {body}: {status} {answer}");
        // A refusal is JSON that says something.
        prop_assert!(status == 200 || answer.is_object(), "{path} {body}: {status} {answer}");
    }

    #[test]
    fn no_bytes_are_answered_with_a_fault_of_ours(path in prop::sample::select(PATHS.as_slice()), body in prop::collection::vec(any::<u8>(), 0..64)) {
        let (status, _) = asked(path, body);
        prop_assert!((400..500).contains(&status), "{path}: {status}");
    }
}

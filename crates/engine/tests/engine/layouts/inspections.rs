//! What an inspection says of a folder is what would be served, and nothing that a reader could take for something else.

use std::path::Path;

use sortie_engine::{Activation, Inspection};

use super::look;
use crate::support::{assemble, edit};

fn of(name: &str) -> Inspection {
    look(assemble(name).path()).unwrap()
}

/// The folder `name` with one text of one file replaced.
fn edited(name: &str, file: &str, from: &str, to: &str) -> Inspection {
    let folder = assemble(name);
    edit(&folder.path().join(file), from, to);
    look(folder.path()).unwrap()
}

fn has_step(seen: &Inspection, step: &str) {
    assert!(seen.routes.iter().any(|route| route.steps.iter().any(|s| s == step)), "{step}: {:?}", seen.routes);
}

#[test]
fn a_head_is_named_where_nothing_is_pooled() {
    for (name, step) in [
        ("bert-rerank", "head: BertForSequenceClassification, 1 logit a text, from its first token"),
        ("bert-classify3", "head: BertForSequenceClassification, 3 logits a text, from its first token"),
        ("bert-tokens5", "head: BertForTokenClassification, 5 logits a token"),
    ] {
        assert_eq!(of(name).routes[0].steps, [step], "{name}");
    }
    let sparse = of("mlm-plain");
    assert_eq!(
        sparse.routes[0].steps,
        [
            "head: BertForMaskedLM, a logit a token for each entry of the vocabulary",
            "max over the tokens of ln(1 + relu(x)) (the library's default)"
        ]
    );
    assert_eq!(sparse.dimensions, Some(300), "a weight for each entry of the vocabulary");
    assert_eq!(of("bert-base").routes[0].steps, ["pool: mean"]);
}

#[test]
fn a_dense_layer_is_said_with_its_residual_and_its_activation() {
    has_step(&of("residual"), "dense: 64 to 64, Tanh, plus its input");
}

#[test]
fn activations_are_those_of_the_rpcs_and_the_model_s_own_apart() {
    let defaults = |seen: &Inspection| -> Vec<(&str, Activation)> {
        seen.default_activation.iter().map(|own| (own.rpc, own.activation)).collect()
    };
    let own = |seen: &Inspection| seen.model_activation.as_ref().unwrap().activation;
    let rerank = of("bert-rerank");
    assert_eq!(defaults(&rerank), [("Rerank", Activation::Raw), ("Classify", Activation::Raw)]);
    assert_eq!((own(&rerank), rerank.problem_type), (Some(Activation::Sigmoid), None));
    let several = of("bert-classify3");
    assert_eq!((defaults(&several), own(&several)), (vec![("Classify", Activation::Softmax)], Some(Activation::Raw)));
    assert_eq!(several.problem_type, Some("single_label_classification"));
    let multi = of("bert-multilabel4");
    assert_eq!((defaults(&multi), own(&multi)), (vec![("Classify", Activation::Sigmoid)], Some(Activation::Raw)));
    let regression = of("regression");
    assert_eq!(defaults(&regression), [("Classify", Activation::Raw)]);
    assert_eq!(regression.default_activation[0].why, "problem_type is regression");
}

#[test]
fn a_similarity_is_what_is_computed_or_says_what_is() {
    let said = |seen: &Inspection| seen.similarity.as_ref().map(|s| (s.name.clone(), s.source));
    let euclidean = edited("static-st", "config_sentence_transformers.json", "\"cosine\"", "\"euclidean\"");
    assert_eq!(said(&euclidean), Some(("euclidean".into(), "named by the folder; Similarity and Rerank give cosine")));
    assert_eq!(said(&of("bert-base")), Some(("cosine".into(), "the library's default")));
    assert_eq!(of("mlm-plain").similarity.unwrap().name, "dot");
    assert_eq!(said(&of("pylate")), Some(("maxsim".into(), "named by the folder")));
    let scores = of("ce-dense");
    assert!(scores.similarity.is_none());
    assert!(scores.ignored.iter().any(|note| note.key == "similarity_fn_name"), "{:?}", scores.ignored);
}

#[test]
fn keys_that_are_not_obeyed_have_a_reason_of_their_own() {
    let file = "tokenizer_config.json";
    let why = |with: &str| {
        let to = format!("{with}, \"clean_up_tokenization_spaces\"");
        let seen = edited("regression", file, "\"clean_up_tokenization_spaces\"", &to);
        seen.ignored.iter().map(|note| (note.key.clone(), note.why)).collect::<Vec<_>>()
    };
    let cleans = ("clean_up_tokenization_spaces".to_owned(), "changes decoding only");
    assert_eq!(why("\"padding_side\": \"left\""), [cleans.clone(), ("padding_side".into(), "nothing is padded here")]);
    assert_eq!(why("\"foo\": 1"), [cleans.clone(), ("foo".into(), "not known here")]);
    assert_eq!(why("\"foo\": null"), [cleans], "a null says nothing");
}

#[test]
fn each_route_has_its_length_its_tokenizer_and_its_steps() {
    let router = of("router");
    let (query, document) = (&router.routes[0], &router.routes[1]);
    assert_eq!((query.roles.as_slice(), query.input), (&["query"][..], "sparse static"));
    assert_eq!(query.steps, ["no special tokens", "the stored weight of each distinct token"]);
    assert_eq!((query.max_length, document.max_length), (None, Some(192)));
    assert_eq!(query.tokenizer, Path::new("query_0_SparseStaticEmbedding").join("tokenizer.json").to_str().unwrap());
    assert_eq!((document.roles.as_slice(), document.tokenizer.as_str()), (&["none", "document"][..], "tokenizer.json"));
    let table = of("static-st");
    assert_eq!(table.routes[0].steps, ["no special tokens", "mean of the rows of its tokens", "to length 1"]);
    assert_eq!((table.max_length, table.max_length_source.as_str()), (None, "the server's cap is 1048576"));
}

#[test]
fn late_interaction_says_its_lengths_its_filler_and_its_skip_words() {
    let pylate = of("pylate");
    assert_eq!((pylate.query_length, pylate.document_length, pylate.dimensions), (Some(12), Some(40), Some(16)));
    has_step(
        &pylate,
        "no vector in texts of role document, none: ! , . [UNK]; \
         29 of 32 skip words are not in the vocabulary, which PyLate takes for the unknown token",
    );
    let late = pylate.late_interaction.unwrap();
    assert_eq!(late.markers.unwrap(), ["[Q] ", "[D] "]);
    assert_eq!(late.query_expansion.unwrap(), "exactly 12 tokens, filled up with [MASK], not attended to");
    assert_eq!(of("bert-mve-expand").query_length, Some(16));
    assert_eq!(of("bert-mve-expand-attend").query_length, Some(12));
    has_step(&of("bert-mve-plain"), "no vector in texts of role document, none: w20 w21");
    let unknown = edited("bert-mve-plain", "2_MultiVectorMask/config.json", "\"w21\"", "\"zebra\"");
    has_step(
        &unknown,
        "no vector in texts of role document, none: w20; 1 of 2 skip words are not in the vocabulary, which are none",
    );
}

#[test]
fn prompts_and_roles_are_said() {
    let prompted = of("include-prompt");
    assert_eq!(prompted.prompt_by_role.get("query").map(String::as_str), Some("w10 w11 w12 "));
    assert_eq!(prompted.routes[0].steps, ["pool: mean, a prompt left out"]);
    assert!(prompted.ignored.iter().any(|note| note.key == "__version__"), "{:?}", prompted.ignored);
    assert!(!prompted.reads_roles && of("router").reads_roles);
    // It is written as it is said.
    let json = serde_json::to_value(&prompted).unwrap();
    assert_eq!((&json["engine"], &json["max_length"]), (&"native".into(), &192.into()));
    assert_eq!(json["max_length_source"], "positions of the model");
}

#[test]
fn a_file_that_is_no_json_says_so() {
    let folder = assemble("regression");
    std::fs::write(folder.path().join("config.json"), "model: bert").unwrap();
    let error = look(folder.path()).unwrap_err();
    assert!(error.contains("config.json") && error.contains("not JSON"), "{error}");
}

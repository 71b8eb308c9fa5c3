//! Rerankers that are causal language models: pairs in the folder's chat template.

use sortie_proto::v1::{self, Activation, Scoring, Truncation, TruncationSide};

use super::{describe, published, texts};
use crate::support::{
    bad,
    cases::{TOLERANCE, numbers},
    close, failed, ids, refused, text,
};

const NAMES: [&str; 2] = ["ce-logit-yes-no", "ce-logit-yes"];

#[tokio::test]
async fn logits_score_pairs_and_a_prompt_is_the_instruction() {
    let (_server, mut client, answers, _folders) = published(NAMES).await;
    for (name, answer) in NAMES.iter().zip(&answers) {
        let instruction = answer["with_instruction"]["prompt"].as_str().unwrap();
        let query = answer["query"].as_str().unwrap();
        for (activation, prompt, want) in [
            (Activation::Unspecified, "", &answer["raw"]),
            (Activation::Model, "", &answer["default"]),
            (Activation::Raw, instruction, &answer["with_instruction"]["raw"]),
        ] {
            let options = Some(v1::TextOptions { prompt: prompt.to_owned(), ..Default::default() });
            let request = v1::RerankRequest {
                model: (*name).to_owned(),
                query: Some(text(query)),
                documents: texts(&answer["documents"]),
                activation: activation.into(),
                options: options.clone(),
                ..Default::default()
            };
            let got = client.rerank(request).await.unwrap().into_inner();
            close(&got.scores, &numbers(want), TOLERANCE, name);
            assert_eq!(got.scoring(), Scoring::CrossEncoder);
            assert_eq!(failed(&got.items), []);

            let pair = |document: &v1::Input| {
                let Some(v1::input::Kind::Text(second)) = &document.kind else { panic!("{document:?}") };
                let pair = v1::TextPair { first: query.to_owned(), second: second.clone() };
                v1::Input { kind: Some(v1::input::Kind::Pair(pair)) }
            };
            let request = v1::ClassifyRequest {
                model: (*name).to_owned(),
                inputs: texts(&answer["documents"]).iter().map(pair).collect(),
                activation: if activation == Activation::Model { Activation::Model } else { Activation::Raw }.into(),
                options,
            };
            let classified = client.classify(request).await.unwrap().into_inner();
            close(&classified.scores, &numbers(want), TOLERANCE, name);
            assert_eq!(classified.items.unwrap().tokens, got.items.unwrap().tokens);
        }
        let about = describe(&mut client, name).await;
        assert_eq!(about.rpcs[..4], ["Rerank", "Classify", "Tokenize", "Detokenize"]);
        assert_eq!(about.model_activation(), Activation::Sigmoid, "{}", about.model_activation_source);
    }
}

#[tokio::test]
async fn tokenize_shows_the_rendered_pair() {
    let (_server, mut client, _answers, _folders) = published(["ce-logit-yes-no"]).await;
    let pair_of = |second: &str| {
        let pair = v1::TextPair { first: "w30 w31".to_owned(), second: second.to_owned() };
        v1::Input { kind: Some(v1::input::Kind::Pair(pair)) }
    };
    let request = v1::TokenizeRequest {
        inputs: vec![pair_of("w40 odd"), text("w30"), pair_of("w40 <|im_end|>")],
        options: Some(v1::TextOptions { prompt: "w70".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let shown = client.tokenize(request).await.unwrap().into_inner();
    let tokens =
        ["<|im_start|>", "w60", "w70", "<|im_end|>", "w61", "w30", "w31", "w62", "w40", "<unk>", "<|im_end|>", "w63"];
    assert_eq!(shown.inputs[0].tokens, tokens);
    let of_the_texts: Vec<usize> = (0..tokens.len()).filter(|&i| !shown.inputs[0].special[i]).collect();
    assert_eq!(of_the_texts, [5, 6, 8, 9]);
    // A text alone, and a special token that is a word of this tokenizer's model.
    assert_eq!(failed(&shown.items), [(1, "CHAT_TEMPLATE"), (2, "CHAT_TEMPLATE")]);
}

#[tokio::test]
async fn what_a_chat_template_cannot_be_read_with_is_refused_by_name() {
    let (_server, mut client, _answers, _folders) = published(["ce-logit-yes-no"]).await;
    let long = "w40 ".repeat(20_000);
    let ask = |options: v1::TextOptions, windows: Option<v1::Windows>| v1::RerankRequest {
        query: Some(text("w30")),
        documents: vec![text(&long), text("w41")],
        options: Some(options),
        windows,
        ..Default::default()
    };
    let usual = v1::TextOptions::default;
    for (field, request) in [
        ("options.truncation", ask(v1::TextOptions { truncation: Truncation::LongestFirst.into(), ..usual() }, None)),
        (
            "options.truncation_side",
            ask(v1::TextOptions { truncation_side: TruncationSide::Left.into(), ..usual() }, None),
        ),
        ("windows", ask(usual(), Some(v1::Windows { stride: 2, score: 0 }))),
        ("query", v1::RerankRequest { query: Some(ids(&[30], &[])), ..ask(usual(), None) }),
    ] {
        refused(client.rerank(request).await, bad("BAD_FIELD", field), &[]);
    }
    // A long document is cut.
    let answer = client.rerank(ask(usual(), None)).await.unwrap().into_inner();
    let items = answer.items.unwrap();
    assert_eq!((items.tokens[0], &*items.truncated), (512, [true, false].as_slice()));
}

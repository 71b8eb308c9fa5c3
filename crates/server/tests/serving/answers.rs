//! Every RPC gives the reference's numbers, in request order, with its facts.

use crate::support::{
    cases::{TOLERANCE, cases, f32s, inputs, numbers, tokens_of, twice},
    close, failed, folder, ids, report, serve, serve_with, spec, text,
};
use sortie_proto::v1::{self, Activation, Aggregation, Scoring, Truncation, VectorFormat};

#[tokio::test]
async fn classify_gives_raw_logits_of_one_label_heads() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let cases = cases("bert-rerank");
    let request = v1::ClassifyRequest { inputs: inputs(&cases), ..Default::default() };
    let answer = client.classify(request).await.unwrap().into_inner();
    close(&answer.scores, &twice(&cases, "logits"), TOLERANCE, "scores");
    assert_eq!((&answer.labels[..], answer.activation()), (&["LABEL_0".to_owned()][..], Activation::Raw));
    let items = answer.items.unwrap();
    assert_eq!((items.tokens, items.errors.len()), (tokens_of(&cases), 0));
}

#[tokio::test]
async fn classify_applies_the_heads_own_activation() {
    let (_server, mut client) = serve(&["bert-classify3", "bert-multilabel4"]).await;
    for (model, own) in [("bert-classify3", Activation::Softmax), ("bert-multilabel4", Activation::Sigmoid)] {
        let cases = cases(model);
        let ask = |activation: Activation| v1::ClassifyRequest {
            model: model.to_owned(),
            inputs: inputs(&cases),
            activation: activation.into(),
            ..Default::default()
        };
        let raw = client.classify(ask(Activation::Raw)).await.unwrap().into_inner();
        close(&raw.scores, &twice(&cases, "logits"), TOLERANCE, model);
        let answer = client.classify(ask(Activation::Unspecified)).await.unwrap().into_inner();
        assert_eq!(answer.activation(), own, "{model}");
        let labels = answer.labels.len();
        for (row, logits) in answer.scores.chunks(labels).zip(raw.scores.chunks(labels)) {
            let sum: f32 = logits.iter().map(|x| x.exp()).sum();
            let want: Vec<f32> = logits
                .iter()
                .map(|x| if own == Activation::Softmax { x.exp() / sum } else { 1.0 / (1.0 + (-x).exp()) })
                .collect();
            close(row, &want, 1e-6, model);
        }
    }
}

#[tokio::test]
async fn rerank_scores_pairs_in_order_and_says_how() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    for case in cases("bert-rerank").into_iter().filter(|c| c.pair.is_some()) {
        let second = case.pair.unwrap();
        let request = v1::RerankRequest {
            query: Some(text(&case.text)),
            documents: vec![text("w5"), text(&second), text("w5")],
            top_n: 2,
            ..Default::default()
        };
        let answer = client.rerank(request).await.unwrap().into_inner();
        close(&answer.scores[1..2], &numbers(&case.all["logits"]), TOLERANCE, "score");
        assert_eq!(answer.scores[0].to_bits(), answer.scores[2].to_bits());
        assert_eq!(answer.scoring(), Scoring::CrossEncoder);
        let best = if answer.scores[1] > answer.scores[0] { [1, 0] } else { [0, 2] };
        assert_eq!(answer.order, best);
        let items = answer.items.unwrap();
        assert_eq!(items.tokens[1], case.ids.len() as u32);
        let chunk = answer.chunk.unwrap();
        assert_eq!((chunk.model.as_str(), chunk.replica.as_str()), ("bert-rerank", "r1"));
        assert_eq!(chunk.tokens, items.tokens.iter().map(|t| u64::from(*t)).sum::<u64>());
        assert!(!chunk.model_revision.is_empty() && chunk.total_us > 0 && chunk.compute_us > 0, "{chunk:?}");
        assert_eq!(chunk.batch_ms.len(), chunk.batch_tokens.len());
        assert!(!chunk.batch_ms.is_empty());
    }
}

#[tokio::test]
async fn rerank_takes_ids_without_specials_and_an_activation() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let ask = |query, document, activation: Activation| v1::RerankRequest {
        query: Some(query),
        documents: vec![document],
        activation: activation.into(),
        ..Default::default()
    };
    let texts = client.rerank(ask(text("w101"), text("w41"), Activation::Unspecified)).await.unwrap().into_inner();
    let pieces = ask(ids(&[101], &[]), ids(&[41], &[]), Activation::Sigmoid);
    let sigmoid = client.rerank(pieces).await.unwrap().into_inner();
    close(&sigmoid.scores, &[1.0 / (1.0 + (-texts.scores[0]).exp())], 1e-6, "sigmoid");
}

#[tokio::test]
async fn embed_pools_as_asked() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let cases = cases("bert-base");
    for (pooling, key) in [(v1::Pooling::Unspecified, "mean"), (v1::Pooling::Mean, "mean"), (v1::Pooling::Cls, "cls")] {
        let request = v1::EmbedRequest { inputs: inputs(&cases), pooling: pooling.into(), ..Default::default() };
        let answer = client.embed(request).await.unwrap().into_inner();
        assert_eq!((answer.dimensions, answer.format()), (64, VectorFormat::F32));
        close(&f32s(&answer.vectors), &twice(&cases, key), TOLERANCE, key);
        assert_eq!(answer.items.unwrap().tokens, tokens_of(&cases));
    }
}

#[tokio::test]
async fn embed_cuts_normalises_and_halves() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let ask = |dimensions, normalize, format: VectorFormat| v1::EmbedRequest {
        inputs: vec![text("w5 w6 w7")],
        dimensions,
        normalize,
        format: format.into(),
        ..Default::default()
    };
    let whole = client.embed(ask(0, None, VectorFormat::F32)).await.unwrap().into_inner();
    let whole = f32s(&whole.vectors);
    let cut = client.embed(ask(8, Some(true), VectorFormat::F32)).await.unwrap().into_inner();
    assert_eq!(cut.dimensions, 8);
    let length = whole[..8].iter().map(|x| x * x).sum::<f32>().sqrt();
    close(&f32s(&cut.vectors), &whole[..8].iter().map(|x| x / length).collect::<Vec<_>>(), 1e-6, "cut");
    let half = client.embed(ask(0, None, VectorFormat::F16)).await.unwrap().into_inner();
    assert_eq!((half.format(), half.vectors.len()), (VectorFormat::F16, 128));
    let back: Vec<f32> =
        half.vectors.chunks(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect();
    close(&back, &whole, 1e-3, "f16");
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn an_embedding_model_compares_by_cosine_and_says_so() {
    let (_server, mut client) = serve(&["bert-base"]).await;
    let texts = ["w5 w6 w7", "w8", "", "w9 w10"];
    let embed = v1::EmbedRequest { inputs: texts.iter().map(|t| text(*t)).collect(), ..Default::default() };
    let vectors = f32s(&client.embed(embed).await.unwrap().into_inner().vectors);
    let rows: Vec<&[f32]> = vectors.chunks(64).collect();
    let want: Vec<f32> = rows[1..].iter().map(|row| cosine(rows[0], row)).collect();
    let others: Vec<_> = texts[1..].iter().map(|t| text(*t)).collect();

    let similarity =
        v1::SimilarityRequest { source: Some(text(texts[0])), texts: others.clone(), ..Default::default() };
    let answer = client.similarity(similarity).await.unwrap().into_inner();
    close(&answer.scores, &want, 1e-5, "similarity");
    assert_eq!(answer.items.unwrap().tokens, [3, 2, 4], "the source is not counted");

    let rerank = v1::RerankRequest { query: Some(text(texts[0])), documents: others, top_n: 9, ..Default::default() };
    let answer = client.rerank(rerank).await.unwrap().into_inner();
    close(&answer.scores, &want, 1e-5, "rerank");
    assert_eq!((answer.scoring(), answer.order.len()), (Scoring::Cosine, 3));

    // Ids are pieces here: without special tokens.
    let pieces = vec![ids(&[8], &[]), ids(&[], &[]), ids(&[9, 10], &[])];
    let rerank = v1::RerankRequest { query: Some(ids(&[5, 6, 7], &[])), documents: pieces, ..Default::default() };
    let answer = client.rerank(rerank).await.unwrap().into_inner();
    close(&answer.scores, &want, 1e-5, "rerank of ids");
}

#[tokio::test]
async fn embed_sparse_lists_weights_by_ascending_id() {
    let (_dir, folder) = folder::sparse_model();
    let mut config = crate::support::config(&[]);
    config.models.push(spec("sparse", folder));
    let (_server, mut client) = serve_with(config).await;
    let ask = |top_k| v1::EmbedSparseRequest { inputs: vec![text("w5 w6"), text("w7")], top_k, ..Default::default() };
    let all = client.embed_sparse(ask(0)).await.unwrap().into_inner();
    assert_eq!((all.offsets.len(), all.offsets[0], *all.offsets.last().unwrap()), (3, 0, all.indices.len() as u32));
    for w in all.offsets.windows(2) {
        let (from, to) = (w[0] as usize, w[1] as usize);
        assert!(to > from, "an input without any weight: {:?}", all.offsets);
        assert!(all.indices[from..to].is_sorted() && all.weights[from..to].iter().all(|x| *x > 0.0));
    }
    let top = client.embed_sparse(ask(3)).await.unwrap().into_inner();
    assert_eq!(top.offsets, [0, 3, 6]);
    let heaviest = all.weights[..all.offsets[1] as usize].iter().copied().fold(0.0, f32::max);
    assert!(top.weights[..3].contains(&heaviest));
}

#[tokio::test]
async fn tag_tokens_gives_the_references_scores_and_offsets_of_the_text() {
    let (_server, mut client) = serve(&["bert-tokens5"]).await;
    let cases = cases("bert-tokens5");
    let request = v1::TagTokensRequest {
        inputs: inputs(&cases),
        aggregation: Aggregation::None.into(),
        per_token_scores: true,
        activation: Activation::Raw.into(),
        // No label of this model is `O`: each token makes a span.
        ..Default::default()
    };
    let answer = client.tag_tokens(request).await.unwrap().into_inner();
    let scores: Vec<f32> = answer.texts.iter().flat_map(|t| t.token_scores.clone()).collect();
    close(&scores, &twice(&cases, "logits"), TOLERANCE, "token scores");
    for (case, tagged) in cases.iter().zip(&answer.texts) {
        let words: Vec<&str> = tagged.spans.iter().map(|s| &case.text[s.start as usize..s.end as usize]).collect();
        assert_eq!(words, case.text.split_whitespace().collect::<Vec<_>>());
        for (i, span) in tagged.spans.iter().enumerate() {
            // The row after [CLS].
            let row = &tagged.token_scores[(i + 1) * 5..(i + 2) * 5];
            let best = row.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(
                (span.score, span.label.as_str()),
                (best, answer.labels[row.iter().position(|x| *x == best).unwrap()].as_str())
            );
        }
    }
    assert!(answer.texts[cases.len()..].iter().all(|t| t.spans.is_empty()), "ids give no spans");
}

#[tokio::test]
async fn tokenize_shows_what_the_model_reads() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let cases = cases("bert-rerank");
    let ask = |without_special_tokens| v1::TokenizeRequest {
        inputs: inputs(&cases)[..cases.len()].to_vec(),
        without_special_tokens,
        ..Default::default()
    };
    let answer = client.tokenize(ask(false)).await.unwrap().into_inner();
    for (case, got) in cases.iter().zip(&answer.inputs) {
        assert_eq!((&got.ids, &got.type_ids), (&case.ids, &case.type_ids));
        assert_eq!(
            (got.tokens.len(), got.starts.len(), got.special.len()),
            (got.ids.len(), got.ids.len(), got.ids.len())
        );
        assert!(got.special[0] && got.tokens[0] == "[CLS]");
    }
    let bare = client.tokenize(ask(true)).await.unwrap().into_inner();
    assert_eq!(bare.inputs[0].tokens, ["w236"]);
    assert_eq!((bare.inputs[0].starts[0], bare.inputs[0].ends[0]), (0, 4));
}

#[tokio::test]
async fn detokenize_gives_the_text_that_makes_the_same_ids() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let cases: Vec<_> = cases("bert-rerank").into_iter().filter(|case| case.pair.is_none()).collect();
    assert!(!cases.is_empty());
    let sequences: Vec<_> = cases.iter().map(|case| ids(&case.ids, &[])).collect();
    let ask = |inputs, skip_special_tokens| v1::DetokenizeRequest { inputs, skip_special_tokens, ..Default::default() };
    let kept = client.detokenize(ask(sequences.clone(), false)).await.unwrap().into_inner();
    assert!(kept.texts.iter().all(|text| text.starts_with("[CLS]") && text.contains("[SEP]")), "{:?}", kept.texts);
    let bare = client.detokenize(ask(sequences, true)).await.unwrap().into_inner();
    let inputs = bare.texts.iter().map(text).collect();
    let again = client.tokenize(v1::TokenizeRequest { inputs, ..Default::default() }).await.unwrap().into_inner();
    for ((case, again), bare) in cases.iter().zip(&again.inputs).zip(&bare.texts) {
        assert_eq!(again.ids, case.ids, "{bare:?} of {:?}", case.text);
    }

    let answer = client.detokenize(ask(vec![text("w1"), ids(&[5, 4_000_000_000], &[]), ids(&[], &[])], true)).await;
    let answer = answer.unwrap().into_inner();
    let facts = answer.items.unwrap();
    let errors: Vec<_> = facts.errors.iter().map(|e| (e.index, e.reason.as_str())).collect();
    assert_eq!(errors, [(0, "UNSUPPORTED_INPUT"), (1, "BAD_TOKEN_ID")]);
    assert_eq!((answer.texts, facts.tokens), (vec![String::new(); 3], vec![0; 3]));
}

#[tokio::test]
async fn models_are_described() {
    let (_server, mut client) = serve(&["bert-rerank", "bert-base", "bert-multilabel4", "bert-tokens5"]).await;
    let answer = client.list_models(v1::ListModelsRequest {}).await.unwrap().into_inner();
    let got: Vec<_> =
        answer.models.iter().map(|m| (m.name.as_str(), m.task(), m.rpcs[0].as_str(), m.dimensions)).collect();
    let want = [
        ("bert-base", v1::Task::Embed, "Embed", 64),
        ("bert-multilabel4", v1::Task::Classify, "Classify", 0),
        ("bert-rerank", v1::Task::Rerank, "Rerank", 0),
        ("bert-tokens5", v1::Task::Tag, "TagTokens", 0),
    ];
    assert_eq!(got, want);
    let one =
        client.get_model(v1::GetModelRequest { model: "bert-multilabel4".to_owned() }).await.unwrap().into_inner();
    let one = one.model.unwrap();
    assert_eq!(one, answer.models[1]);
    assert!(one.multi_label && one.labels.len() == 4 && one.max_length == 192 && one.vocab_size == 300);
    assert_eq!((one.engine.as_str(), one.model_type.as_str(), one.state()), ("native", "bert", v1::ModelState::Ready));
    assert_eq!(one.limits.unwrap().max_items, crate::support::config(&[]).max_items);
}

#[tokio::test]
async fn probe_and_trailers_tell_the_same_real_figures() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = v1::RerankRequest { query: Some(text("w5")), documents: vec![text("w6")], ..Default::default() };
    let answer = client.rerank(request).await.unwrap();
    let trailers = report(answer.metadata()).expect("a load report among the trailers");
    let probe = client.probe(v1::ProbeRequest::default()).await.unwrap();
    assert!(report(probe.metadata()).is_some());
    let probe = probe.into_inner();
    let told = probe.report.unwrap();
    assert_eq!((probe.replica.as_str(), told.state()), ("r1", v1::ModelState::Ready));
    assert_eq!(trailers.named_metrics["sortie.epoch"], told.epoch as f64);
    assert!(told.epoch > 0 && told.a_ms >= 0.0 && told.b_us > 0.0 && told.knee_tokens > 0, "{told:?}");
    assert!(trailers.application_utilization > 0.0, "a batch has just run");
    let limits = told.limits.unwrap();
    assert_eq!(trailers.named_metrics["sortie.max_items"], f64::from(limits.max_items));
}

#[tokio::test]
async fn truncation_cuts_the_document_and_is_told() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let long = "w7 ".repeat(500);
    let options = v1::TextOptions { max_length: 16, ..Default::default() };
    let request = v1::RerankRequest {
        query: Some(text("w5 w6")),
        documents: vec![text(&long), text("w7")],
        options: Some(options),
        ..Default::default()
    };
    let items = client.rerank(request).await.unwrap().into_inner().items.unwrap();
    assert_eq!((items.tokens, items.truncated), (vec![16, 6], vec![true, false]));

    // Longest first may cut the query too.
    let options = v1::TextOptions { max_length: 16, truncation: Truncation::LongestFirst.into(), ..Default::default() };
    let request = v1::RerankRequest {
        query: Some(text(&long)),
        documents: vec![text(&long)],
        options: Some(options),
        ..Default::default()
    };
    let items = client.rerank(request).await.unwrap().into_inner().items.unwrap();
    assert_eq!((items.tokens, items.truncated), (vec![16], vec![true]));
}

#[tokio::test]
async fn prompts_go_before_texts_by_name_or_in_full() {
    let (_dir, folder) = folder::copy("bert-base");
    let prompts = serde_json::json!({"prompts": {"query": "w5 w6 "}, "default_prompt_name": null});
    std::fs::write(folder.join("config_sentence_transformers.json"), prompts.to_string()).unwrap();
    let mut config = crate::support::config(&[]);
    config.models.push(spec("m", folder));
    let (_server, mut client) = serve_with(config).await;
    let mut embed = async |input: &str, name: &str, prompt: &str| {
        let options = v1::TextOptions { prompt_name: name.to_owned(), prompt: prompt.to_owned(), ..Default::default() };
        let request = v1::EmbedRequest { inputs: vec![text(input)], options: Some(options), ..Default::default() };
        client.embed(request).await.unwrap().into_inner().vectors
    };
    let whole = embed("w5 w6 w7", "", "").await;
    assert_eq!(embed("w7", "query", "").await, whole);
    assert_eq!(embed("w7", "", "w5 w6 ").await, whole);
    assert_ne!(embed("w7", "", "").await, whole);
}

#[tokio::test]
async fn odd_texts_are_valid() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let documents = ["", "\0", "\u{1}\u{7f}\u{2028}", "\u{feff}", "w5\0w6", "😀", " "].map(text).to_vec();
    let request = v1::RerankRequest { query: Some(text("w5")), documents, ..Default::default() };
    let answer = client.rerank(request).await.unwrap().into_inner();
    assert!(answer.scores.iter().all(|s| s.is_finite()), "{:?}", answer.scores);
    assert_eq!(failed(&answer.items), []);
}

#[tokio::test]
async fn the_job_id_comes_back() {
    let (_server, mut client) = serve(&["bert-rerank"]).await;
    let request = v1::RerankRequest { query: Some(text("w5")), documents: vec![text("w6")], ..Default::default() };
    let mut request = tonic::Request::new(request);
    request.metadata_mut().insert("sortie-job-id", "job-7".parse().unwrap());
    request.metadata_mut().insert("sortie-lane", "bulk".parse().unwrap());
    request.metadata_mut().insert("sortie-attempt", "2".parse().unwrap());
    let answer = client.rerank(request).await.unwrap().into_inner();
    assert_eq!(answer.chunk.unwrap().job_id, "job-7");
}

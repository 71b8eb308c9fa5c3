//! Late interaction: one vector a token, by PyLate and by sentence-transformers' `MultiVectorEncoder`.

use serde::Deserialize;
use sortie_engine::{EncodeOptions, LateSimilarity, Output, Role, Task, TokenVectors, Want, late_similarity};

use super::{CLOSE, expected, open, run};
use crate::support::{assemble, close};

#[derive(Deserialize)]
struct Late {
    queries: Vec<String>,
    documents: Vec<String>,
    query_vectors: Vec<Vec<Vec<f32>>>,
    document_vectors: Vec<Vec<Vec<f32>>>,
    maxsim: Vec<Vec<f32>>,
}

fn rows(vectors: &TokenVectors) -> Vec<Vec<f32>> {
    vectors.rows().map(<[f32]>::to_vec).collect()
}

pub(super) fn late(name: &str) {
    late_as(name, "expected.json");
}

/// The answers of the folder `name` are those recorded in its file `answers`.
fn late_as(name: &str, answers: &str) {
    let folder = assemble(name);
    let model = open(folder.path());
    assert_eq!(model.info().task, Task::LateInteraction, "{name}");
    let want: Late = expected(folder.path(), answers);
    let read = |texts: &[String], role: Role| -> Vec<TokenVectors> {
        let fit = EncodeOptions { role: Some(role), ..EncodeOptions::default() };
        let prompt = model.info().prompt_of(Some(role)).unwrap_or_default();
        let sequences = texts.iter().map(|text| model.tokenizer().encode_after(prompt, text, &fit).unwrap()).collect();
        let got = run(&model, sequences, Want::TokenEmbeddings);
        got.into_iter()
            .map(|output| match output {
                Output::TokenEmbeddings(vectors) => vectors,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let (queries, documents) = (read(&want.queries, Role::Query), read(&want.documents, Role::Document));
    for (got, want) in queries.iter().zip(&want.query_vectors).chain(documents.iter().zip(&want.document_vectors)) {
        assert_eq!(got.rows().len(), want.len(), "{name}: how many vectors");
        close(&rows(got).concat(), &want.concat(), CLOSE, name);
    }
    for (query, want) in queries.iter().zip(&want.maxsim) {
        let got: Vec<f32> =
            documents.iter().map(|d| late_similarity(query, d, LateSimilarity::MaxSim).unwrap()).collect();
        close(&got, want, 1e-3, name);
    }
}

#[test]
fn late_interaction_of_pylate() {
    late("pylate");
}

/// PyLate takes a skip word without a token for the unknown token: 29 of the 32 words here. A document's unknown words so
/// have no vector, a query's have one.
#[test]
fn unknown_words_of_pylates_documents_have_no_vector() {
    late_as("pylate", "expected.unknown.json");
}

#[test]
fn late_interaction_without_expansion() {
    late("bert-mve-plain");
}

#[test]
fn late_interaction_with_expansion_that_is_not_seen() {
    late("bert-mve-expand");
}

#[test]
fn late_interaction_with_expansion_that_is_seen() {
    late("bert-mve-expand-attend");
}

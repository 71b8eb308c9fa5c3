//! Whole folders of the other families, as sentence-transformers 6.2 saves them, against its own answers.

use serde::Deserialize;
use serde_json::Value;
use sortie_engine::{EmbedSpec, EncodeOptions, Role, Want};

use super::{CLOSE, as_role, embeds, expected, late, numbers, open, run, scores_are};
use crate::support::{archived, assemble, close, copy_of, edit};

/// Vectors of texts as queries and as documents.
#[derive(Deserialize)]
struct Roles {
    texts: Vec<String>,
    query: Vec<Vec<f32>>,
    document: Vec<Vec<f32>>,
}

fn roles(name: &str) {
    let folder = assemble(name);
    let model = open(folder.path());
    let want: Roles = expected(folder.path(), "expected.json");
    for (role, want_vectors) in [(Role::Query, &want.query), (Role::Document, &want.document)] {
        let prompt = model.info().prompt_of(Some(role)).unwrap_or_default();
        let read = |text: &String| model.tokenizer().encode_after(prompt, text, &as_role(role)).unwrap();
        let got = run(&model, want.texts.iter().map(read).collect(), Want::Embedding(EmbedSpec::default()));
        for (got, want) in got.iter().zip(want_vectors) {
            close(&numbers(got), want, CLOSE, name);
        }
    }
}

#[test]
fn embedders_with_chains_of_their_own() {
    for name in ["st-gemma", "st-qwen-last", "st-sqrt-prompt", "st-t5", "st-two-poolings", "st-weightedmean-layernorm"]
    {
        embeds(name);
    }
}

#[test]
fn embedders_with_prompts_by_role() {
    for name in ["st-gemma", "st-qwen-last", "st-sqrt-prompt"] {
        roles(name);
    }
}

#[test]
fn cross_encoders_made_of_modules() {
    for name in ["ce-modular-modernbert", "ce-modular-nomic"] {
        scores_are(name);
    }
}

#[test]
fn late_interaction() {
    for name in ["mve-plain", "mve-expand", "mve-expand-attend"] {
        late::late(name);
    }
}

/// The similarity that a folder names is told, whatever the family.
#[test]
fn the_folders_similarity_is_told() {
    for name in ["st-two-poolings", "st-weightedmean-layernorm", "st-sqrt-prompt"] {
        let folder = assemble(name);
        let want: Value = expected(folder.path(), "expected.json");
        assert_eq!(open(folder.path()).info().similarity.as_deref(), want["similarity_fn_name"].as_str(), "{name}");
    }
}

/// A text alone has the vector that it has in company, bit for bit.
#[test]
fn batch_mates_are_not_seen() {
    for name in ["st-gemma", "st-t5", "st-sqrt-prompt", "st-qwen-last", "st-two-poolings"] {
        let folder = assemble(name);
        let model = open(folder.path());
        let read = |text: &str| model.tokenizer().encode(text, &EncodeOptions::default()).unwrap();
        let texts = ["w20 w21 w22", "w30", &"w40 w41 w42 ".repeat(30)];
        let together = run(&model, texts.map(read).to_vec(), Want::Embedding(EmbedSpec::default()));
        for (text, together) in texts.into_iter().zip(&together) {
            let alone = run(&model, vec![read(text)], Want::Embedding(EmbedSpec::default()));
            let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(numbers(&alone[0])), bits(numbers(together)), "{name}");
        }
    }
}

/// Where a configuration does not say how many segments there are, the stored table does.
#[test]
fn a_table_of_segments_is_added_though_the_key_is_missing() {
    for name in ["nomic-base", "gte-base"] {
        let folder = archived("families").join(name);
        let (with, without) = (copy_of(&folder), copy_of(&folder));
        edit(&without.path().join("config.json"), "\"type_vocab_size\"", "\"once_type_vocab_size\"");
        let of = |folder: &std::path::Path| {
            let model = open(folder);
            let text = model.tokenizer().encode("w20 w21 w22", &EncodeOptions::default()).unwrap();
            numbers(&run(&model, vec![text], Want::Embedding(EmbedSpec::default()))[0])
        };
        assert_eq!(of(with.path()), of(without.path()), "{name}");
    }
}

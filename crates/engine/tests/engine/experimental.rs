//! Types that no library computes, against plain PyTorch: NeoBERT, Jina v2 and Nomic's mixture of experts.

use sortie_engine::Model;

use crate::{
    reference::{Alone, oracles},
    support::{archived, options},
};

oracles! {
    archived("experimental"), Alone::Bitwise;
    jina_v2_base "jina-v2-base"
    jina_v2_base_12_heads "jina-v2-base-12-heads"
    jina_v2_rerank "jina-v2-rerank"
    neobert_base "neobert-base"
    neobert_mlm "neobert-mlm"
    neobert_rerank "neobert-rerank";
    besides "nomic-moe-base" "nomic-moe-every-3"
}

/// Their answers are recorded; until layers of experts are served their folders are refused by the key that says so.
#[test]
fn layers_of_experts_are_refused_by_name() {
    for name in ["nomic-moe-base", "nomic-moe-every-3"] {
        let error = Model::open(&archived("experimental").join(name), &options()).unwrap_err().to_string();
        assert!(error.contains("moe_every_n_layers") && error.contains("config.json"), "{name}: {error}");
    }
}

/// Whoever asks for the model is told that no library has confirmed its numbers.
#[test]
fn experimental_families_say_so() {
    for (name, is) in
        [("experimental/neobert-base", true), ("experimental/jina-v2-base", true), ("families/gte-base", false)]
    {
        let (archive, folder) = name.split_once('/').unwrap();
        let model = Model::open(&archived(archive).join(folder), &options()).unwrap();
        assert_eq!(model.info().experimental, is, "{name}");
    }
}

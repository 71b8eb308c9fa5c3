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
    neobert_rerank "neobert-rerank"
    nomic_moe_base "nomic-moe-base"
    nomic_moe_every_3 "nomic-moe-every-3"
}

/// Whoever asks for the model is told that no library has confirmed its numbers.
#[test]
fn experimental_families_say_so() {
    for (name, is) in [
        ("experimental/neobert-base", true),
        ("experimental/jina-v2-base", true),
        ("experimental/nomic-moe-base", true),
        ("families/nomic-base-old-names", false),
        ("families/gte-base", false),
    ] {
        let (archive, folder) = name.split_once('/').unwrap();
        let model = Model::open(&archived(archive).join(folder), &options()).unwrap();
        assert_eq!(model.info().experimental, is, "{name}");
    }
}

//! Types that no library computes, against plain PyTorch: NeoBERT, Jina v2 and Nomic's mixture of experts.

use crate::{
    reference::{Alone, oracles},
    support::archived,
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

//! Every family with its heads, its tensor names old and new, and lengths around windows, buckets and tiles.

use crate::{
    reference::{Alone, oracles},
    support::archived,
};

oracles! {
    archived("families"), Alone::Bitwise;
    deberta_base "deberta-v2-base"
    deberta_base_own_keys "deberta-v2-base-own-keys"
    deberta_classify "deberta-v2-classify3"
    deberta_rerank "deberta-v2-rerank"
    deberta_tokens "deberta-v2-tokens5"
    eurobert_base "eurobert-base"
    eurobert_rerank_bos "eurobert-rerank-bos"
    eurobert_rerank_late "eurobert-rerank-late"
    eurobert_rerank_mean "eurobert-rerank-mean"
    gemma3_embed "gemma3-embed"
    gte_base "gte-base"
    gte_base_old_names "gte-base-old-names"
    gte_rerank "gte-rerank"
    llama_embed "llama-embed"
    modernbert_base "modernbert-base"
    modernbert_rerank_cls "modernbert-rerank-cls"
    modernbert_rerank_mean "modernbert-rerank-mean"
    modernbert_tokens "modernbert-tokens5"
    mpnet_base "mpnet-base"
    mpnet_rerank "mpnet-rerank"
    mpnet_tokens "mpnet-tokens5"
    nomic_base "nomic-base"
    nomic_base_old_names "nomic-base-old-names"
    nomic_classify "nomic-classify3"
    qwen2_embed "qwen2-embed"
    qwen2_rerank "qwen2-rerank-seqcls"
    qwen3_embed "qwen3-embed"
    qwen3_rerank "qwen3-rerank-seqcls"
    t5_encoder "t5-encoder"
    t5_encoder_gated "t5-encoder-gated"
}

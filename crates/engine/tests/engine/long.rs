//! Texts of 600 to 8,191 tokens, configurations that are rarer or older, heads, and the tensor names that transformers 5 has
//! in memory.

use crate::{
    reference::{Alone, oracles},
    support::archived,
};

oracles! {
    archived("long"), Alone::Bitwise;
    deberta_c2p "deberta-v2-c2p"
    deberta_long "deberta-v2-long"
    deberta_mlm "deberta-v2-mlm"
    deberta_mlm_not_legacy "deberta-v2-mlm-not-legacy"
    deberta_p2c "deberta-v2-p2c"
    eurobert_long "eurobert-long"
    eurobert_mlm "eurobert-mlm"
    eurobert_tokens "eurobert-tokens5"
    gemma3_long "gemma3-long"
    gemma3_old_keys "gemma3-old-keys"
    gemma3_rerank "gemma3-rerank"
    gemma3_window8 "gemma3-window8"
    gte_long "gte-long"
    gte_mlm "gte-mlm"
    gte_new_names "gte-new-names"
    gte_ntk8 "gte-ntk8"
    gte_rerank_new_names "gte-rerank-new-names"
    gte_tokens "gte-tokens5"
    llama_classify "llama-classify3"
    llama_long "llama-long"
    llama_not_causal "llama-not-causal"
    llama_old_keys "llama-old-keys"
    llama_tokens "llama-tokens5"
    modernbert_layer_types "modernbert-layer-types"
    modernbert_long "modernbert-long"
    modernbert_mlm "modernbert-mlm"
    modernbert_old_keys "modernbert-old-keys"
    mpnet_long "mpnet-long"
    mpnet_mlm "mpnet-mlm"
    mt5_long "mt5-long"
    nomic_long "nomic-long"
    nomic_mlm "nomic-mlm"
    nomic_new_names "nomic-new-names"
    nomic_tokens "nomic-tokens5"
    nomic_tokens_new_names "nomic-tokens5-new-names"
    qwen2_long "qwen2-long"
    qwen2_not_causal "qwen2-not-causal"
    qwen3_long "qwen3-long"
    qwen3_not_causal "qwen3-not-causal"
    qwen3_tokens "qwen3-tokens5"
    t5_long "t5-long"
    umt5_long "umt5-long"
}

//! The native path against outputs that PyTorch computed in f32, one sequence at
//! a time: every head, every way weights are stored.

use sortie_engine::{LoadOptions, Model};

use crate::{
    reference::{Alone, oracles},
    support::{assemble, edit, tiny},
};

oracles! {
    tiny(), Alone::Near;
    bert_base "bert-base"
    bert_classify "bert-classify3"
    bert_multi_label "bert-multilabel4"
    bert_rerank "bert-rerank"
    bert_bf16 "bert-rerank-bf16"
    bert_f16 "bert-rerank-f16"
    bert_relu "bert-rerank-relu"
    bert_sharded "bert-rerank-sharded"
    bert_tokens "bert-tokens5"
    deberta_base "deberta-v2-base"
    deberta_rerank "deberta-v2-rerank"
    distilbert_base "distilbert-base"
    distilbert_classify "distilbert-classify3"
    distilbert_rerank "distilbert-rerank"
    distilbert_tokens "distilbert-tokens5"
    electra_base "electra-base"
    electra_rerank "electra-rerank"
    modernbert_base "modernbert-base"
    modernbert_classify "modernbert-classify3"
    modernbert_rerank "modernbert-rerank"
    modernbert_tokens "modernbert-tokens5"
    mpnet_base "mpnet-base"
    mpnet_rerank "mpnet-rerank"
    roberta_base "roberta-base"
    roberta_rerank "roberta-rerank"
    xlm_roberta_base "xlm-roberta-base"
    xlm_roberta_rerank "xlm-roberta-rerank"
}

#[test]
fn a_type_not_served_natively_is_named() {
    let folder = assemble("bert-base");
    edit(&folder.path().join("config.json"), "\"model_type\": \"bert\"", "\"model_type\": \"xlnet\"");
    let message = Model::open(folder.path(), &LoadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("xlnet") && message.contains("ONNX export"), "{message}");
}

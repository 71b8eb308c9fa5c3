//! The rows: folders of published layouts.

/// A layout: its name in the table, a folder to start from, files to write over it (`-` removes one), and the outcome.
pub(super) struct Row {
    pub(super) layout: &'static str,
    pub(super) from: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    /// Served: by which engine, as what.
    Served(&'static str, &'static str),
    /// Refused, in words that are all in the error.
    Refused(&'static [&'static str]),
}
use Outcome::{Refused, Served};

pub(super) const fn row(
    layout: &'static str,
    from: &'static str,
    files: &'static [(&'static str, &'static str)],
    outcome: Outcome,
) -> Row {
    Row { layout, from, files, outcome }
}

/// modules.json of Transformer, one module more, and Pooling.
const WEIGHTED: &str = r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_WordWeights", "type": "sentence_transformers.models.WordWeights"},
    {"idx": 2, "name": "2", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
const DROPOUT: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Dropout", "type": "sentence_transformers.models.Dropout"}]"#;
const CUSTOM: &str = r#"[{"path": "", "type": "custom_st.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
const CLIP: &str = r#"[{"path": "", "type": "sentence_transformers.models.CLIPModel"}]"#;
const TWICE: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
const NO_POOLING: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}]"#;
const OUTSIDE: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "../1_Pooling", "type": "sentence_transformers.models.Pooling"}]"#;
const HIERARCHICAL: &str = r#"[{"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_Dense", "type": "sentence_transformers.base.modules.dense.Dense"},
    {"path": "2_MultiVectorMask", "type": "sentence_transformers.multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask"},
    {"path": "4_Pool", "type": "sentence_transformers.multi_vector_encoder.modules.token_pooling.HierarchicalTokenPooling"}]"#;

const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";
const LIBRARY: &str = "config_sentence_transformers.json";

pub(super) const ROWS: &[Row] = &[
    row("BERT encoder", "tiny/bert-base", &[], Served("native", "embed")),
    row("RoBERTa encoder", "tiny/roberta-base", &[], Served("native", "embed")),
    row("XLM-RoBERTa encoder", "tiny/xlm-roberta-base", &[], Served("native", "embed")),
    row(
        "CamemBERT encoder",
        "tiny/xlm-roberta-base",
        &[("config.json", "+\"model_type\": \"camembert\"")],
        Served("native", "embed"),
    ),
    row("DistilBERT encoder", "tiny/distilbert-base", &[], Served("native", "embed")),
    row("ELECTRA encoder", "tiny/electra-base", &[], Served("native", "embed")),
    row("classifier of one label", "tiny/bert-rerank", &[], Served("native", "rerank")),
    row("classifier of several labels", "tiny/bert-classify3", &[], Served("native", "classify")),
    row("multi-label classifier", "tiny/bert-multilabel4", &[], Served("native", "classify")),
    row("regression of several numbers", "regression", &[], Served("native", "classify")),
    row("tagger", "tiny/bert-tokens5", &[], Served("native", "tag")),
    row("weights in shards", "tiny/bert-rerank-sharded", &[], Served("native", "rerank")),
    row("weights in f16", "tiny/bert-rerank-f16", &[], Served("native", "rerank")),
    row("weights in bf16", "tiny/bert-rerank-bf16", &[], Served("native", "rerank")),
    row("masked-LM checkpoint alone", "mlm-plain", &[], Served("native", "embed sparse")),
    row("ONNX variants beside safetensors", "variants", &[], Served("native", "rerank")),
    row("ONNX export alone", "onnx", &[], Served("onnx", "tag")),
    row(
        "pickle alone",
        "variants",
        &[
            ("model.safetensors", "-"),
            ("onnx/model_O3.onnx", "-"),
            ("onnx/model_qint8_avx512_vnni.onnx", "-"),
            ("pytorch_model.bin", "x"),
        ],
        Refused(&["pytorch_model.bin", "python -c"]),
    ),
    row(
        "type without a native path and without an export",
        "tiny/bert-base",
        &[("config.json", "+\"model_type\": \"xlnet\"")],
        Refused(&["xlnet", "ONNX export"]),
    ),
    row(
        "relative positions in BERT",
        "tiny/bert-base",
        &[("config.json", "+\"position_embedding_type\": \"relative_key\"")],
        Refused(&["config.json", "position_embedding_type", "relative_key"]),
    ),
    row(
        "decoder",
        "tiny/bert-base",
        &[("config.json", "+\"add_cross_attention\": true")],
        Refused(&["config.json", "add_cross_attention"]),
    ),
    row(
        "quantised checkpoint",
        "tiny/bert-base",
        &[("config.json", "+\"quantization_config\": {\"bits\": 4}")],
        Refused(&["config.json", "quantization_config", "bits"]),
    ),
    row(
        "unknown problem_type",
        "tiny/bert-classify3",
        &[("config.json", "+\"problem_type\": \"ordinal\"")],
        Refused(&["config.json", "problem_type", "ordinal"]),
    ),
    row("Pooling by booleans", "include-prompt", &[], Served("native", "embed")),
    row("Pooling by name", "compact-lasttoken", &[], Served("native", "embed")),
    row(
        "two poolings side by side",
        "compact-lasttoken",
        &[(POOLING, r#"{"embedding_dimension": 64, "pooling_mode": ["max", "mean"]}"#)],
        Served("native", "embed"),
    ),
    row(
        "two poolings by booleans",
        "compact-lasttoken",
        &[(
            POOLING,
            r#"{"word_embedding_dimension": 64, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#,
        )],
        Served("native", "embed"),
    ),
    row(
        "mean_sqrt_len_tokens",
        "compact-lasttoken",
        &[(POOLING, r#"{"pooling_mode": "mean_sqrt_len_tokens"}"#)],
        Served("native", "embed"),
    ),
    row(
        "weightedmean",
        "compact-lasttoken",
        &[(POOLING, r#"{"pooling_mode_weightedmean_tokens": true}"#)],
        Served("native", "embed"),
    ),
    row(
        "unknown pooling",
        "compact-lasttoken",
        &[(POOLING, r#"{"pooling_mode": "attention"}"#)],
        Refused(&[POOLING, "pooling_mode", "attention"]),
    ),
    row(
        "unknown key of Pooling",
        "compact-lasttoken",
        &[(POOLING, r#"{"pooling_mode": "mean", "temperature": 2}"#)],
        Refused(&[POOLING, "temperature", "2"]),
    ),
    row("Dense with a residual", "residual", &[], Served("native", "embed")),
    row(
        "Dense with an activation of its own",
        "residual",
        &[("2_Dense/config.json", r#"{"in_features": 64, "out_features": 64, "activation_function": "my.Swish"}"#)],
        Refused(&["2_Dense", "activation_function", "my.Swish"]),
    ),
    row("Dropout", "lower", &[("modules.json", DROPOUT)], Served("native", "embed")),
    row(
        "WordWeights",
        "lower",
        &[
            ("modules.json", WEIGHTED),
            (
                "1_WordWeights/config.json",
                r#"{"vocab": ["a", "b"], "word_weights": {"a": 2.0}, "unknown_word_weight": 1}"#,
            ),
        ],
        Served("native", "embed"),
    ),
    row("Pooling twice", "lower", &[("modules.json", TWICE)], Refused(&["modules.json", "second Pooling"])),
    row("no Pooling", "lower", &[("modules.json", NO_POOLING)], Refused(&["modules.json", "Pooling is missing"])),
    row(
        "module path outside the folder",
        "lower",
        &[("modules.json", OUTSIDE)],
        Refused(&["modules.json", "../1_Pooling"]),
    ),
    row(
        "module of the folder's own code",
        "lower",
        &[("modules.json", CUSTOM)],
        Refused(&["modules.json", "custom_st.Transformer"]),
    ),
    row("CLIP", "lower", &[("modules.json", CLIP)], Refused(&["modules.json", "CLIPModel"])),
    row("encoder in 0_Transformer", "old-layout", &[], Served("native", "embed")),
    row("do_lower_case", "lower", &[], Served("native", "embed")),
    row("max_seq_length beside model_max_length", "lengths", &[], Served("native", "embed")),
    row(
        "unknown key of sentence_bert_config",
        "lengths",
        &[(SENTENCE, r#"{"max_seq_length": 128, "window": 4}"#)],
        Refused(&[SENTENCE, "window", "4"]),
    ),
    row(
        "tokenizer_args that change ids",
        "lengths",
        &[(SENTENCE, r#"{"tokenizer_args": {"add_prefix_space": true}}"#)],
        Refused(&[SENTENCE, "tokenizer_args.add_prefix_space"]),
    ),
    row(
        "config_args",
        "lengths",
        &[(SENTENCE, r#"{"config_args": {"num_hidden_layers": 1}}"#)],
        Refused(&[SENTENCE, "config_args.num_hidden_layers"]),
    ),
    row(
        "another output of the encoder",
        "lengths",
        &[(
            SENTENCE,
            r#"{"module_output_name": "token_embeddings", "modality_config": {"text": {"method": "forward", "method_output_name": ["hidden_states", -2]}}}"#,
        )],
        Refused(&[SENTENCE, "modality_config", "hidden_states"]),
    ),
    row(
        "text generation without LogitScore",
        "lengths",
        &[(SENTENCE, r#"{"transformer_task": "text-generation"}"#)],
        Refused(&["transformer_task", "text-generation", "LogitScore"]),
    ),
    row(
        "query_expansion of an embedder",
        "lengths",
        &[(SENTENCE, r#"{"query_expansion": {"strategy": "fixed", "length": 8}}"#)],
        Refused(&[SENTENCE, "query_expansion", "MultiVectorMask"]),
    ),
    row(
        "truncate_dim",
        "compact-lasttoken",
        &[(LIBRARY, r#"{"truncate_dim": 16, "similarity_fn_name": "dot"}"#)],
        Served("native", "embed"),
    ),
    row(
        "default prompt that is not there",
        "compact-lasttoken",
        &[(LIBRARY, r#"{"prompts": {"query": "q: "}, "default_prompt_name": "document"}"#)],
        Refused(&[LIBRARY, "default_prompt_name", "document"]),
    ),
    row(
        "unknown similarity",
        "compact-lasttoken",
        &[(LIBRARY, r#"{"similarity_fn_name": "jaccard"}"#)],
        Refused(&[LIBRARY, "similarity_fn_name", "jaccard"]),
    ),
    row(
        "split_special_tokens",
        "compact-lasttoken",
        &[("tokenizer_config.json", r#"{"split_special_tokens": true}"#)],
        Refused(&["tokenizer_config.json", "split_special_tokens"]),
    ),
    row(
        "tokenizer class of another vocabulary",
        "compact-lasttoken",
        &[("tokenizer_config.json", r#"{"tokenizer_class": "XLMRobertaTokenizer"}"#)],
        Refused(&["tokenizer.json", "XLMRobertaTokenizer", "PreTrainedTokenizerFast"]),
    ),
    row(
        "split_by_punct",
        "compact-lasttoken",
        &[("tokenizer_config.json", r#"{"tokenizer_class": "DebertaV2Tokenizer", "split_by_punct": true}"#)],
        Refused(&["tokenizer_config.json", "split_by_punct"]),
    ),
    row(
        "vocab.txt without tokenizer.json",
        "tiny/bert-base",
        &[("tokenizer.json", "-"), ("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nw20\n##1\n")],
        Served("native", "embed"),
    ),
    row(
        "spm.model without tokenizer.json",
        "tiny/xlm-roberta-base",
        &[("tokenizer.json", "-"), ("spm.model", "x")],
        Refused(&["spm.model", "AutoTokenizer", "save_pretrained"]),
    ),
    row(
        "similarity of late interaction in an embedder",
        "compact-lasttoken",
        &[(LIBRARY, r#"{"similarity_fn_name": "maxsim"}"#)],
        Refused(&[LIBRARY, "similarity_fn_name", "maxsim"]),
    ),
    row(
        "Pooling over masked-LM logits",
        "compact-lasttoken",
        &[(SENTENCE, r#"{"transformer_task": "fill-mask"}"#)],
        Refused(&["modules.json", "masked-LM"]),
    ),
    row(
        "adapter without its base model",
        "tiny/bert-base",
        &[(
            "adapter_config.json",
            r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/gone"}"#,
        )],
        Refused(&["adapter_config.json", "base_model_name_or_path", "org/gone"]),
    ),
    row("cross-encoder of Transformer, Pooling and Dense", "ce-dense", &[], Served("native", "rerank")),
    row("cross-encoder with LayerNorm and two Dense", "bert-ce-modular", &[], Served("native", "rerank")),
    row("causal language model with LogitScore", "ce-logit-yes-no", &[], Served("native", "rerank")),
    row("LogitScore of one token", "ce-logit-yes", &[], Served("native", "rerank")),
    row(
        "causal language model without LogitScore",
        "ce-logit-yes-no",
        &[("modules.json", "-"), (SENTENCE, "-"), (LIBRARY, "-")],
        Refused(&["LogitScore", "modules.json", "chat template"]),
    ),
    row(
        "LogitScore without a chat template",
        "ce-logit-yes-no",
        &[("chat_template.jinja", "-")],
        Refused(&["chat_template.jinja", "is missing"]),
    ),
    row(
        "LogitScore of pairs without messages",
        "ce-logit-yes-no",
        &[(SENTENCE, r#"{"transformer_task": "text-generation"}"#)],
        Refused(&[SENTENCE, "message"]),
    ),
    row(
        "chat template that changes texts",
        "ce-logit-yes-no",
        &[("chat_template.jinja", "{{ messages[0].content | trim }} {{ messages[1].content }}")],
        Refused(&["chat_template.jinja", "as they are"]),
    ),
    row(
        "messages of a chat in an embedder",
        "lengths",
        &[(
            SENTENCE,
            r#"{"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}, "message": {"method": "forward", "method_output_name": "last_hidden_state", "format": "flat"}}, "module_output_name": "token_embeddings"}"#,
        )],
        Refused(&[SENTENCE, "modality_config.message"]),
    ),
    row("SpladePooling by sum", "splade-sum", &[], Served("native", "embed sparse")),
    row(
        "SpladePooling by max, log1p_relu",
        "splade-sum",
        &[("1_SpladePooling/config.json", r#"{"pooling_strategy": "max", "activation_function": "log1p_relu"}"#)],
        Served("native", "embed sparse"),
    ),
    row(
        "unknown SPLADE strategy",
        "splade-sum",
        &[("1_SpladePooling/config.json", r#"{"pooling_strategy": "mean"}"#)],
        Refused(&["1_SpladePooling", "pooling_strategy", "mean"]),
    ),
    row(
        "max_active_dims",
        "splade-sum",
        &[(LIBRARY, r#"{"model_type": "SparseEncoder", "max_active_dims": 64}"#)],
        Served("native", "embed sparse"),
    ),
    row("Router with a static query route", "router", &[], Served("native", "embed sparse")),
    row("PyLate ColBERT", "pylate", &[], Served("native", "late interaction")),
    row("PyLate ColBERT without settings", "pylate", &[(LIBRARY, "-")], Served("native", "late interaction")),
    row(
        "query longer than the positions",
        "pylate",
        &[(LIBRARY, r#"{"model_type": "ColBERT", "query_length": 4000}"#)],
        Refused(&[LIBRARY, "query_length", "4000"]),
    ),
    row(
        "truncate_dim of late interaction",
        "pylate",
        &[(LIBRARY, r#"{"model_type": "ColBERT", "truncate_dim": 4}"#)],
        Refused(&[LIBRARY, "truncate_dim 4"]),
    ),
    row("MultiVectorEncoder", "bert-mve-plain", &[], Served("native", "late interaction")),
    row(
        "MultiVectorEncoder with expansion that is not seen",
        "bert-mve-expand",
        &[],
        Served("native", "late interaction"),
    ),
    row(
        "MultiVectorEncoder with expansion that is seen",
        "bert-mve-expand-attend",
        &[],
        Served("native", "late interaction"),
    ),
    row(
        "HierarchicalTokenPooling",
        "bert-mve-plain",
        &[
            ("modules.json", HIERARCHICAL),
            (
                "4_Pool/config.json",
                r#"{"pool_factor": 2.0, "num_protected_tokens": 1, "normalize_embeddings": false, "tasks": ["document"]}"#,
            ),
        ],
        Refused(&["4_Pool", "pool_factor", "HierarchicalTokenPooling"]),
    ),
    row("StaticEmbedding", "static-st", &[], Served("static", "embed")),
    row(
        "model2vec",
        "static-st",
        &[("modules.json", "-"), ("config.json", r#"{"model_type": "model2vec", "normalize": true}"#)],
        Served("static", "embed"),
    ),
    row(
        "model2vec without a limit",
        "static-st",
        &[("modules.json", "-"), ("config.json", r#"{"model_type": "model2vec", "max_length": null}"#)],
        Served("static", "embed"),
    ),
    row(
        "model2vec with a limit of another kind",
        "static-st",
        &[("modules.json", "-"), ("config.json", r#"{"model_type": "model2vec", "max_length": "long"}"#)],
        Refused(&["config.json", "max_length", "long"]),
    ),
];

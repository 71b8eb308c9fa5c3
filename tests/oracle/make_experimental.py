#!/usr/bin/env python3
"""Makes the folders of `experimental.tar.xz`: NeoBERT, Jina v2 and Nomic's mixture of experts.

    python3 make_experimental.py OUT && python3 pack.py experimental OUT

Needs torch, numpy, safetensors and tokenizers. No library computes these types, so `experimental_models.py` does, in f32,
one sequence at a time; it says what each was checked against. Configurations have the keys, and files the tensor names,
of the published checkpoints. States computed in f64 say how much of a difference is rounding.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

import experimental_models as models
from answers import far, figures
from long_texts import VOCABULARY, pair_case, single_case, tokenizer_files
from long_weights import Runs

LENGTHS = (2, 17, 64, 65, 130, 200, 600)
PAIRS = ((0, 3), (5, 9), (20, 42), (31, 96), (60, 300), (3, 1))
# A choice of experts that is nearer than this could fall either way by rounding.
CLEAR = 1e-4
# Small where a norm follows, so that its epsilon shows.
EMBEDDED = 2.0**-6


class Weights(dict):
    """Stored tensors by name, each kind of weight from the one run of numbers that all models share."""

    def __init__(self):
        super().__init__()
        self.runs = Runs()

    def put(self, name, kind, *shape, scale=1.0, around=0.0):
        # 16-bit floats hold every weight, which packs well.
        self[name] = (self.runs.take(kind, shape) * scale + around).half().float()

    def table(self, name, rows, width):
        self.put(f"{name}.weight", "embedding", rows, width, scale=EMBEDDED)

    def linear(self, name, out, width, kind="matrix", bias=True):
        self.put(f"{name}.weight", kind, out, width)
        if bias:
            self.put(f"{name}.bias", "bias", out)

    def norm(self, name, width, bias=True):
        self.put(f"{name}.weight", "gain", width, around=1.0)
        if bias:
            self.put(f"{name}.bias", "bias", width)


def labels(count):
    return {"id2label": {str(i): f"LABEL_{i}" for i in range(count)}, "label2id": {f"LABEL_{i}": i for i in range(count)}}


def neobert_config(architecture, inner, **more):
    return {
        "architectures": [architecture],
        "auto_map": {
            "AutoConfig": "model.NeoBERTConfig",
            "AutoModel": "model.NeoBERT",
            "AutoModelForMaskedLM": "model.NeoBERTLMHead",
            "AutoModelForSequenceClassification": "model.NeoBERTForSequenceClassification",
        },
        "classifier_init_range": 0.02,
        "decoder_init_range": 0.02,
        "dim_head": 16,
        "embedding_init_range": 0.02,
        "hidden_size": 64,
        "intermediate_size": inner,
        "kwargs": {
            "classifier_init_range": 0.02,
            "pretrained_model_name_or_path": "google-bert/bert-base-uncased",
            "trust_remote_code": True,
        },
        "max_length": 4096,
        "model_type": "neobert",
        "norm_eps": 1e-05,
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "pad_token_id": 0,
        "pretrained_model_name_or_path": "google-bert/bert-base-uncased",
        "torch_dtype": "float32",
        "transformers_version": "4.48.2",
        "trust_remote_code": True,
        "vocab_size": VOCABULARY,
        **more,
    }


def neobert_weights(config, prefix):
    hidden, inner, w = config["hidden_size"], models.neobert_inner(config), Weights()
    w.table(f"{prefix}encoder", config["vocab_size"], hidden)
    for l in range(config["num_hidden_layers"]):
        at = f"{prefix}transformer_encoder.{l}"
        w.norm(f"{at}.attention_norm", hidden, bias=False)
        w.linear(f"{at}.qkv", 3 * hidden, hidden, "query", bias=False)
        w.linear(f"{at}.wo", hidden, hidden, "out", bias=False)
        w.norm(f"{at}.ffn_norm", hidden, bias=False)
        w.linear(f"{at}.ffn.w12", 2 * inner, hidden, bias=False)
        w.linear(f"{at}.ffn.w3", hidden, inner, "out", bias=False)
    w.norm(f"{prefix}layer_norm", hidden, bias=False)
    return w


def jina_config(architecture, **more):
    code = "jinaai/jina-bert-implementation"
    return {
        "_name_or_path": code,
        "model_max_length": 8192,
        "architectures": [architecture],
        "attention_probs_dropout_prob": 0.0,
        "auto_map": {
            "AutoConfig": f"{code}--configuration_bert.JinaBertConfig",
            "AutoModelForMaskedLM": f"{code}--modeling_bert.JinaBertForMaskedLM",
            "AutoModel": f"{code}--modeling_bert.JinaBertModel",
            "AutoModelForSequenceClassification": f"{code}--modeling_bert.JinaBertForSequenceClassification",
        },
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 8192,
        "model_type": "bert",
        "pad_token_id": 0,
        "position_embedding_type": "alibi",
        "torch_dtype": "float32",
        "transformers_version": "4.26.0",
        "type_vocab_size": 2,
        "use_cache": True,
        "vocab_size": VOCABULARY,
        "feed_forward_type": "geglu",
        "emb_pooler": "mean",
        **more,
    }


def jina_weights(config, prefix):
    hidden, inner, w = config["hidden_size"], config["intermediate_size"], Weights()
    w.table(f"{prefix}embeddings.word_embeddings", config["vocab_size"], hidden)
    w.table(f"{prefix}embeddings.token_type_embeddings", config["type_vocab_size"], hidden)
    w.norm(f"{prefix}embeddings.LayerNorm", hidden)
    for l in range(config["num_hidden_layers"]):
        at = f"{prefix}encoder.layer.{l}"
        for part in ("query", "key", "value"):
            w.linear(f"{at}.attention.self.{part}", hidden, hidden, "query")
        w.linear(f"{at}.attention.output.dense", hidden, hidden, "out")
        w.norm(f"{at}.attention.output.LayerNorm", hidden)
        w.linear(f"{at}.mlp.gated_layers", 2 * inner, hidden, bias=False)
        w.linear(f"{at}.mlp.wo", hidden, inner, "out")
        w.norm(f"{at}.mlp.layernorm", hidden)
    # Stored in embedding models too, where nothing reads it.
    w.linear(f"{prefix}pooler.dense", hidden, hidden)
    return w


def nomic_config(**more):
    return {
        "_name_or_path": "nomic-ai/nomic-xlm-2048",
        "activation_function": "gelu",
        "add_pooling_layer": False,
        "architectures": ["NomicBertModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": None,
        "causal": False,
        "dense_seq_output": True,
        "embd_pdrop": 0.1,
        "eos_token_id": None,
        "expert_choice_router": False,
        "ffn_div": 1,
        "fused_bias_fc": True,
        "fused_dropout_add_ln": True,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "max_trained_positions": 2048,
        "mlp_fc1_bias": True,
        "mlp_fc2_bias": True,
        "model_type": "nomic_bert",
        "moe_every_n_layers": 2,
        "moe_impl": "megablocks",
        "moe_normalize_expert_weights": False,
        "moe_resid_pdrop": 0.0,
        "moe_top_k": 2,
        "n_embd": 48,
        "n_head": 4,
        "n_inner": 56,
        "n_layer": 4,
        "n_positions": 2048,
        "num_experts": 8,
        "num_shared_experts": 0,
        "pad_token_id": 1,
        "pad_vocab_size_multiple": 64,
        "parallel_block": False,
        "parallel_block_tied_norm": False,
        "prenorm": False,
        "qkv_proj_bias": True,
        "reorder_and_upcast_attn": False,
        "resid_pdrop": 0.0,
        "rotary_emb_base": 10000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "rotary_scaling_factor": None,
        "router_aux_loss_coef": 0.1,
        "scale_attn_by_inverse_layer_idx": False,
        "scale_attn_weights": True,
        "summary_activation": None,
        "summary_first_dropout": 0.1,
        "summary_proj_to_labels": True,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "torch_dtype": "float32",
        "transformers_version": "4.44.2",
        "type_vocab_size": 1,
        "use_cache": True,
        "use_flash_attn": True,
        "use_rms_norm": None,
        "use_xentropy": True,
        # A multiple of 64, more than the tokenizer has, as in the published checkpoint.
        "vocab_size": 128,
        **more,
    }


def nomic_weights(config, prefix):
    hidden, inner, w = config["n_embd"], config["n_inner"], Weights()
    w.table(f"{prefix}embeddings.word_embeddings", config["vocab_size"], hidden)
    w.table(f"{prefix}embeddings.token_type_embeddings", config["type_vocab_size"], hidden)
    w.norm(f"{prefix}emb_ln", hidden)
    for l in range(config["n_layer"]):
        at = f"{prefix}encoder.layers.{l}"
        w.linear(f"{at}.attn.Wqkv", 3 * hidden, hidden, "query")
        w.linear(f"{at}.attn.out_proj", hidden, hidden, "out")
        w.norm(f"{at}.norm1", hidden)
        if models.has_experts(config, l):
            rows = config["num_experts"] * inner
            w.linear(f"{at}.mlp.router.layer", config["num_experts"], hidden, bias=False)
            w.put(f"{at}.mlp.experts.mlp.w1", "matrix", rows, hidden)
            w.put(f"{at}.mlp.experts.mlp.w2", "matrix", rows, hidden)
            w.put(f"{at}.mlp.experts.bias", "bias", hidden)
        else:
            w.linear(f"{at}.mlp.fc1", inner, hidden)
            w.linear(f"{at}.mlp.fc2", hidden, inner, "out")
        w.norm(f"{at}.norm2", hidden)
    return w


def texts(kind):
    """One word without its frame, then framed texts."""
    return [{"input_ids": [VOCABULARY - 1]}] + [single_case(kind, i, n) for i, n in enumerate(LENGTHS)]


def pairs(kind, types):
    """Pairs of texts, and one text alone."""
    cases = [pair_case(kind, i, *words) for i, words in enumerate(PAIRS)] + [single_case(kind, 9, 17)]
    return cases if types else [{"input_ids": case["input_ids"]} for case in cases]


def make(out, name, kind, config, cases, weights, states, head=None, prefix=""):
    """Writes one folder. `states` gives a sequence's rows, `head` what is asked of them where not states themselves."""
    tensors = weights
    gaps = []
    more = {"gaps": gaps} if states is models.nomic_moe else {}

    def rows(case, tensors):
        ids = torch.tensor(case["input_ids"])
        types = torch.tensor(case.get("token_type_ids", [0] * len(ids)))
        found = states(config, tensors, ids, types, prefix, **more)
        return head(tensors, found) if head else found

    results = [rows(case, tensors) for case in cases]
    double = {k: v.double() for k, v in tensors.items()}
    rounding = far(results, [rows(case, double) for case in cases])
    written = []
    for case, got in zip(cases, results):
        if head is None:
            answer = {"cls": figures(got[0]), "mean": figures(got.mean(0)), "last": figures(got[-1])}
        elif got.dim() == 2:
            answer = {"vocab_max": figures(got.max(0).values)}
        else:
            answer = {"logits": figures(got)}
        written.append({**case, **answer})

    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    longest = config.get("max_length") or config.get("max_position_embeddings") or config["n_positions"]
    tokenizer, settings = tokenizer_files(kind, longest)
    expected = {"arch": config["model_type"], "by": f"torch {torch.__version__.split('+')[0]}, f32", "cases": written}
    files = {"config.json": config, "tokenizer.json": tokenizer, "tokenizer_config.json": settings}
    for file, content in files.items():
        (folder / file).write_text(json.dumps(content, indent=1) + "\n")
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{name}: {sum(v.numel() for v in tensors.values())} numbers, rounding {rounding:.1e}, gaps {min(gaps, default=None)}")
    assert rounding < 2e-5, name
    assert min(gaps, default=1.0) > CLEAR, name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(2)

    def neobert(name, architecture, cases, inner, prefix="", head=None, extra=(), **more):
        config = neobert_config(architecture, inner, **more)
        weights = neobert_weights(config, prefix)
        for tensor, rows in extra:
            weights.linear(tensor, rows, config["hidden_size"])
        make(out, name, "bert", config, cases, weights, models.neobert, head, prefix)

    def jina(name, architecture, cases, prefix="", head=None, **more):
        config = jina_config(architecture, **more)
        weights = jina_weights(config, prefix)
        if head:
            weights.linear("classifier", 1, config["hidden_size"])
        make(out, name, "bert", config, cases, weights, models.jina, head, prefix)

    def nomic(name, **more):
        config = nomic_config(**more)
        make(out, name, "xlm-roberta", config, texts("xlm-roberta"), nomic_weights(config, ""), models.nomic_moe)

    neobert("neobert-base", "NeoBERT", texts("bert"), 96)
    # Two thirds of 97 is 64 once cut, 72 if rounded up at once.
    classifier = {"prefix": "model.", "head": models.neobert_logits, "extra": (("dense", 64), ("classifier", 1))}
    neobert(
        "neobert-rerank", "NeoBERTForSequenceClassification", pairs("bert", False), 97, **classifier, **labels(1)
    )
    decoder = lambda tensors, rows: models.linear(tensors, "decoder", rows)
    neobert(
        "neobert-mlm", "NeoBERTLMHead", texts("bert"), 100, "model.", decoder, (("decoder", VOCABULARY),)
    )

    small = {"hidden_size": 64, "intermediate_size": 88, "num_attention_heads": 4, "num_hidden_layers": 3}
    # As published: the architecture names a head that the file does not hold.
    jina("jina-v2-base", "JinaBertForMaskedLM", texts("bert") + [pair_case("bert", 5, 20, 42)], **small)
    wide = {"hidden_size": 96, "intermediate_size": 72, "num_attention_heads": 12, "num_hidden_layers": 2}
    jina("jina-v2-base-12-heads", "JinaBertModel", texts("bert") + [pair_case("bert", 5, 31, 96)], **wide)
    rerank = {"hidden_size": 48, "intermediate_size": 104, "num_attention_heads": 6, "num_hidden_layers": 2, **labels(1)}
    jina(
        "jina-v2-rerank",
        "JinaBertForSequenceClassification",
        pairs("bert", True),
        "bert.",
        models.jina_logits,
        **rerank,
    )

    nomic("nomic-moe-base")
    nomic("nomic-moe-every-3", moe_every_n_layers=3, moe_top_k=3, num_experts=5, n_layer=5)


if __name__ == "__main__":
    main()

"""Random models of the published base shapes: what a family costs to run does not depend on what its weights say.

    python3 benches/shapes.py FAMILY FOLDER [--vocabulary N] [--layers N]

Needs torch and transformers 5.24 (NeoBERT, which transformers lacks, is written by NumPy). Writes config.json,
model.safetensors in f16, tokenizer files with as many words, and the modules of an embedding model. GTE is stored the
way transformers 5 writes it, with one token type where the published model has none. A smaller `--vocabulary` keeps the
file small, and changes nothing that is timed but which row of the table a token finds.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/oracle"))
from long_texts import ROLES, tokenizer_files  # noqa: E402: the path is set first

SPREAD = 0.02


def rope(theta, **more):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


def shape(hidden, layers, heads, inner, vocabulary, longest, **more):
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": longest,
        **more,
    }


# Of each family: class of the model, kind of tokenizer, pooling, config.
SHAPES = {
    # ModernBERT-base
    "modernbert": (
        "ModernBertModel",
        "bert",
        "mean",
        shape(768, 22, 12, 1152, 50368, 8192, local_attention=128, global_attn_every_n_layers=3),
    ),
    # all-mpnet-base-v2
    "mpnet": ("MPNetModel", "mpnet", "mean", shape(768, 12, 12, 3072, 30527, 514, layer_norm_eps=1e-5)),
    # nomic-embed-text-v1.5
    "nomic": ("NomicBertModel", "bert", "mean", shape(768, 12, 12, 3072, 30528, 2048, type_vocab_size=2, **rope(1e3))),
    # gte-base-en-v1.5: its ntk of 2 over 64 numbers a head, as transformers says it
    "gte": (
        "GteModel",
        "bert",
        "cls",
        shape(768, 12, 12, 3072, 30528, 8192, type_vocab_size=1, **rope(1e6, rope_type="linear", factor=2 ** (2 / 64))),
    ),
    # deberta-v3-base
    "deberta": (
        "DebertaV2Model",
        "deberta",
        "mean",
        shape(
            *(768, 12, 12, 3072, 128100, 512),
            relative_attention=True,
            position_buckets=256,
            max_relative_positions=-1,
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type="p2c|c2p",
            position_biased_input=False,
            type_vocab_size=0,
            layer_norm_eps=1e-7,
        ),
    ),
    # Qwen3-Embedding-0.6B
    "qwen3": (
        "Qwen3Model",
        "qwen",
        "lasttoken",
        shape(1024, 28, 16, 3072, 151669, 32768, num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-6, **rope(1e6)),
    ),
    # EmbeddingGemma-300m
    "gemma3": (
        "Gemma3TextModel",
        "gemma",
        "mean",
        shape(
            *(768, 24, 3, 1152, 262144, 2048),
            num_key_value_heads=1,
            head_dim=256,
            query_pre_attn_scalar=256,
            sliding_window=512,
            use_bidirectional_attention=True,
        ),
    ),
    # EuroBERT-210m
    "eurobert": ("EuroBertModel", "llama", "mean", shape(768, 12, 12, 3072, 128256, 8192, **rope(250000.0))),
    # The encoder of T5-base
    "t5": (
        "T5EncoderModel",
        "t5",
        "mean",
        {
            "d_model": 768,
            "num_layers": 12,
            "num_heads": 12,
            "d_kv": 64,
            "d_ff": 3072,
            "feed_forward_proj": "relu",
            "vocab_size": 32128,
            "n_positions": 512,
            "decoder_start_token_id": 0,
        },
    ),
    # NeoBERT
    "neobert": ("NeoBERT", "bert", "mean", shape(768, 28, 12, 3072, 30522, 4096, norm_eps=1e-5)),
}


def by_transformers(model_class, config, folder):
    import torch
    import transformers

    torch.manual_seed(0)
    model_class = getattr(transformers, model_class)
    model_class(model_class.config_class(**config)).half().save_pretrained(folder)


def neobert(config, folder):
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    hidden = config["hidden_size"]
    # Two thirds of what the config says, in steps of 8.
    inner = -(-2 * config["intermediate_size"] // 3 // 8) * 8

    def matrix(rows, columns):
        return (random.standard_normal((rows, columns), dtype=np.float32) * SPREAD).astype(np.float16)

    gain = np.ones(hidden, np.float16)
    tensors = {"model.encoder.weight": matrix(config["vocab_size"], hidden), "model.layer_norm.weight": gain}
    for layer in range(config["num_hidden_layers"]):
        tensors |= {
            f"model.transformer_encoder.{layer}.{name}.weight": tensor
            for name, tensor in {
                "attention_norm": gain,
                "qkv": matrix(3 * hidden, hidden),
                "wo": matrix(hidden, hidden),
                "ffn_norm": gain,
                "ffn.w12": matrix(2 * inner, hidden),
                "ffn.w3": matrix(hidden, inner),
            }.items()
        }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {k: v for k, v in config.items() if k != "max_position_embeddings"}
    config |= {"model_type": "neobert", "architectures": ["NeoBERT"], "max_length": 4096, "dtype": "float16"}
    write(folder / "config.json", config)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


def modules(folder, pooling, hidden):
    """What makes the folder an embedding model."""
    names = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{module}"}
        for i, (path, module) in enumerate(names)
    ]
    write(folder / "modules.json", listed)
    modes = {"cls": "cls_token", "mean": "mean_tokens", "lasttoken": "lasttoken"}
    chosen = {f"pooling_mode_{name}": mode == pooling for mode, name in modes.items()}
    write(folder / "1_Pooling/config.json", {"word_embedding_dimension": hidden, **chosen})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocabulary", type=int, help="words, in place of the published number")
    parser.add_argument("--layers", type=int, help="layers, in place of the published number: for trying this out")
    options = parser.parse_args()
    model_class, kind, pooling, config = SHAPES[options.family]
    config = dict(config)
    if options.vocabulary:
        config["vocab_size"] = options.vocabulary
    if options.layers:
        config["num_layers" if "num_layers" in config else "num_hidden_layers"] = options.layers
    tokens = {f"{role}_token_id": i for role, i in ROLES[kind].items() if role not in ("unk", "mask")}
    tokens |= {"mask_token_id": ROLES[kind]["mask"]} if options.family == "eurobert" else {}
    tokens |= {"bos_token_id": 0} if options.family == "qwen3" else {}
    if options.family == "neobert":
        neobert({**config, "pad_token_id": tokens["pad_token_id"]}, options.folder)
    else:
        by_transformers(model_class, {**config, **tokens}, options.folder)
    longest = config.get("max_position_embeddings") or config["n_positions"]
    longest -= 2 if options.family == "mpnet" else 0
    files = tokenizer_files(kind, longest, config["vocab_size"])
    for name, content in zip(("tokenizer.json", "tokenizer_config.json"), files):
        write(options.folder / name, content)
    modules(options.folder, pooling, config.get("hidden_size") or config["d_model"])
    size = (options.folder / "model.safetensors").stat().st_size
    print(f"{options.family}: {size / 1e6:.0f} MB in {options.folder}")


if __name__ == "__main__":
    main()

"""What `make_long.py` makes of each family: configurations, lengths, heads, and how the folder is stored."""

import torch
import transformers as tf

from long_texts import ROLES, VOCABULARY, pair_case, single_case

HIDDEN, INNER = 32, 72
LENGTHS = (600, 1030, 2047, 8191)
# From here on a case leaves out the first token's state, and f64 is not tried: both cost more than they tell.
VERY_LONG = 4096
LABELS = 5


def shape(**more):
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": INNER,
        "max_position_embeddings": 2048,
        **more,
    }


def labels(count):
    return {"id2label": {i: f"L{i}" for i in range(count)}, "label2id": {f"L{i}": i for i in range(count)}}


def roles(kind):
    return {
        f"{role}_token_id": i for role, i in ROLES[kind].items() if role in ("pad", "bos", "eos", "cls", "sep", "mask")
    }


def rope(theta, **more):
    return {"rope_type": "default", "rope_theta": theta, **more}


def texts(kind, *lengths):
    return [single_case(kind, i, n) for i, n in enumerate(lengths)]


def without(*gone, **new):
    """An edit of a config that takes keys out and puts others in."""
    return lambda config: {**{k: v for k, v in config.items() if k not in gone}, **new}


# Lengths about a window of 8 and the steps of the distance tables, with one long enough for every table's last step.
SHORT = (3, 4, 5, 9, 65, 130, 300)
HEADS = (3, 17, 66, 130)


def modernbert(m):
    base = shape(max_position_embeddings=8192, num_hidden_layers=4, local_attention=128, **roles("bert"))
    m.make("modernbert-long", "bert", tf.ModernBertModel, tf.ModernBertConfig(**base), texts("bert", *LENGTHS))
    # Full where no count of layers says so.
    kinds = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    config = tf.ModernBertConfig(**{**base, "local_attention": 16, "layer_types": kinds})
    m.make("modernbert-layer-types", "bert", tf.ModernBertModel, config, texts("bert", *SHORT))
    thetas = {"full_attention": rope(80000.0), "sliding_attention": rope(5000.0)}
    kinds = ["sliding_attention" if l % 2 else "full_attention" for l in range(4)]
    config = tf.ModernBertConfig(**{**base, "local_attention": 24, "rope_parameters": thetas, "layer_types": kinds})
    old = without(
        "rope_parameters",
        "layer_types",
        global_attn_every_n_layers=2,
        global_rope_theta=80000.0,
        local_rope_theta=5000.0,
        position_embedding_type="absolute",
    )
    m.make("modernbert-old-keys", "bert", tf.ModernBertModel, config, texts("bert", *SHORT), keys=old)
    config = tf.ModernBertConfig(**{**base, "local_attention": 16, "num_hidden_layers": 3})
    m.make("modernbert-mlm", "bert", tf.ModernBertForMaskedLM, config, texts("bert", *HEADS), "mlm")


def nomic(m):
    base = shape(type_vocab_size=2, rope_parameters=rope(1000.0), pad_token_id=0)
    config = tf.NomicBertConfig(**base)
    m.make("nomic-long", "bert", tf.NomicBertModel, config, texts("bert", *LENGTHS[:3]))
    cases = texts("bert", *HEADS) + [pair_case("bert", 9, 7, 40)]
    m.make("nomic-new-names", "bert", tf.NomicBertModel, config, cases, tensors=dict)
    m.make("nomic-mlm", "bert", tf.NomicBertForMaskedLM, config, texts("bert", *HEADS), "mlm")
    config = tf.NomicBertConfig(**base, **labels(LABELS))
    m.make("nomic-tokens5", "bert", tf.NomicBertForTokenClassification, config, texts("bert", *HEADS), "tokens5")
    m.make(
        "nomic-tokens5-new-names",
        "bert",
        tf.NomicBertForTokenClassification,
        config,
        texts("bert", *HEADS),
        "tokens5",
        tensors=dict,
    )


def published_gte(own):
    """The names of the checkpoints that came before the family was part of transformers: q, k and v in one, up before
    gate."""
    stored = {}
    places = {
        "o_proj": "attention.o_proj",
        "post_attention_layernorm": "attn_ln",
        "down_proj": "mlp.down_proj",
        "post_mlp_layernorm": "mlp_ln",
    }
    for name, value in own.items():
        parts = name.split(".")
        if parts[0] == "embeddings":
            stored[name] = value
            continue
        before, part, what = f"encoder.layer.{parts[1]}.", parts[-2], parts[-1]
        if part == "q_proj":
            stored[f"{before}attention.qkv_proj.{what}"] = torch.cat(
                [own[name.replace("q_proj", p)] for p in ("q_proj", "k_proj", "v_proj")]
            )
        elif part == "up_proj":
            stored[f"{before}mlp.up_gate_proj.{what}"] = torch.cat([value, own[name.replace("up_proj", "gate_proj")]])
        elif part in places:
            stored[f"{before}{places[part]}.{what}"] = value
    return stored


def gte(m):
    base = shape(max_position_embeddings=8192, type_vocab_size=2, rope_parameters=rope(160000.0), pad_token_id=0)
    config = tf.GteConfig(**base)
    m.make("gte-long", "bert", tf.GteModel, config, texts("bert", *LENGTHS))
    cases = texts("bert", *HEADS) + [pair_case("bert", 9, 7, 40)]
    m.make("gte-new-names", "bert", tf.GteModel, config, cases, tensors=dict)
    m.make("gte-mlm", "bert", tf.GteForMaskedLM, config, texts("bert", *HEADS), "mlm")
    tagged = tf.GteConfig(**base, **labels(LABELS))
    m.make("gte-tokens5", "bert", tf.GteForTokenClassification, tagged, texts("bert", *HEADS), "tokens5")
    one = tf.GteConfig(**base, **labels(1))
    m.make("gte-rerank-new-names", "bert", tf.GteForSequenceClassification, one, cases, "rerank", tensors=dict)
    # What the published code calls ntk with a factor of 8, in words that transformers has: every frequency by the same
    # share, of a larger base.
    factor, theta, width = 8.0, 20000.0, HIDDEN // 2
    linear = rope(theta * factor, rope_type="linear", factor=factor ** (2 / width))
    config = tf.GteConfig(**{**base, "type_vocab_size": 1, "rope_parameters": linear})
    old = {
        "architectures": ["NewModel"],
        "model_type": "new",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "layer_norm_type": "layer_norm",
        "max_position_embeddings": 8192,
        "position_embedding_type": "rope",
        "rope_theta": theta,
        "rope_scaling": {"type": "ntk", "factor": factor},
        "type_vocab_size": 1,
        "vocab_size": VOCABULARY,
        "pad_token_id": 0,
        "pack_qkv": True,
        "unpad_inputs": False,
        "use_memory_efficient_attention": False,
        "logn_attention_scale": False,
        "logn_attention_clip1": False,
        "torch_dtype": "float32",
    }
    m.make(
        "gte-ntk8",
        "bert",
        tf.GteModel,
        config,
        texts("bert", *SHORT, 1030),
        tensors=published_gte,
        keys=lambda _: old,
        readable=False,
    )


def deberta(m):
    base = shape(
        relative_attention=True,
        position_buckets=256,
        max_relative_positions=512,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type="p2c|c2p",
        position_biased_input=False,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
        pad_token_id=0,
    )
    m.make("deberta-v2-long", "deberta", tf.DebertaV2Model, tf.DebertaV2Config(**base), texts("deberta", *LENGTHS[:3]))
    for term in ("c2p", "p2c"):
        config = tf.DebertaV2Config(**{**base, "pos_att_type": term})
        m.make(f"deberta-v2-{term}", "deberta", tf.DebertaV2Model, config, texts("deberta", *SHORT, 600))
    config = tf.DebertaV2Config(**base)
    m.make("deberta-v2-mlm", "deberta", tf.DebertaV2ForMaskedLM, config, texts("deberta", *HEADS), "mlm")
    config = tf.DebertaV2Config(**base, legacy=False)
    m.make("deberta-v2-mlm-not-legacy", "deberta", tf.DebertaV2ForMaskedLM, config, texts("deberta", *HEADS), "mlm")


def mpnet(m):
    base = shape(max_position_embeddings=514, layer_norm_eps=1e-5, relative_attention_num_buckets=32, **roles("mpnet"))
    config = tf.MPNetConfig(**base)
    m.make("mpnet-long", "mpnet", tf.MPNetModel, config, texts("mpnet", *SHORT, 510, 512))
    m.make("mpnet-mlm", "mpnet", tf.MPNetForMaskedLM, config, texts("mpnet", *HEADS), "mlm")


def decoders(m):
    ends = roles("qwen") | {"bos_token_id": 0}
    grouped = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 8192,
        "rope_parameters": rope(1e6),
        **ends,
    }
    # Four heads of 16 in a width of 32.
    qwen3 = shape(**{**grouped, "head_dim": 16})
    m.make("qwen3-long", "qwen", tf.Qwen3Model, tf.Qwen3Config(**qwen3), texts("qwen", *LENGTHS))
    m.make(
        "qwen3-tokens5",
        "qwen",
        tf.Qwen3ForTokenClassification,
        tf.Qwen3Config(**qwen3, **labels(LABELS)),
        texts("qwen", *HEADS),
        "tokens5",
    )
    m.make("qwen3-not-causal", "qwen", tf.Qwen3Model, tf.Qwen3Config(**qwen3, is_causal=False), texts("qwen", *SHORT))
    qwen2 = shape(**grouped)
    m.make("qwen2-long", "qwen", tf.Qwen2Model, tf.Qwen2Config(**qwen2), texts("qwen", *LENGTHS))
    m.make("qwen2-not-causal", "qwen", tf.Qwen2Model, tf.Qwen2Config(**qwen2, is_causal=False), texts("qwen", *SHORT))

    llama3 = rope(
        500000.0,
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=256,
    )
    llama = shape(
        **{
            **grouped,
            "rms_norm_eps": 1e-5,
            "head_dim": 16,
            "rope_parameters": llama3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
    )
    m.make("llama-long", "llama", tf.LlamaModel, tf.LlamaConfig(**llama), texts("llama", *LENGTHS))
    old = without(
        "rope_parameters", rope_theta=500000.0, rope_scaling={k: v for k, v in llama3.items() if k != "rope_theta"}
    )
    m.make("llama-old-keys", "llama", tf.LlamaModel, tf.LlamaConfig(**llama), texts("llama", *SHORT, 600), keys=old)
    m.make("llama-not-causal", "llama", tf.LlamaModel, tf.LlamaConfig(**llama, is_causal=False), texts("llama", *SHORT))
    m.make(
        "llama-classify3",
        "llama",
        tf.LlamaForSequenceClassification,
        last_token(tf.LlamaConfig(**llama, **labels(3))),
        texts("llama", *HEADS),
        "classify3",
    )
    m.make(
        "llama-tokens5",
        "llama",
        tf.LlamaForTokenClassification,
        tf.LlamaConfig(**llama, **labels(LABELS)),
        texts("llama", *HEADS),
        "tokens5",
    )

    euro = {
        **grouped,
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope(250000.0),
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "mask_token_id": 3,
    }
    euro = shape(**euro)
    m.make("eurobert-long", "llama", tf.EuroBertModel, tf.EuroBertConfig(**euro), texts("llama", *LENGTHS))
    m.make("eurobert-mlm", "llama", tf.EuroBertForMaskedLM, tf.EuroBertConfig(**euro), texts("llama", *HEADS), "mlm")
    m.make(
        "eurobert-tokens5",
        "llama",
        tf.EuroBertForTokenClassification,
        tf.EuroBertConfig(**euro, **labels(LABELS)),
        texts("llama", *HEADS),
        "tokens5",
    )


def last_token(config):
    """The last token is the one that stands in for padding: without a padding token transformers reads it."""
    config.pad_token_id = None
    return config


def gemma(m):
    base = shape(
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=24,
        rms_norm_eps=1e-6,
        query_pre_attn_scalar=20,
        use_bidirectional_attention=True,
        num_hidden_layers=3,
        **{k: v for k, v in roles("gemma").items() if k != "mask_token_id"},
    )
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = tf.Gemma3TextConfig(**base, sliding_window=512, layer_types=kinds)
    m.make("gemma3-long", "gemma", tf.Gemma3TextModel, config, texts("gemma", *LENGTHS[:3]))
    config = tf.Gemma3TextConfig(
        **base, sliding_window=8, layer_types=["full_attention", "sliding_attention", "sliding_attention"]
    )
    m.make("gemma3-window8", "gemma", tf.Gemma3TextModel, config, texts("gemma", *SHORT))
    thetas = {"full_attention": rope(500000.0), "sliding_attention": rope(20000.0)}
    config = tf.Gemma3TextConfig(**base, sliding_window=8, layer_types=kinds, rope_parameters=thetas)
    old = without(
        "rope_parameters",
        "layer_types",
        rope_theta=500000.0,
        rope_local_base_freq=20000.0,
        rope_scaling=None,
        sliding_window_pattern=3,
    )
    m.make("gemma3-old-keys", "gemma", tf.Gemma3TextModel, config, texts("gemma", *SHORT), keys=old)
    config = tf.Gemma3TextConfig(**base, sliding_window=8, layer_types=kinds, **labels(1))
    m.make("gemma3-rerank", "gemma", tf.Gemma3TextForSequenceClassification, config, texts("gemma", *HEADS), "rerank")


def t5(m):
    base = {
        "vocab_size": VOCABULARY,
        "d_model": HIDDEN,
        "d_kv": 12,
        "d_ff": INNER,
        "num_layers": 2,
        "num_heads": 2,
        "n_positions": 2048,
    }
    base |= {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    relu = {**base, "feed_forward_proj": "relu"}
    gated = {**base, "feed_forward_proj": "gated-gelu"}
    m.make("t5-long", "t5", tf.T5EncoderModel, tf.T5Config(**relu), texts("t5", *SHORT, *LENGTHS[:3]))
    m.make("mt5-long", "t5", tf.MT5EncoderModel, tf.MT5Config(**gated), texts("t5", *LENGTHS[:3]))
    m.make("umt5-long", "t5", tf.UMT5EncoderModel, tf.UMT5Config(**gated), texts("t5", *SHORT, *LENGTHS[:3]))


FAMILIES = (modernbert, nomic, gte, deberta, mpnet, decoders, gemma, t5)

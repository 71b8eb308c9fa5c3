"""NeoBERT, Jina v2 and Nomic's mixture of experts in plain PyTorch, one sequence at a time.

No library that the project uses computes these types, so they stand here, written from a description of them and held
against published code:

* NeoBERT: its authors' `src/neobert/model/model.py` and `rotary.py` (chandar-lab/NeoBERT) were read. The model of a fork,
  `src/neobert/huggingface/modeling_neobert.py` (pszemraj/NeoBERT), was run on the three folders and gave the same numbers
  to 3e-6. That fork keeps the halves of `w12` apart and has no bias on its decoder: both were mended for the run.
* Jina v2: `jina.rs` and `alibi.rs` of huggingface/text-embeddings-inference were read, and the slopes in the authors' code
  of a later variant, which norms queries and keys. The authors' own code of this variant was not found. Attention blocks of
  transformers' BERT, with the distances as their mask, gave the same numbers to 3e-6.
* Nomic: `nomic.rs` of text-embeddings-inference, `bert_with_rope.py` of vllm-project/vllm and the PyTorch reference in
  `models/experimental/nomic_embed_text_v2_moe` of tenstorrent/tt-metal were read, not run; and for all but the experts the
  authors' `modeling_hf_nomic_bert.py` (nomic-ai/contrastors). The keys of the configuration are those of
  nomic-embed-text-v2-moe, of which tt-metal keeps a copy.

text-embeddings-inference takes the tanh form of GELU for speed; here it is the error function, as the authors have it.

Every function takes the stored tensors by their published names, and computes in the type that they have.
"""

import math

import torch
import torch.nn.functional as F


def linear(tensors, name, x):
    return F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def layer_norm(tensors, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def rms_norm(tensors, name, x, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * tensors[f"{name}.weight"]


def angles(tokens, width, theta):
    """Cosines and sines of [tokens, width / 2]; the angle is formed in f32 whatever the type of the model."""
    frequencies = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    angle = torch.outer(torch.arange(tokens, dtype=torch.float32), frequencies)
    return angle.cos(), angle.sin()


def rotated(x, cos, sin, interleaved):
    """Turns pairs of [heads, tokens, width]: neighbours, or numbers half a width apart."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else x.chunk(2, -1)
    turned = a * cos - b * sin, a * sin + b * cos
    return torch.stack(turned, -1).flatten(-2) if interleaved else torch.cat(turned, -1)


def attention(q, k, v, added=None):
    """Of [heads, tokens, width] each; gives [tokens, heads * width]."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if added is not None:
        scores = scores + added
    return (scores.softmax(-1) @ v).transpose(0, 1).flatten(1)


def by_head(x, heads):
    """[tokens, heads * width] as [heads, tokens, width]."""
    return x.unflatten(-1, (heads, -1)).transpose(0, 1)


def neobert_inner(config):
    """Two thirds of the written width cut to a whole number, and that rounded up to a multiple of eight."""
    return -(-int(2 * config["intermediate_size"] / 3) // 8) * 8


def neobert(config, tensors, ids, _types, prefix):
    heads, eps = config["num_attention_heads"], config["norm_eps"]
    x = tensors[f"{prefix}encoder.weight"][ids]
    cos, sin = angles(len(ids), config["hidden_size"] // heads, 10000.0)
    for l in range(config["num_hidden_layers"]):
        at = f"{prefix}transformer_encoder.{l}"
        # Each head's query, key and value lie side by side.
        q, k, v = by_head(linear(tensors, f"{at}.qkv", rms_norm(tensors, f"{at}.attention_norm", x, eps)), heads).chunk(3, -1)
        x = x + linear(tensors, f"{at}.wo", attention(rotated(q, cos, sin, True), rotated(k, cos, sin, True), v))
        gate, up = linear(tensors, f"{at}.ffn.w12", rms_norm(tensors, f"{at}.ffn_norm", x, eps)).chunk(2, -1)
        x = x + linear(tensors, f"{at}.ffn.w3", F.silu(gate) * up)
    return rms_norm(tensors, f"{prefix}layer_norm", x, eps)


def neobert_logits(tensors, rows):
    return linear(tensors, "classifier", torch.tanh(linear(tensors, "dense", rows[0])))


def slopes(heads):
    """What each head takes off for a step of distance. Where the heads are no power of two, those of the next smaller
    power come first, then every other one of the next larger."""
    power = 2 ** int(math.log2(heads))
    some, more = ([2.0 ** (-8.0 * (h + 1) / count) for h in range(count)] for count in (power, 2 * power))
    return some + more[0::2][: heads - power]


def jina(config, tensors, ids, types, prefix):
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    word, kind = (tensors[f"{prefix}embeddings.{t}_embeddings.weight"] for t in ("word", "token_type"))
    x = layer_norm(tensors, f"{prefix}embeddings.LayerNorm", word[ids] + kind[types], eps)
    places = torch.arange(len(ids))
    distance = (places[:, None] - places[None, :]).abs().to(x.dtype)
    added = -torch.tensor(slopes(heads), dtype=torch.float32).to(x.dtype)[:, None, None] * distance
    for l in range(config["num_hidden_layers"]):
        at = f"{prefix}encoder.layer.{l}"
        q, k, v = (by_head(linear(tensors, f"{at}.attention.self.{p}", x), heads) for p in ("query", "key", "value"))
        y = linear(tensors, f"{at}.attention.output.dense", attention(q, k, v, added))
        x = layer_norm(tensors, f"{at}.attention.output.LayerNorm", x + y, eps)
        gate, up = linear(tensors, f"{at}.mlp.gated_layers", x).chunk(2, -1)
        x = layer_norm(tensors, f"{at}.mlp.layernorm", x + linear(tensors, f"{at}.mlp.wo", F.gelu(gate) * up), eps)
    return x


def jina_logits(tensors, rows):
    return linear(tensors, "classifier", torch.tanh(linear(tensors, "bert.pooler.dense", rows[0])))


def has_experts(config, layer):
    return layer % config["moe_every_n_layers"] == 1


def experts(config, tensors, at, x, gaps):
    """Each token's best experts, weighed by their shares of all; one bias for the sum of them. `gaps` takes in how far the
    last chosen was ahead of the next."""
    count, inner = config["num_experts"], config["n_inner"]
    logits = linear(tensors, f"{at}.router.layer", x)
    first, *_ = torch.topk(logits, config["moe_top_k"] + 1, -1)
    gaps.append(float((first[:, -2] - first[:, -1]).min()))
    weights, chosen = torch.topk(logits.softmax(-1), config["moe_top_k"], -1)
    w1, w2 = (tensors[f"{at}.experts.mlp.{w}"].unflatten(0, (count, inner)) for w in ("w1", "w2"))
    y = torch.zeros_like(x)
    for t in range(len(x)):
        for weight, e in zip(weights[t], chosen[t]):
            y[t] += weight * (F.gelu(x[t] @ w1[e].T) @ w2[e])
    return y + tensors[f"{at}.experts.bias"]


def nomic_moe(config, tensors, ids, _types, prefix, gaps):
    heads, eps = config["n_head"], config["layer_norm_epsilon"]
    word, kind = (tensors[f"{prefix}embeddings.{t}_embeddings.weight"] for t in ("word", "token_type"))
    x = layer_norm(tensors, f"{prefix}emb_ln", word[ids] + kind[0], eps)
    cos, sin = angles(len(ids), config["n_embd"] // heads, config["rotary_emb_base"])
    for l in range(config["n_layer"]):
        at = f"{prefix}encoder.layers.{l}"
        q, k, v = (by_head(p, heads) for p in linear(tensors, f"{at}.attn.Wqkv", x).chunk(3, -1))
        y = linear(tensors, f"{at}.attn.out_proj", attention(rotated(q, cos, sin, False), rotated(k, cos, sin, False), v))
        x = layer_norm(tensors, f"{at}.norm1", x + y, eps)
        if has_experts(config, l):
            y = experts(config, tensors, f"{at}.mlp", x, gaps)
        else:
            y = linear(tensors, f"{at}.mlp.fc2", F.gelu(linear(tensors, f"{at}.mlp.fc1", x)))
        x = layer_norm(tensors, f"{at}.norm2", x + y, eps)
    return x

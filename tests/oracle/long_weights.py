"""Random weights that pack well and in which mistakes show.

16-bit floats hold every weight, and each kind of weight comes from one run of numbers in every model: what models have
in common packs to nearly nothing. Embeddings are small where a layer norm follows, so that its epsilon shows; queries
and keys are large, so that attention is not flat over thousands of keys.
"""

import numpy as np
import torch

# Standard deviation of each kind of weight. With a width of 32, scores come out near 2, and what a layer adds to the
# residual near a tenth.
SPREAD = {"embedding": 1.0, "query": 0.25, "out": 0.1, "matrix": 0.19, "table": 1.0, "gain": 0.15, "bias": 0.15}
BEFORE_NORM, BEFORE_LAYER = 2.0**-7, 2.0**-3
OUT = ("o_proj", "down_proj", ".Wo", "output.dense", ".attn.o.", "SelfAttention.o.", ".wo.", "DenseReluDense.wo")
QUERY = (
    "q_proj",
    "k_proj",
    "Wqkv",
    "query_proj",
    "key_proj",
    ".attn.q.",
    ".attn.k.",
    "SelfAttention.q.",
    "SelfAttention.k.",
)


def kind_of(name, weight):
    if weight.dim() == 1:
        return "bias" if name.endswith("bias") else "gain"
    if "relative_attention_bias" in name:
        return "table"
    if "embed" in name or "shared" in name:
        return "embedding"
    return "out" if any(p in name for p in OUT) else "query" if any(p in name for p in QUERY) else "matrix"


class Runs:
    """One run of numbers for each kind of weight, taken from in order."""

    NUMBERS = {k: np.random.default_rng([16, i]).standard_normal(200_000) for i, k in enumerate(SPREAD)}

    def __init__(self):
        self.taken = dict.fromkeys(SPREAD, 0)

    def take(self, kind, shape):
        start = self.taken[kind]
        self.taken[kind] = end = start + int(np.prod(shape))
        return torch.from_numpy(self.NUMBERS[kind][start:end].reshape(tuple(shape)) * SPREAD[kind])


def draw(model):
    family = model.config.model_type
    runs = Runs()
    post_norm = family in ("mpnet", "nomic_bert", "gte", "deberta-v2")
    with torch.no_grad():
        for name, weight in model.named_parameters():
            kind = kind_of(name, weight)
            fresh = runs.take(kind, weight.shape)
            if kind == "embedding":
                fresh *= BEFORE_NORM if post_norm or family == "modernbert" else BEFORE_LAYER
            elif kind == "query" and family in ("t5", "mt5", "umt5"):
                fresh /= 2  # Twice, for queries and keys, in place of the root of the head's width.
            elif kind == "gain":
                per_head = name.endswith(("q_norm.weight", "k_norm.weight"))
                fresh += (0.0 if family == "gemma3_text" else 1.0) + (0.5 if per_head else 0.0)
            weight.copy_(fresh.half().float())

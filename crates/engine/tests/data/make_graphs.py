#!/usr/bin/env python3
"""Writes the tiny ONNX graphs that the generic path is tested on, beside this file.

    pip install onnx==1.23.2 && python3 make_graphs.py

Every number they give can be worked out by hand: token `i` has the state
(i, -i, i/2, 1), and each "encoder" adds the mean of the states that the mask
lets it see, so that padding which leaks into a row changes it.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
VOCAB, HIDDEN = 10, 4
F32, F16, I64, I32 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.INT32
TABLE = np.array([[i, -i, i / 2, 1] for i in range(VOCAB)], np.float32)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def weight(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def encoder(ids="input_ids", mask="attention_mask"):
    """states [B, S, H] = table[ids] + masked mean of the same; pooled [B, H] = that mean."""
    nodes = [node("Gather", ["table", ids], ["tokens"], axis=0)]
    weights = [weight("table", TABLE), weight("along", np.array([1], np.int64)), weight("last", np.array([2], np.int64))]
    if mask:
        nodes += [
            node("Cast", [mask], ["mask_float"], to=F32),
            node("Unsqueeze", ["mask_float", "last"], ["seen"]),
            node("Mul", ["tokens", "seen"], ["seen_tokens"]),
            node("ReduceSum", ["seen_tokens", "along"], ["sum"]),
            node("ReduceSum", ["seen", "along"], ["count"]),
            node("Div", ["sum", "count"], ["mean"]),
        ]
    else:
        nodes += [node("ReduceMean", ["tokens"], ["mean"], axes=[1])]
    nodes += [node("Add", ["tokens", "mean"], ["states"]), node("Squeeze", ["mean", "along"], ["pooled"])]
    return nodes, weights


def save(name, nodes, weights, inputs, outputs, external=False):
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="make_graphs.py")
    path = HERE / f"{name}.onnx"
    if external:
        data = HERE / f"{name}.onnx_data"
        data.unlink(missing_ok=True)
        onnx.save(model, path, save_as_external_data=True, location=data.name, size_threshold=TABLE.nbytes)
    else:
        onnx.save(model, path)


def free(name, kind=I64):
    return value(name, kind, ["batch", "sequence"])


# Token states, with segments: 0.25 × type id is added to every number.
nodes, weights = encoder()
nodes += [
    node("Cast", ["token_type_ids"], ["types_float"], to=F32),
    node("Unsqueeze", ["types_float", "last"], ["types_wide"]),
    node("Mul", ["types_wide", "quarter"], ["segments"]),
    node("Add", ["states", "segments"], ["last_hidden_state"]),
]
weights += [weight("quarter", np.float32(0.25))]
inputs = [free("input_ids"), free("attention_mask"), free("token_type_ids")]
save("states", nodes, weights, inputs, [value("last_hidden_state", F32, ["batch", "sequence", HIDDEN])])
save("external", nodes, weights, inputs, [value("last_hidden_state", F32, ["batch", "sequence", HIDDEN])], external=True)
# The same, its output's shape left open.
open_output = onnx.ValueInfoProto(name="last_hidden_state")
open_output.type.tensor_type.elem_type = F32
save("open_shape", nodes, weights, inputs, [open_output])
# The same, with an input that no text has.
save("unknown_input", nodes, weights, inputs + [value("pixel_values", F32, ["batch", 3])], [value("last_hidden_state", F32, ["batch", "sequence", HIDDEN])])

# States as a broken export gives them: those of all rows as one row, those of all tokens as one token. Then states of no
# company, where id 8 has nothing finite.
for name, axis in [("one_row", 0), ("one_token", 1)]:
    nodes, weights = encoder()
    nodes += [node("ReduceMean", ["states"], ["last_hidden_state"], axes=[axis], keepdims=1)]
    save(name, nodes, weights, [free("input_ids"), free("attention_mask")], [value("last_hidden_state", F32, ["batch", "sequence", HIDDEN])])
table = TABLE.copy()
table[8] = [np.inf, -np.inf, np.nan, np.inf]
nodes = [node("Gather", ["table", "input_ids"], ["last_hidden_state"], axis=0)]
save("infinite", nodes, [weight("table", table)], [free("input_ids"), free("attention_mask")], [value("last_hidden_state", F32, ["batch", "sequence", HIDDEN])])

# Four odd outputs as some exporters leave them, int32 inputs, pooled inside.
nodes, weights = encoder()
nodes += [
    node("Identity", ["input_ids"], ["output"]),
    node("Identity", ["attention_mask"], ["463"]),
    node("Identity", ["states"], ["onnx::Shape_422"]),
    node("Identity", ["pooled"], ["461"]),
]
save(
    "ugly",
    nodes,
    weights,
    [free("input_ids", I32), free("attention_mask", I32)],
    [free("output", I32), value("463", I32, ["a", "b"]), value("onnx::Shape_422", F32, ["c", "d", HIDDEN]), value("461", F32, ["e", "f"])],
)

# No mask: whatever pads would be read as text. Its states are f16.
nodes, weights = encoder(ids="ids", mask=None)
nodes += [node("Cast", ["states"], ["token_embeddings"], to=F16)]
save("no_mask", nodes, weights, [free("ids")], [value("token_embeddings", F16, ["batch", "sequence", HIDDEN])])

# Made for two rows of six tokens and nothing else; logits (pooled · head) of three labels.
nodes, weights = encoder()
nodes += [node("MatMul", ["pooled", "head"], ["logits"])]
weights += [weight("head", np.eye(HIDDEN, 3, dtype=np.float32))]
save("fixed", nodes, weights, [value("input_ids", I64, [2, 6]), value("attention_mask", I64, [2, 6])], [value("logits", F32, [2, 3])])

# Token labels. Id 7 makes the run fail, id 8 gives NaN.
nodes, weights = encoder(ids="row")
table = TABLE.copy()
table[8] = np.nan
weights[0] = weight("table", table)
row = np.arange(VOCAB, dtype=np.int64)
row[7] = 99
nodes = [node("Gather", ["rows", "input_ids"], ["row"], axis=0)] + nodes + [node("MatMul", ["tokens", "head"], ["logits"])]
weights += [weight("rows", row), weight("head", np.eye(HIDDEN, 3, dtype=np.float32))]
save("tags", nodes, weights, [free("input_ids"), free("attention_mask")], [value("logits", F32, ["batch", "sequence", 3])])

# Masked-LM logits: token i gives i - 5 for entry i, and -1 for all others.
nodes = [node("Gather", ["table", "input_ids"], ["logits"], axis=0)]
table = np.full((VOCAB, VOCAB), -1, np.float32)
np.fill_diagonal(table, np.arange(VOCAB) - 5)
save("masked_lm", nodes, [weight("table", table)], [free("input_ids"), free("attention_mask")], [value("logits", F32, ["batch", "sequence", VOCAB])])

# Finished sparse weights [B, V]: max(0, largest logit).
nodes += [node("ReduceMax", ["logits"], ["largest"], axes=[1], keepdims=0), node("Relu", ["largest"], ["sparse_embedding"])]
save("sparse", nodes, [weight("table", table)], [free("input_ids")], [value("sparse_embedding", F32, ["batch", VOCAB])])

# One label, as [B]: the sum of the positions the mask lets through.
nodes = [
    node("Mul", ["position_ids", "attention_mask"], ["seen"]),
    node("Mul", ["input_ids", "zero"], ["nothing"]),
    node("Add", ["seen", "nothing"], ["places"]),
    node("Cast", ["places"], ["places_float"], to=F32),
    node("ReduceSum", ["places_float", "along"], ["score"], keepdims=0),
]
weights = [weight("zero", np.int64(0)), weight("along", np.array([1], np.int64))]
save("positions", nodes, weights, [free("input_ids"), free("attention_mask"), free("position_ids")], [value("score", F32, ["batch"])])

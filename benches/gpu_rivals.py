"""The other sides of `gpu`, and the writer of a padded ONNX graph.

usage: gpu_rivals.py write SHAPE FILE.onnx        a padded f16 BERT, fused, made-up weights
       gpu_rivals.py torch SHAPE LENGTHS          PyTorch: padded batches, and packed flash attention
       gpu_rivals.py sentence FOLDER WORK.json    sentence-transformers' CrossEncoder, text in

Prints one line of JSON at the end: a list of {how, seconds}. Each is the median of 20.
"""

import json
import os
import sys
import time

SHAPES = {"tiny": (2, 128, 4), "minilm": (6, 384, 12), "base": (12, 768, 12), "large": (24, 1024, 16)}
VOCAB = 30522
ROUNDS = 20
ROWS = 32


def median(run, wait):
    for _ in range(3):
        run()
    wait()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times)[ROUNDS // 2]


def write(shape, path):
    import numpy as np
    import onnx
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper as nh

    layers, hidden, heads = SHAPES[shape]
    rng = np.random.default_rng(0)
    weights, nodes = [], []

    def w(name, *shape):
        weights.append(nh.from_array((rng.standard_normal(shape) * 0.02).astype(np.float16), name))
        return name

    def n(op, inputs, outputs, domain="com.microsoft", **attributes):
        nodes.append(h.make_node(op, inputs, outputs, domain=domain, **attributes))
        return outputs[0]

    for name, rows in [("words", VOCAB), ("positions", 512), ("segments", 2)]:
        w(name, rows, hidden)
    embed = ["words", "positions", "segments", w("g", hidden), w("b", hidden)]
    x = n("EmbedLayerNormalization", ["input_ids", "token_type_ids", *embed, "attention_mask"], ["x", "mask"], epsilon=1e-12)
    for i in range(layers):
        p = f"l{i}_"
        qkv = [x, w(p + "qkv", hidden, 3 * hidden), w(p + "qkvb", 3 * hidden), "mask"]
        a = n("Attention", qkv, [p + "a"], num_heads=heads)
        o = n("MatMul", [a, w(p + "o", hidden, hidden)], [p + "oo"], domain="")
        norm = [w(p + "g1", hidden), w(p + "b1", hidden), w(p + "ob", hidden)]
        y = n("SkipLayerNormalization", [o, x, *norm], [p + "y"], epsilon=1e-12)
        f = n("MatMul", [y, w(p + "f1", hidden, 4 * hidden)], [p + "f"], domain="")
        f = n("BiasGelu", [f, w(p + "f1b", 4 * hidden)], [p + "gelu"])
        f = n("MatMul", [f, w(p + "f2", 4 * hidden, hidden)], [p + "ff"], domain="")
        norm = [w(p + "g2", hidden), w(p + "b2", hidden), w(p + "f2b", hidden)]
        x = n("SkipLayerNormalization", [f, y, *norm], [p + "x"], epsilon=1e-12)
    weights.append(nh.from_array(np.array(0, dtype=np.int64), "zero"))
    c = n("Gather", [x, "zero"], ["cls"], domain="", axis=1)
    c = n("MatMul", [c, w("cw", hidden, 1)], ["c"], domain="")
    n("Add", [c, w("cb", 1)], ["logits"], domain="")
    ports = [h.make_tensor_value_info(k, T.INT32, ["batch", "length"]) for k in ("input_ids", "token_type_ids", "attention_mask")]
    graph = h.make_graph(nodes, "padded", ports, [h.make_tensor_value_info("logits", T.FLOAT16, ["batch", 1])], weights)
    opsets = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
    onnx.save(h.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return []


def torch_rows(shape, lengths):
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    layers, hidden, heads = SHAPES[shape]
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=4 * hidden, num_labels=1, attn_implementation="sdpa",
    )
    model = BertForSequenceClassification(config).half().cuda().eval()

    def batches(order):
        made = []
        for i in range(0, len(order), ROWS):
            part = torch.tensor(order[i : i + ROWS])
            mask = (torch.arange(int(part.max()))[None] < part[:, None]).long()
            made.append({"input_ids": (torch.randint(2000, 29000, mask.shape) * mask).cuda(), "attention_mask": mask.cuda()})
        return made

    rows = []
    for how, order in [("arrival order", lengths), ("sorted", sorted(lengths))]:
        fed = batches(order)

        @torch.inference_mode()
        def run():
            for feeds in fed:
                model(**feeds).logits

        rows.append({"how": f"PyTorch fp16 SDPA, padded, {how}, ≤ {ROWS}", "seconds": median(run, torch.cuda.synchronize)})
    try:
        rows.extend(packed_rows(torch, layers, hidden, heads, lengths))
    except Exception as why:  # an older torch has no varlen attention; the padded rows still count
        print(f"packed rows are left out: {why}", file=sys.stderr)
    return rows


def packed_rows(torch, layers, hidden, heads, lengths):
    """Packed sequences through nested tensors' flash attention: the strongest rival technique, eager and compiled."""
    from torch.nn import functional as F
    from torch.nn.attention.varlen import varlen_attn

    def half(*shape):
        return torch.randn(*shape, dtype=torch.float16, device="cuda") * 0.02

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            linear = lambda a, b: torch.nn.Linear(a, b, dtype=torch.float16, device="cuda")
            norm = lambda: torch.nn.LayerNorm(hidden, dtype=torch.float16, device="cuda")
            self.qkv, self.o, self.up, self.down = linear(hidden, 3 * hidden), linear(hidden, hidden), linear(hidden, 4 * hidden), linear(4 * hidden, hidden)
            self.n1, self.n2 = norm(), norm()

        def forward(self, x, starts, longest):
            q, k, v = self.qkv(x).view(-1, 3, heads, hidden // heads).unbind(1)
            a = varlen_attn(q, k, v, starts, starts, longest, longest)
            y = self.n1(x + self.o(a.reshape(-1, hidden)))
            return self.n2(y + self.down(F.gelu(self.up(y))))

    stack = torch.nn.ModuleList(Layer() for _ in range(layers)).eval()
    x = half(sum(lengths), hidden)
    starts = torch.tensor([0, *lengths], device="cuda").cumsum(0).int()

    def forward(x):
        for layer in stack:
            x = layer(x, starts, max(lengths))
        return x[starts[:-1].long()]

    rows = []
    ways = [("eager", forward)]
    # PyTorch's own switch; compiling takes minutes.
    if os.environ.get("TORCH_COMPILE_DISABLE") != "1":
        ways.append(("compiled", torch.compile(forward)))
    for how, f in ways:
        def run():
            with torch.inference_mode():
                f(x)

        rows.append({"how": f"PyTorch fp16 packed flash attention, {how}, one batch", "seconds": median(run, torch.cuda.synchronize)})
    return rows


def sentence(folder, work):
    import torch
    from sentence_transformers import CrossEncoder

    with open(work, encoding="utf-8") as file:
        work = json.load(file)
    pairs = [(work["query"], document) for document in work["documents"]]
    rows = []
    for name, dtype in [("fp16", torch.float16), ("fp32, its default", torch.float32)]:
        model = CrossEncoder(folder, model_kwargs={"torch_dtype": dtype}, device="cuda")
        run = lambda: model.predict(pairs, batch_size=ROWS, show_progress_bar=False)
        rows.append({"how": f"sentence-transformers in process, {name}, batches of {ROWS}", "seconds": median(run, torch.cuda.synchronize)})
    return rows


def main():
    what, first, second = sys.argv[1:4]
    if what == "write":
        rows = write(first, second)
    elif what == "torch":
        rows = torch_rows(first, json.loads(second))
    else:
        rows = sentence(first, second)
    print(json.dumps(rows))


main()

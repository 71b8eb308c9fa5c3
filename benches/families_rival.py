"""What others need for the pairs of `packed_cpu`: transformers, and ONNX Runtime where a model can be exported.

    python3 benches/families_rival.py ITEMS.json FOLDER... [--threads 2] [--rounds 3] [--first N] [--outputs] [--no-export]

Needs torch, transformers 5.24, onnxruntime and onnxscript. ITEMS.json is what `packed_cpu --items-out` writes; an id that
a model lacks becomes another word. Weights are f32 in both. Batches have 8 items, sorted by length or in order of
arrival, padded at the end. Making the padded arrays is left out of the time, and so is pooling, in favour of this side.
Prints a JSON object a line: family, engine, order, seconds (the best round), tokens_per_s, padding not counted; with
`--outputs` the first numbers of each item's mean-pooled, normalised vector. What cannot run says why.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers

BATCH = 8
SHOWN = 4
# Largest difference of a number of a vector between two ways: every way must have done the same work.
TOLERANCE = 1e-4
# Below lie special tokens.
FIRST_WORD = 10


class States(torch.nn.Module):
    """The states alone: an export has one output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def load(folder):
    """The model of the folder's own class, with torch's fused attention where the family has it."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise ValueError(f"transformers has no {name}")
    for attention in ("sdpa", "eager"):
        try:
            model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
        except ValueError as error:
            if attention == "eager" or "scaled_dot_product_attention" not in str(error):
                raise
            continue
        model.config.use_cache = False
        return States(model).eval(), attention


def session(states, threads, folder):
    """ONNX Runtime on an export with free lengths."""
    # Two tensors: of one given twice the exporter makes one input.
    ids, mask = (torch.ones(2, 16, dtype=torch.long) for _ in range(2))
    free = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("sequence", min=2, max=8192)}
    shapes = {"input_ids": free, "attention_mask": free}
    program = torch.onnx.export(states, (ids, mask), dynamo=True, dynamic_shapes=shapes, verbose=False)
    path = Path(folder) / "model.onnx"
    program.save(path, external_data=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def padded(items, plan):
    """The arrays of each batch: ids, and which of them are the item's own."""
    for batch in plan:
        longest = max(len(items[i]) for i in batch)
        ids = np.zeros((len(batch), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, i in enumerate(batch):
            ids[row, : len(items[i])] = items[i]
            mask[row, : len(items[i])] = 1
        yield ids, mask


def vectors(items, plan, answers):
    found = [None] * len(items)
    for batch, states in zip(plan, answers):
        for i, state in zip(batch, states):
            vector = state[: len(items[i])].mean(axis=0)
            found[i] = (vector / np.linalg.norm(vector))[:SHOWN].tolist()
    return found


def timed(run, items, plan, rounds):
    """The best round's seconds, and what came out."""
    fed = list(padded(items, plan))
    run(*fed[0])
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        answers = [run(ids, mask) for ids, mask in fed]
        best = min(best, time.perf_counter() - start)
    return best, vectors(items, plan, answers)


def measure(folder, items, options):
    config = json.loads((folder / "config.json").read_text())
    span = config["vocab_size"] - FIRST_WORD
    items = [[FIRST_WORD + (i - FIRST_WORD) % span for i in item] for item in items]
    arrival = list(range(len(items)))
    by_length = sorted(arrival, key=lambda i: len(items[i]))

    done = []

    def line(engine, order, **more):
        print(json.dumps({"family": config["model_type"], "engine": engine, "order": order, **more}), flush=True)

    def report(engine, order, run):
        plan = by_length if order == "sorted" else arrival
        plan = [plan[i : i + BATCH] for i in range(0, len(plan), BATCH)]
        seconds, outputs = timed(run, items, plan, options.rounds)
        done.append(np.array(outputs))
        far = float(np.abs(done[-1] - done[0]).max())
        if not far <= TOLERANCE:
            line(engine, order, error=f"its vectors are not those of the first line: they differ by {far}")
            return
        shown = {"outputs": outputs} if options.outputs else {}
        line(engine, order, seconds=seconds, tokens_per_s=sum(map(len, items)) / seconds, **shown)

    try:
        states, attention = load(folder)
    except (ValueError, OSError) as error:
        line("transformers", "sorted", error=str(error)[:300])
        return

    def by_torch(ids, mask):
        with torch.inference_mode():
            return states(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()

    for order in ("sorted", "arrival"):
        report(f"transformers, {attention}", order, by_torch)
    if options.no_export:
        return
    with tempfile.TemporaryDirectory() as place:
        exported = None
        for attention in dict.fromkeys((attention, "eager")):
            if attention != states.model.config._attn_implementation:
                states.model.set_attn_implementation(attention)
            # An exporter fails in as many ways as there are models; each is an answer.
            try:
                exported = session(states, options.threads, place)
                break
            except Exception as error:  # noqa: BLE001
                cause = error
                while cause.__cause__:
                    cause = cause.__cause__
                failure = f"{type(cause).__name__}: {cause}"[:300]
        if exported is None:
            line("onnxruntime", "sorted", error=failure)
            return
        fed = [i.name for i in exported.get_inputs()]

        def by_ort(ids, mask):
            arrays = {"input_ids": ids, "attention_mask": mask}
            return exported.run(None, {name: arrays[name] for name in fed})[0]

        report("onnxruntime", "sorted", by_ort)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, help="only so many of the items, the first ones")
    parser.add_argument("--outputs", action="store_true")
    parser.add_argument("--no-export", action="store_true", help="without ONNX Runtime")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    items = json.loads(options.items.read_text())[: options.first]
    for folder in options.folders:
        measure(folder, items, options)


if __name__ == "__main__":
    main()

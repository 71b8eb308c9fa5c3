"""What padding costs: the 200 pairs of packed_cpu on plain ONNX Runtime, padded.

usage: padded_ort.py ITEMS.json MODEL.onnx THREADS

Times arrival order in batches of 32, length-sorted batches of 32 and 8, and one
by one. Building the padded arrays and pooling are left out of the time, in favour
of this side. Prints one JSON object; `outputs` are the first numbers of each
item's mean-pooled, normalised vector.
"""

import json
import sys
import time

import numpy as np
import onnxruntime as ort

SHOWN = 4


def load(path, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds_of(session, batch):
    longest = max(len(ids) for ids in batch)
    ids = np.zeros((len(batch), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, item in enumerate(batch):
        ids[row, : len(item)] = item
        mask[row, : len(item)] = 1
    known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {i.name: known[i.name] for i in session.get_inputs()}


def main():
    items_path, model_path, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(items_path, encoding="utf-8") as file:
        items = json.load(file)
    session = load(model_path, threads)
    output = session.get_outputs()[0].name

    def batches(order, size):
        return [order[i : i + size] for i in range(0, len(order), size)]

    arrival = list(range(len(items)))
    by_length = sorted(arrival, key=lambda i: len(items[i]))
    ways = [
        ("padded, arrival order, 32", batches(arrival, 32)),
        ("padded, sorted, 32", batches(by_length, 32)),
        ("padded, sorted, 8", batches(by_length, 8)),
        ("one by one", batches(arrival, 1)),
    ]
    session.run([output], feeds_of(session, items[:16]))
    seconds, vectors = [], [None] * len(items)
    for how, plan in ways:
        fed = [feeds_of(session, [items[i] for i in batch]) for batch in plan]
        start = time.perf_counter()
        answers = [session.run([output], feeds)[0] for feeds in fed]
        seconds.append({"how": how, "seconds": time.perf_counter() - start})
    for batch, states in zip(plan, answers):
        for i, state in zip(batch, states):
            vector = state[: len(items[i])].mean(axis=0)
            vectors[i] = (vector / np.linalg.norm(vector))[:SHOWN].tolist()
    print(json.dumps({"seconds": seconds, "outputs": vectors}))


main()

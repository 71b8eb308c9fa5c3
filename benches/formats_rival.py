"""What others need for the pairs of `packed_cpu` on a processor, in f32, bf16 and int8, in turns with Sortie.

    python3 benches/formats_rival.py make SHAPE FOLDER
    python3 benches/formats_rival.py run ITEMS.json FOLDER --sortie target/release/packed_cpu [--threads 2] [--rounds 3]
                                         [--first N] [--budget 1024] [--one 128]

Needs torch, transformers 5.24, onnxruntime, onnx, onnxscript and openvino. `make` writes a random BERT: SHAPE is minilm or base,
`-rerank` behind it for a reranker. ITEMS.json is what `packed_cpu --items-out` writes. OpenVINO runs with its defaults, which
are bf16 where the processor has AMX, and once more in f32; PyTorch with its fused attention; ONNX Runtime on PyTorch's export,
as it is and by `quantize_dynamic`. Each takes batches of 8 items sorted by length, padded at the end; making the padded arrays
is left out of the time, and so is pooling, in favour of this side. Sortie takes items in order of arrival.

Rounds go through all engines in turns. Prints a JSON object a line: engine, format, the seconds of each round and the best, and
the least cosine of what it gives to what PyTorch gives in f32. With `--one` also milliseconds of one item of so many tokens,
the median of some.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/oracle"))
from long_texts import ROLES, tokenizer_files  # noqa: E402: the path is set first

BATCH = 8
# Below lie special tokens.
FIRST_WORD = 10
VOCABULARY = 30522
# Runs of one item by itself.
ALONE = 100
SHAPES = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}


def make(shape, folder):
    import torch
    import transformers

    name, _, task = shape.partition("-")
    config = transformers.BertConfig(vocab_size=VOCABULARY, num_labels=1 if task else 2, **SHAPES[name])
    config.pad_token_id = ROLES["bert"]["pad"]
    torch.manual_seed(0)
    kind = transformers.BertForSequenceClassification if task else transformers.BertModel
    kind(config).save_pretrained(folder)
    files = tokenizer_files("bert", config.max_position_embeddings, VOCABULARY)
    for file, content in zip(("tokenizer.json", "tokenizer_config.json"), files):
        (folder / file).write_text(json.dumps(content))
    if not task:
        listed = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(listed)
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))


def engines(folder, threads, place):
    """Names, formats and functions from ids and mask to numbers."""
    import onnxruntime
    import openvino
    import torch
    import transformers
    from onnxruntime.quantization import QuantType, quantize_dynamic

    torch.set_num_threads(threads)
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    narrow = getattr(transformers, name).from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()

    class First(torch.nn.Module):
        """The states, or the logits: an export has one output."""

        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    def by_torch(model):
        def run(ids, mask):
            with torch.inference_mode():
                return First(model)(torch.from_numpy(ids), torch.from_numpy(mask)).float().numpy()

        return run

    ids, mask = (torch.ones(2, 16, dtype=torch.long) for _ in range(2))
    free = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("sequence", min=2, max=512)}
    shapes = {"input_ids": free, "attention_mask": free}
    program = torch.onnx.export(First(model), (ids, mask), dynamo=True, dynamic_shapes=shapes, verbose=False)
    plain, small = str(Path(place) / "model.onnx"), str(Path(place) / "int8.onnx")
    program.save(plain)
    quantize_dynamic(plain, small, weight_type=QuantType.QInt8)

    def by_ort(path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda ids, mask: session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    def by_openvino(**more):
        settings = {"INFERENCE_NUM_THREADS": threads, **more}
        compiled = openvino.Core().compile_model(plain, "CPU", settings)
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return used, lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})[0].copy()

    yield "PyTorch", "f32", by_torch(model)
    yield "PyTorch", "bf16", by_torch(narrow)
    yield "ONNX Runtime", "f32", by_ort(plain)
    yield "ONNX Runtime", "int8", by_ort(small)
    yield ("OpenVINO", *by_openvino())
    yield ("OpenVINO", *by_openvino(INFERENCE_PRECISION_HINT="f32"))


def padded(items, plan):
    """The arrays of each batch: ids, and which of them are the item's own."""
    for batch in plan:
        longest = max(len(items[i]) for i in batch)
        ids, mask = (np.zeros((len(batch), longest), dtype=np.int64) for _ in range(2))
        for row, i in enumerate(batch):
            ids[row, : len(items[i])] = items[i]
            mask[row, : len(items[i])] = 1
        yield ids, mask


def vectors(items, plan, answers):
    """What each item gets: logits as they are, states by their mean."""
    found = [None] * len(items)
    for batch, rows in zip(plan, answers):
        for i, row in zip(batch, rows):
            found[i] = row if row.ndim == 1 else row[: len(items[i])].mean(axis=0)
    return np.array(found)


def cosine(a, b):
    """The least of rows; of single numbers that of all together."""
    if a.shape[1] == 1:
        a, b = a.T, b.T
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def sortie(options, formats):
    """Seconds of each format, by one process."""
    command = [options.sortie, "--model", options.folder, "--threads", options.threads, "--precision", ",".join(formats)]
    command += ["--budget", options.budget] + (["--first", options.first] if options.first else [])
    lines = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line)["seconds"][0]["seconds"] for line in lines]


def alone(run, tokens):
    ids = np.arange(FIRST_WORD, FIRST_WORD + tokens, dtype=np.int64)[None]
    mask, times = np.ones_like(ids), []
    for _ in range(ALONE):
        start = time.perf_counter()
        run(ids, mask)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def measure(options):
    items = json.loads(options.items.read_text())[: options.first]
    by_length = sorted(range(len(items)), key=lambda i: len(items[i]))
    plan = [by_length[i : i + BATCH] for i in range(0, len(by_length), BATCH)]
    fed = list(padded(items, plan))
    formats = ["f32", "bf16", "bf16x3", "int8"]
    seconds, answers = {}, {}
    with tempfile.TemporaryDirectory() as place:
        rivals = list(engines(options.folder, options.threads, place))
        for round_ in range(options.rounds):
            if options.sortie:
                for name, taken in zip(formats, sortie(options, formats)):
                    seconds.setdefault(("Sortie", name), []).append(taken)
            for engine, name, run in rivals:
                if round_ == 0:
                    for arrays in fed:
                        run(*arrays)
                start = time.perf_counter()
                given = [run(*arrays) for arrays in fed]
                seconds.setdefault((engine, name), []).append(time.perf_counter() - start)
                answers[engine, name] = vectors(items, plan, given)
        truth = answers["PyTorch", "f32"]
        for (engine, name), taken in seconds.items():
            said = {"engine": engine, "format": name, "best": min(taken), "seconds": taken}
            if (engine, name) in answers:
                said["cosine"] = cosine(answers[engine, name], truth)
            print(json.dumps(said), flush=True)
        if options.one:
            for engine, name, run in rivals:
                print(json.dumps({"engine": engine, "format": name, "one, ms": alone(run, options.one)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("shape", choices=[*SHAPES, *(f"{shape}-rerank" for shape in SHAPES)])
    making.add_argument("folder", type=Path)
    running = commands.add_parser("run")
    running.add_argument("items", type=Path)
    running.add_argument("folder", type=Path)
    running.add_argument("--sortie", type=Path, help="packed_cpu, built for release")
    running.add_argument("--threads", type=int, default=2)
    running.add_argument("--rounds", type=int, default=3)
    running.add_argument("--first", type=int, help="only so many of the items, the first ones")
    running.add_argument("--budget", type=int, default=1024, help="tokens of a batch of Sortie's")
    running.add_argument("--one", type=int, help="also one item of so many tokens by itself")
    options = parser.parse_args()
    if options.command == "make":
        options.folder.mkdir(parents=True, exist_ok=True)
        make(options.shape, options.folder)
    else:
        measure(options)


if __name__ == "__main__":
    main()

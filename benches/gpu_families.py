"""How far PyTorch itself is off in f16 and bf16, on the folders that `gpu families` ran: the judge of its rows.

    python3 benches/gpu_families.py OURS.jsonl [--most 1.5]

Needs torch and transformers on the GPU that OURS was made on, in the same run. A row holds where its largest error, of the
largest number of the answer's row, is at most `--most` times PyTorch's in that format (eager attention, one text at a time),
or in f32 at most 1e-4. Where transformers lacks a family the row says so, and is held to a fixed bound. Rows of timed folders are
printed beside PyTorch's times in that format: batches of 32, sorted, with torch's fused attention where the family has it.
Prints Markdown; the exit code says whether all held.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
import transformers

EXACT = 1e-4
# Where there is no judge: what the families with one stay below by far.
UNJUDGED = {"float16": 2e-2, "bfloat16": 1.5e-1}
FORMATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
BATCH = 32
ROUNDS = 10


def load(folder, dtype, attention):
    config = json.loads((folder / "config.json").read_text())
    (name,) = config["architectures"]
    model_class = getattr(transformers, name, None)
    if model_class is None:
        raise ValueError(f"transformers {transformers.__version__} has no {name}")
    model = model_class.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation=attention)
    model.config.use_cache = False
    return model.cuda().eval()


def answers(model, case):
    """What a case expects, each with PyTorch's numbers in the model's format."""
    ids = torch.tensor([case["input_ids"]], device="cuda")
    more = {}
    if case.get("token_type_ids"):
        more["token_type_ids"] = torch.tensor([case["token_type_ids"]], device="cuda")
    with torch.inference_mode():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more)
    states = getattr(out, "last_hidden_state", None)
    if states is not None:
        states = states[0].float()
        for key, row in (("cls", states[0]), ("mean", states.mean(0)), ("last", states[-1])):
            if case.get(key) is not None:
                yield key, row, case[key]
    logits = getattr(out, "logits", None)
    if logits is not None:
        logits = logits[0].float()
        if case.get("logits") is not None:
            yield "logits", logits.flatten(), [x for row in case["logits"] for x in (row if isinstance(row, list) else [row])]
        if case.get("vocab_max") is not None:
            want = torch.tensor(case["vocab_max"]).clamp(min=0).log1p()
            yield "sparse", logits.max(0).values.clamp(min=0).log1p(), want.tolist()


def error(folder, dtype):
    """PyTorch's largest error, by the rule of `gpu families`."""
    model = load(folder, dtype, "eager")
    cases = json.loads((folder / "expected.json").read_text())["cases"]
    rows = [row for case in cases for row in answers(model, case)]
    flat = [max(map(abs, want)) for key, _, want in rows if key == "logits" and len(want) < 16]
    of_all = max(flat, default=0.0)
    worst = 0.0
    for _, got, want in rows:
        want = torch.tensor(want)
        if got.numel() != want.numel():
            raise ValueError(f"{got.numel()} numbers, not {want.numel()}")
        scale = max(want.abs().max().item(), of_all)
        off = ((got.cpu() - want).abs() / scale).max().item()
        worst = max(worst, off) if off == off else float("nan")
    return worst


def seconds(folder, dtype, lengths, vocabulary):
    """The best way of PyTorch's, by its name."""
    best = None
    for attention in ("flash_attention_2", "sdpa", "eager"):
        try:
            model = load(folder, dtype, attention)
        except (ValueError, ImportError):
            continue
        texts = sorted(([10 + i % (vocabulary - 10) for i in range(n)] for n in lengths), key=len)
        batches = []
        for i in range(0, len(texts), BATCH):
            part = texts[i : i + BATCH]
            longest = max(map(len, part))
            ids = torch.tensor([t + [0] * (longest - len(t)) for t in part], device="cuda")
            mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in part], device="cuda")
            batches.append((ids, mask))

        def run():
            with torch.inference_mode():
                for ids, mask in batches:
                    model(input_ids=ids, attention_mask=mask)
            torch.cuda.synchronize()

        try:
            times = []
            for turn in range(ROUNDS + 2):
                start = time.perf_counter()
                run()
                if turn > 1:
                    times.append(time.perf_counter() - start)
        except (RuntimeError, ValueError):
            continue
        took = sorted(times)[len(times) // 2]
        if best is None or took < best[0]:
            best = (took, attention)
        del model
        torch.cuda.empty_cache()
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path)
    parser.add_argument("--most", type=float, default=1.5)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    held = True
    lines = [json.loads(line) for line in options.ours.read_text().splitlines() if line.startswith("{")]
    print("| folder | format | Sortie's largest error | PyTorch's | times | alone against together | |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    timed = []
    for line in lines:
        folder, row = Path(line["folder"]), line["row"]
        dtype = FORMATS[line["precision"]]
        name = f"{folder.parent.name}/{folder.name}"
        if "error" in row:
            held = False
            print(f"| {name} | {line['precision']} | {row['error'][:160]} | | | | **fails** |", flush=True)
            continue
        if "worst" not in row:
            timed.append((folder, line["precision"], dtype, row))
            continue
        worst = row["worst"] if row["worst"] is not None else float("nan")
        try:
            theirs = error(folder, dtype)
            ratio = worst / theirs
            good = worst <= EXACT if dtype == "float32" else ratio <= options.most
            shown = f"{theirs:.1e} | {ratio:.2f}"
        except Exception as why:  # noqa: BLE001: a family fails in as many ways as there are models
            good = worst <= (EXACT if dtype == "float32" else UNJUDGED[dtype])
            shown = f"{type(why).__name__}: {str(why)[:60]} | "
        held &= good
        moved = row["moved"]
        print(f"| {name} | {line['precision']} | {worst:.1e} | {shown} | {moved:.1e} | {'holds' if good else '**fails**'} |", flush=True)
    if timed:
        print("\n| folder | format | 200 pairs, ms | tokens/s | PyTorch, ms | times | one of 128, ms | one of 8,192, ms (PyTorch's) |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for folder, precision, dtype, row in timed:
        beside = "| "
        vocabulary = json.loads((folder / "config.json").read_text())["vocab_size"]
        try:
            best = seconds(folder, dtype, row["lengths"], vocabulary)
            beside = f"{best[0] * 1e3:.1f} ({best[1]}) | {best[0] * 1e3 / row['pairs_ms']:.2f}" if best else "nothing ran |"
        except Exception as why:  # noqa: BLE001: as above
            beside = f"{type(why).__name__}: {str(why)[:60]} | "
        long = ""
        if row.get("one_of_8192_ms"):
            long = f"{row['one_of_8192_ms']:.2f}"
            try:
                best = seconds(folder, dtype, [8192], vocabulary)
                long += f" ({best[0] * 1e3:.1f}, {best[1]})" if best else ""
            except Exception as why:  # noqa: BLE001: as above
                long += f" ({type(why).__name__})"
        print(
            f"| {folder.name} | {precision} | {row['pairs_ms']:.2f} | {row['tokens_per_s']:.0f} | {beside} "
            f"| {row['one_of_128_ms']:.3f} | {long} |",
            flush=True,
        )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())

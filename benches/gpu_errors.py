"""What number formats cost in exactness, beside PyTorch: the judge of `gpu errors`.

    python3 benches/gpu_errors.py make FOLDER [--shapes minilm,base,large] [--seeds 5]
    python3 benches/gpu_errors.py judge OURS.jsonl

Needs torch and transformers; `judge` needs the GPU that OURS was made on. `make` writes rerankers with the weights of
transformers' own initialisation, a folder for each shape and seed. `judge` takes PyTorch in f32 for the truth (one text at a time,
without TF32) and prints, for each shape and format over all seeds, the root of the mean square and the 99th percentile of the
errors of Sortie's scores and of PyTorch's in that format (eager attention), as shares of the scores' spread.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy
import torch
import transformers

from shapes import ROLES, tokenizer_files, write

VOCABULARY, LONGEST = 30_522, 512
SHAPES = {"minilm": (6, 384, 12), "base": (12, 768, 12), "large": (24, 1024, 16)}
FORMATS = {"f16": torch.float16, "bf16": torch.bfloat16}
# Scores of transformers' initialisation are close together; a head of this spread parts them as trained ones are.
HEAD_SPREAD = 0.5


def make(folder, shapes, seeds):
    for shape in shapes:
        layers, hidden, heads = SHAPES[shape]
        for seed in range(seeds):
            torch.manual_seed(seed)
            config = transformers.BertConfig(
                vocab_size=VOCABULARY, max_position_embeddings=LONGEST, pad_token_id=ROLES["bert"]["pad"], hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden, num_labels=1
            )
            model = transformers.BertForSequenceClassification(config)
            torch.nn.init.normal_(model.classifier.weight, std=HEAD_SPREAD)
            made = folder / f"{shape}-{seed}"
            model.save_pretrained(made)
            for name, content in zip(("tokenizer.json", "tokenizer_config.json"), tokenizer_files("bert", LONGEST, VOCABULARY)):
                write(made / name, content)


def scores(folder, dtype, ids):
    model = transformers.BertForSequenceClassification.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    model = model.cuda().eval()
    with torch.inference_mode():
        rows = [model(input_ids=torch.tensor([text], device="cuda")).logits.flatten()[0].float().item() for text in ids]
    return numpy.array(rows)


def judge(path):
    torch.backends.cuda.matmul.allow_tf32 = False
    truths, errors = {}, {}
    for line in path.read_text().splitlines():
        if not line.startswith("{"):
            continue
        row = json.loads(line)
        folder, precision = Path(row["folder"]), row["precision"]
        if folder not in truths:
            truths[folder] = scores(folder, torch.float32, row["ids"])
        truth = truths[folder]
        both = errors.setdefault((folder.name.split("-")[0], precision), ([], []))
        for kept, given in zip(both, (numpy.array(row["scores"]), scores(folder, FORMATS[precision], row["ids"]))):
            kept.append(numpy.abs(given - truth) / truth.std())
    print("| shape | format | rms: Sortie | PyTorch | ratio | p99: Sortie | PyTorch | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (shape, precision), both in errors.items():
        ours, theirs = (numpy.concatenate(kept) for kept in both)
        cells = []
        for figure in (lambda e: float(numpy.sqrt((e**2).mean())), lambda e: float(numpy.quantile(e, 0.99))):
            cells.append(f"{figure(ours):.2e} | {figure(theirs):.2e} | {figure(ours) / figure(theirs):.2f}")
        print(f"| {shape} | {precision} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "judge"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--shapes", default="minilm,base,large")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.what == "make":
        make(options.path, options.shapes.split(","), options.seeds)
    else:
        judge(options.path)


if __name__ == "__main__":
    sys.exit(main())

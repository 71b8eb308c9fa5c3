#!/usr/bin/env python3
"""Makes the folders of `long.tar.xz`: small models of every family, with long texts, rarer configurations, heads and the
tensor names that transformers 5 has in memory.

    python3 make_long.py OUT [--only PART_OF_A_NAME] && python3 pack.py long OUT

Needs torch and transformers 5.24. The answers are those of transformers in f32 with eager attention, one sequence at a
time. `expected.json` has token ids alone: `long_texts.py` says which words they are, `long_weights.py` how weights are
drawn.

Each folder is held against what it says: transformers loads it again where it can read it, and states computed in f64
say how much of a difference is rounding.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

import torch
import transformers as tf
from safetensors.torch import save_file

from answers import far, figures
from long_families import FAMILIES, VERY_LONG
from long_texts import tokenizer_files
from long_weights import draw


def states(model, case):
    ids = torch.tensor([case["input_ids"]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "token_type_ids" in case:
        inputs["token_type_ids"] = torch.tensor([case["token_type_ids"]])
    with torch.inference_mode():
        answer = model(**inputs)
    return (answer.last_hidden_state if "last_hidden_state" in answer else answer.logits)[0]


def answers(head, rows, tokens):
    if head == "base":
        first = {} if tokens >= VERY_LONG else {"cls": figures(rows[0])}
        return {**first, "mean": figures(rows.mean(0)), "last": figures(rows[-1])}
    if head == "mlm":
        return {"vocab_max": figures(rows.max(0).values)}
    return {"logits": [figures(r) for r in rows] if rows.dim() == 2 else figures(rows)}


class Maker:
    def __init__(self, out, only):
        self.out, self.only = Path(out), only

    def make(self, name, kind, model_class, config, cases, head="base", tensors=None, keys=None, readable=True):
        """Writes one folder. `tensors` gives the stored tensors from the model's own, `keys` the stored config from the
        written one; `readable` says whether transformers can load the result."""
        if self.only not in name:
            return
        torch.manual_seed(0)
        model = model_class(config)
        model.config._attn_implementation = "eager"
        draw(model)
        model.eval()
        folder = self.out / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        if tensors:
            own = {k: v for k, v in model.state_dict().items() if "inv_freq" not in k and "position_ids" not in k}
            stored = {k: v.contiguous().clone() for k, v in tensors(own).items()}
            save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        if keys:
            path = folder / "config.json"
            path.write_text(json.dumps(keys(json.loads(path.read_text())), indent=2) + "\n")
        longest = getattr(config, "max_position_embeddings", 2048) - (2 if kind == "mpnet" else 0)
        for file, content in zip(("tokenizer.json", "tokenizer_config.json"), tokenizer_files(kind, longest)):
            (folder / file).write_text(json.dumps(content, indent=1) + "\n")

        cases = [dict(c) for c in cases]
        results = [states(model, c) for c in cases]
        for case, rows in zip(cases, results):
            case.update(answers(head, rows, len(case["input_ids"])))
        content = {
            "arch": config.model_type,
            "head": head,
            "by": f"transformers {tf.__version__}, f32, eager",
            "cases": cases,
        }
        (folder / "expected.json").write_text(json.dumps(content) + "\n")

        tried = [(c, r) for c, r in zip(cases, results) if len(c["input_ids"]) < VERY_LONG]
        again = "not read by transformers"
        if readable:
            # Read the way a user would, by the class that the folder names.
            loaded, info = model_class.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
            assert not info["missing_keys"] and not info["unexpected_keys"], (name, info)
            again = far([states(loaded.eval(), c) for c, _ in tried], [r for _, r in tried])
            assert again < 1e-5, (name, again)
        double = model.double()
        rounding = far([r for _, r in tried], [states(double, c) for c, _ in tried])
        numbers = sum(p.numel() for p in model.parameters())
        print(f"{name}: {numbers} numbers, again {again}, rounding {rounding:.1e}", flush=True)
        assert rounding < 2e-5, (name, rounding)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="", help="make the folders whose name has this part")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    torch.set_num_threads(2)
    tf.utils.logging.disable_progress_bar()
    maker = Maker(options.out, options.only)
    for family in FAMILIES:
        family(maker)


if __name__ == "__main__":
    main()

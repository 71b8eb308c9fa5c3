"""Writes `onnx/model.onnx` of a cross-encoder beside its other files, for the rivals that read nothing else.

Arguments: the model's folder, the folder to make. The graph is transformers' own, exported by PyTorch with free batch and
length.
"""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification


class Scores(torch.nn.Module):
    """The logits alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Wraps a model."""
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        """Logits, one row a pair."""
        # Already as the layers add it: what makes it of two dimensions cannot be traced.
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * torch.finfo(torch.float32).min
        return self.model(
            input_ids=input_ids, attention_mask=mask, token_type_ids=token_type_ids, return_dict=False
        )[0]


def main() -> None:
    """Exports."""
    source, made = Path(sys.argv[1]), Path(sys.argv[2])
    (made / "onnx").mkdir(parents=True)
    for file in source.iterdir():
        if file.suffix in {".json", ".txt"}:
            shutil.copy(file, made / file.name)
    model = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()
    example = torch.ones((2, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    free = {name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}}
    torch.onnx.export(
        Scores(model),
        (example, example, torch.zeros_like(example)),
        str(made / "onnx/model.onnx"),
        input_names=names,
        output_names=["logits"],
        dynamic_axes=free,
        opset_version=17,
        dynamo=False,
    )


main()

"""The libraries that people put behind FastAPI, each as two functions: scores of pairs, vectors of texts.

Every one is set up as its own documentation shows it, with the batch size that it has by default, and reads a folder as
Hugging Face lays it out. What is too long is cut to the model's length, as our server does unless asked otherwise.
"""

import json
from pathlib import Path

import numpy as np

BATCH = 32
"""Texts of a batch: sentence-transformers' default, and what the padded backend takes to be alike."""


class SentenceTransformers:
    """sentence-transformers, on PyTorch or OpenVINO."""

    def __init__(self, folder: Path, task: str, backend: str) -> None:
        """Loads a folder as a cross-encoder or an embedder."""
        from sentence_transformers import CrossEncoder, SentenceTransformer

        more = {} if backend == "torch" else {"model_kwargs": {"device": "CPU"}}
        if task == "rerank":
            from torch.nn import Identity

            self.model = CrossEncoder(str(folder), backend=backend, activation_fn=Identity(), device="cpu", **more)
        else:
            self.model = SentenceTransformer(str(folder), backend=backend, device="cpu", **more)

    def scores(self, query: str, texts: list[str]) -> list[float]:
        """Logits of each text with the query."""
        return self.model.predict([(query, text) for text in texts], show_progress_bar=False).tolist()

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """A vector of each text."""
        return self.model.encode(texts, show_progress_bar=False).tolist()


class FastEmbed:
    """fastembed, with the folder as a model of its own."""

    def __init__(self, folder: Path, task: str) -> None:
        """Registers a folder that has `onnx/model.onnx`, and loads it."""
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType
        from fastembed.rerank.cross_encoder import TextCrossEncoder

        name, source = "sortie/measured", ModelSource(hf="sortie/measured")
        where = {"model_file": "onnx/model.onnx", "specific_model_path": str(folder)}
        if task == "rerank":
            TextCrossEncoder.add_custom_model(name, sources=source, model_file=where["model_file"])
            self.model = TextCrossEncoder(name, specific_model_path=str(folder))
        else:
            width = json.loads((folder / "config.json").read_text())["hidden_size"]
            TextEmbedding.add_custom_model(
                name, pooling=PoolingType.MEAN, normalization=True, sources=source, dim=width, model_file=where["model_file"]
            )
            self.model = TextEmbedding(name, specific_model_path=str(folder))

    def scores(self, query: str, texts: list[str]) -> list[float]:
        """Logits of each text with the query."""
        return [float(score) for score in self.model.rerank(query, texts)]

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """A vector of each text."""
        return [vector.tolist() for vector in self.model.embed(texts)]


class PaddedOrt:
    """ONNX Runtime with every batch padded to its longest text, in the order of arrival."""

    def __init__(self, folder: Path, task: str) -> None:
        """Loads `onnx/model.onnx` and `tokenizer.json` of a folder."""
        import onnxruntime
        from tokenizers import Tokenizer

        self.session = onnxruntime.InferenceSession(
            str(folder / "onnx/model.onnx"), providers=["CPUExecutionProvider"]
        )
        self.names = {one.name for one in self.session.get_inputs()}
        config = json.loads((folder / "config.json").read_text())
        limit = config["max_position_embeddings"]
        said = folder / "sentence_bert_config.json"
        if task == "embed" and said.is_file():
            limit = min(limit, json.loads(said.read_text()).get("max_seq_length") or limit)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(limit, strategy="only_second" if task == "rerank" else "longest_first")
        self.tokenizer.enable_padding()

    def run(self, texts: list) -> list[tuple[np.ndarray, np.ndarray]]:
        """The first output of each batch, with its mask."""
        found = []
        for start in range(0, len(texts), BATCH):
            encoded = self.tokenizer.encode_batch(texts[start : start + BATCH])
            mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
            feed = {
                "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
                "attention_mask": mask,
                "token_type_ids": np.array([one.type_ids for one in encoded], dtype=np.int64),
            }
            output = self.session.run(None, {name: value for name, value in feed.items() if name in self.names})[0]
            found.append((output, mask))
        return found

    def scores(self, query: str, texts: list[str]) -> list[float]:
        """Logits of each text with the query."""
        return [float(row[0]) for output, _ in self.run([(query, text) for text in texts]) for row in output]

    def vectors(self, texts: list[str]) -> list[list[float]]:
        """The mean of each text's token states, at length 1."""
        rows = []
        for output, mask in self.run(texts):
            weights = mask[:, :, None].astype(np.float32)
            means = (output * weights).sum(1) / weights.sum(1)
            rows.extend((means / np.linalg.norm(means, axis=1, keepdims=True)).tolist())
        return rows


def load(backend: str, folder: Path, task: str) -> SentenceTransformers | FastEmbed | PaddedOrt:
    """The backend of this name."""
    match backend:
        case "sentence-transformers":
            return SentenceTransformers(folder, task, "torch")
        case "sentence-transformers-openvino":
            return SentenceTransformers(folder, task, "openvino")
        case "fastembed":
            return FastEmbed(folder, task)
        case "ort-padded":
            return PaddedOrt(folder, task)
    raise SystemExit(f"there is no backend {backend}")

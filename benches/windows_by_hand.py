"""Ten documents of 20,000 tokens by a reranker, in windows made by hand with transformers, beside one call of Sortie.

    python3 benches/windows_by_hand.py MODEL_FOLDER SORTIE [SERVER]

SORTIE is the command-line tool, SERVER a running server of that folder (http://127.0.0.1:50051). Needs torch and transformers
(2.11 and 5.24 were used). Prints, for each way to make one score of the windows' scores, the largest difference.
"""

import json
import random
import subprocess
import sys
import tempfile
import time

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

DOCUMENTS, TOKENS, STRIDE = 10, 20_000, 64
QUERY = "how do I parse command line arguments"


def documents(tokenizer) -> list[str]:
    """Texts of common words, of about TOKENS tokens each; the same on every run."""
    draw = random.Random(7)
    words = sorted(word for word in tokenizer.get_vocab() if word.isascii() and word.isalpha() and len(word) > 2)
    return [" ".join(draw.choice(words) for _ in range(TOKENS)) for _ in range(DOCUMENTS)]


@torch.no_grad()
def by_hand(model, tokenizer, query: str, document: str) -> tuple[list[float], list[int]]:
    """Scores of the windows that the tokenizer itself makes, and the document's tokens in each."""
    windows = tokenizer(
        query, document, truncation="only_second", max_length=512, stride=STRIDE,
        return_overflowing_tokens=True, padding=True, return_tensors="pt",
    )
    own = [sum(1 for part in windows.sequence_ids(i) if part == 1) for i in range(len(windows["input_ids"]))]
    windows.pop("overflow_to_sample_mapping")
    scores = []
    for start in range(0, len(own), 8):
        batch = {key: value[start : start + 8] for key, value in windows.items()}
        scores += model(**batch).logits[:, 0].tolist()
    return scores, own


def main() -> None:
    folder, sortie = sys.argv[1:3]
    server = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:50051"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    texts = documents(tokenizer)
    begun = time.perf_counter()
    hand = [by_hand(model, tokenizer, QUERY, text) for text in texts]
    took = time.perf_counter() - begun
    print(f"by hand: {sum(len(own) for _, own in hand)} windows of {sum(sum(own) for _, own in hand)} tokens, {took:.1f} s")
    expected = {
        "max": [max(scores) for scores, _ in hand],
        "first": [scores[0] for scores, _ in hand],
        "mean": [sum(s * n for s, n in zip(scores, own)) / sum(own) for scores, own in hand],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for text in texts:
            file.write(json.dumps({"text": text}) + "\n")
        file.flush()
        for way, want in expected.items():
            begun = time.perf_counter()
            command = [sortie, "rerank", QUERY, "--docs", file.name, "--json", "--endpoint", server]
            command += ["--stride", str(STRIDE), "--window-score", way, "--deadline", "600s"]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            took = time.perf_counter() - begun
            rows = sorted(answer["results"], key=lambda row: row["index"])
            apart = max(abs(row["score"] - score) for row, score in zip(rows, want, strict=True))
            counts = [row["windows"] for row in rows]
            assert counts == [len(own) for _, own in hand], (counts, [len(own) for _, own in hand])
            print(f"{way}: largest difference {apart:.2e}, one call, {took:.1f} s")


if __name__ == "__main__":
    main()

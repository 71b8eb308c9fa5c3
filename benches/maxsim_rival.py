"""MaxSim of 200 documents by PyLate, beside one Rerank of Sortie.

    python3 benches/maxsim_rival.py make ENCODER FOLDER     # a ColBERT in PyLate's layout with a random projection
    python3 benches/maxsim_rival.py run FOLDER TEXTS.json SORTIE [SERVER]

ENCODER is a BERT folder, TEXTS.json a list of texts (200 are used), SORTIE the command-line tool and SERVER a running
server of FOLDER (http://127.0.0.1:50051). Needs pylate. Prints the largest difference of a score and the best of five times each,
text in and scores out.
"""

import json
import subprocess
import sys
import tempfile
import time

import torch
from pylate import models, scores

COUNT, ROUNDS = 200, 5
QUERY = "how do I parse command line arguments"


def make(encoder: str, folder: str) -> None:
    torch.manual_seed(7)
    models.ColBERT(encoder, embedding_size=128, device="cpu").save_pretrained(folder)


def run(folder: str, texts: str, sortie: str, server: str = "http://127.0.0.1:50051") -> None:
    with open(texts) as file:
        documents = (json.load(file) * COUNT)[:COUNT]
    model = models.ColBERT(folder, device="cpu")

    def by_pylate() -> list[float]:
        query = model.encode([QUERY], is_query=True, convert_to_tensor=True, show_progress_bar=False)
        vectors = model.encode(documents, is_query=False, convert_to_tensor=True, show_progress_bar=False)
        return [float(scores.colbert_scores(query[0][None], vector[None])[0, 0]) for vector in vectors]

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for text in documents:
            file.write(json.dumps({"text": text}) + "\n")
        file.flush()
        command = [sortie, "rerank", QUERY, "--docs", file.name, "--json", "--deadline", "600s", "--endpoint", server]

        def by_sortie() -> list[float]:
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return [row["score"] for row in sorted(json.loads(done.stdout)["results"], key=lambda row: row["index"])]

        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, way in [("pylate", by_pylate), ("sortie", by_sortie)]:
                begun = time.perf_counter()
                values = way()
                times.setdefault(name, []).append(time.perf_counter() - begun)
                if name == "pylate":
                    want = values
                else:
                    apart = max(abs(a - b) for a, b in zip(values, want, strict=True))
    print(f"largest difference {apart:.2e} at scores of {min(want):.2f} to {max(want):.2f}")
    for name, all_of in times.items():
        print(f"{name}: best {min(all_of):.2f} s of {[round(t, 2) for t in all_of]}")


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1] == "make" else run(*sys.argv[2:])

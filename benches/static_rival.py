"""A static embedding model in Python, on one thread, by model2vec: the rival of `static_texts`.

    python3 benches/static_rival.py MODEL TEXTS.json [ROUNDS]

Needs model2vec (0.10 was measured). Prints what `static_texts` prints.
"""

import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

from model2vec import StaticModel  # noqa: E402: the threads are set first


def main() -> None:
    folder, texts, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5
    model = StaticModel.from_pretrained(folder)
    with open(texts) as file:
        texts = json.load(file)
    best = float("inf")
    for _ in range(rounds):
        begun = time.perf_counter()
        vectors = model.encode(texts, use_multiprocessing=False)
        best = min(best, time.perf_counter() - begun)
    first = [[float(number) for number in vector[:8]] for vector in vectors[:50]]
    print(json.dumps({"texts_per_second": len(texts) / best, "vectors": first}))


if __name__ == "__main__":
    main()

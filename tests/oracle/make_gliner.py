#!/usr/bin/env python3
"""Makes the folders of `gliner.tar.xz`: taggers whose labels come with the request, as the package `gliner` saves them.

    python3 make_gliner.py OUT && python3 pack.py gliner OUT

Needs gliner, torch and transformers. The package makes each model, saves it, loads it again and answers. Weights are random,
large enough that a word's neighbours show in its scores, and hold in 16 bits, which packs well.
"""

import argparse
import json
import math
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
from gliner import GLiNER
from gliner.config import GLiNERConfig
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast

from answers import figures

WORDS = (
    "ada lives in paris and works for acme on the north star project since may she moved from old york to new rome with"
    " her brother bob who sells red apples at a small shop near river bank every day person place organisation date"
).split()
TEXTS = (
    "Ada lives in Paris.",
    "ada",
    "bob's e-mail is b_o-b@acme-north.co",
    "She moved from Old-York to new rome,  with her brother Bob (who sells red apples) near the river bank.",
    "Zoë works für Acme in 東京都 since May ½ नमस्ते x² — naïve.",
    "acme star project " * 14 + "in paris",
    "one\ttwo\nthree\u00a0four\u2003five\x1csix",
)
LABELS = (
    ("person", "place", "organisation"),
    ("date",),
    ("north star project", "river", "place", "red apples", "Person"),
)
# Distinct scores nearer than this could change places by rounding.
CLEAR = 5e-6


def pieces():
    """Words, their beginnings and their letters."""
    letters = sorted({c for text in TEXTS for word in text.split() for c in word if c.isascii()} | set("abcdefghijklmnopqrstuvwxyz"))
    parts = sorted({word[:3] for word in WORDS if len(word) > 4} | {word[-3:] for word in WORDS if len(word) > 4})
    return sorted(set(WORDS)), parts, letters


def unigram():
    words, parts, letters = pieces()
    vocab = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0), ("▁", -4.0)]
    vocab += [("▁" + word, -3.0 - i / 64) for i, word in enumerate(words)]
    seen = {piece for piece, _ in vocab}
    vocab += [(part, -5.0 - i / 64) for i, part in enumerate(parts) if part not in seen]
    vocab += [(letter, -9.0 - i / 64) for i, letter in enumerate(letters) if letter not in seen]
    vocab.append(("[MASK]", 0.0))
    return DebertaV2Tokenizer(vocab=vocab, unk_id=3)


def word_pieces():
    words, parts, letters = pieces()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{part}" for part in parts)]
    names += [name for letter in letters for name in (letter, f"##{letter}")]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return BertTokenizer(vocab=vocab)


def byte_pairs():
    words, parts, _ = pieces()
    names = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges = []
    for word in dict.fromkeys([*parts, *words]):
        for end in range(2, len(word) + 1):
            merges.append((word[: end - 1], word[end - 1]))
            names.append(word[:end])
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(dict.fromkeys(merges))))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = [("[CLS]", 0), ("[SEP]", 1)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=specials)
    named = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


DEBERTA = {
    "model_type": "deberta-v2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64, "relative_attention": True, "max_relative_positions": -1, "position_buckets": 8,
    "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    "type_vocab_size": 0, "layer_norm_eps": 1e-7,
}
BERT = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 256,
}
MODERNBERT = {
    "model_type": "modernbert", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 512, "global_attn_every_n_layers": 3, "local_attention": 16, "pad_token_id": 2, "bos_token_id": 0,
    "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1,
}
# Name, tokenizer, backbone, the model's own keys.
MODELS = (
    ("deberta-lstm", unigram, DEBERTA, {"hidden_size": 24, "num_rnn_layers": 1, "max_width": 4, "max_len": 48}),
    ("deberta-plain", unigram, DEBERTA, {"hidden_size": 32, "num_rnn_layers": 0, "max_width": 12, "max_len": 48}),
    ("modernbert-two-lstms", byte_pairs, MODERNBERT, {"hidden_size": 32, "num_rnn_layers": 2, "max_width": 3, "subtoken_pooling": "last"}),
    ("bert-label-words", word_pieces, BERT, {"hidden_size": 32, "num_rnn_layers": 1, "max_width": 5, "embed_ent_token": False}),
    ("deberta-tokens", unigram, DEBERTA, {"hidden_size": 24, "num_rnn_layers": 1, "span_mode": "token_level"}),
    ("bert-tokens", word_pieces, BERT, {"hidden_size": 32, "num_rnn_layers": 0, "span_mode": "token_level"}),
)


def randomize(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        numbers = torch.randn(tensor.shape, generator=generator)
        if tensor.dim() < 2:
            is_gain = "norm" in name.lower() and name.endswith("weight")
            numbers = 1 + numbers / 4 if is_gain else numbers / 4
        elif "embedding" not in name and "tok_embeddings" not in name:
            numbers = numbers * 1.2 / math.sqrt(tensor.shape[-1])
        tensor.copy_(numbers.half().float())


def scale_scores(model, texts):
    """Brings the logits to a spread in which a few spans stand out; those of words are mostly above 0, as several must be."""
    of_words = model.config.span_mode == "token_level"
    layer = model.model.get_submodule("scorer.out_mlp.3" if of_words else "prompt_rep_layer.3")
    end = -2 if of_words else -1
    rows = torch.cat([logits(model, text, labels)[0].flatten(0, end) for text in texts for labels in LABELS])
    with torch.no_grad():
        layer.weight.copy_((layer.weight * (1.5 / rows.std())).half().float())
        layer.bias.copy_((layer.bias * (1.5 / rows.std())).half().float())
        if of_words:
            layer.bias.add_((0.8 - 1.5 * rows.mean(0) / rows.std()).half().float())
            layer.bias.copy_(layer.bias.half().float())


def logits(model, text, labels):
    """Scores of all spans that are there (words, widths, labels), or of all words (words, labels, three)."""
    prepared = model.prepare_batch([text], list(labels))
    batch = model.collate_batch(prepared["input_x"], prepared["entity_types"], None, prepared["label_names"])
    output = model.run_batch(batch)
    return output.logits[0], batch


def every_word_has_a_token(model, text):
    _, batch = logits(model, text, LABELS[0])
    return int(batch["words_mask"].max()) == len(batch["tokens"][0])


def byte_spans(text, found, names):
    at = lambda place: len(text[:place].encode())
    return [[at(e["start"]), at(e["end"]), names.index(e["label"]), float(f"{e['score']:.7g}")] for e in found]


def candidates(model, scores, threshold):
    """The scores that count, in ascending order, and the distance of the nearest two that differ."""
    flat = sorted({float(x) for x in torch.sigmoid(scores).flatten()})
    near = [x for x in flat if x > threshold - 0.01]
    gaps = [b - a for a, b in zip(near, near[1:])] + [abs(x - threshold) for x in flat]
    return near, min(gaps, default=1.0)


def cases(model, texts):
    for text in texts:
        for labels in LABELS:
            scores, batch = logits(model, text, labels)
            names = list(labels)
            words = len(batch["tokens"][0])
            if model.config.span_mode != "token_level":
                there = [[a, w] for a in range(words) for w in range(model.config.max_width) if a + w < words]
                kept = torch.stack([scores[a, w] for a, w in there])
            else:
                kept = scores[:words]
            answers = []
            thresholds = (0.5, 0.4, 0.6, 0.3) if model.config.span_mode == "token_level" else (0.9, 0.8, 0.7, 0.6, 0.5)
            for threshold in thresholds:
                near, gap = candidates(model, kept, threshold)
                if gap < CLEAR or not near or len(answers) == 8:
                    continue
                for flat, multi in ((True, False), (False, False), (True, True), (False, True)):
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        found = model.inference([text], names, flat_ner=flat, threshold=threshold, multi_label=multi)[0]
                    answers.append({"threshold": threshold, "nested": not flat, "multi_label": multi, "spans": byte_spans(text, found, names)})
            yield {
                "text": text, "labels": names, "ids": batch["input_ids"][0].tolist(), "words": batch["tokens"][0],
                "logits": figures(kept.flatten()), "answers": answers,
            }


def make(folder, tokenizer, backbone, own, seed):
    with tempfile.TemporaryDirectory() as home:
        made = tokenizer()
        made.save_pretrained(home)
        (Path(home) / "config.json").write_text(json.dumps({"model_type": backbone["model_type"]}))
        config = GLiNERConfig(model_name=home, encoder_config={**backbone, "vocab_size": len(made)}, name=folder.name, **own)
        model = GLiNER._get_gliner_class(config).load_from_config(config, backbone_from_pretrained=False)
        torch.manual_seed(seed)
        with torch.no_grad():
            randomize(model.model, seed)
        # Behind a word of which the tokenizer leaves nothing the package is off by one; such texts are not its to judge.
        texts = [text for text in TEXTS if every_word_has_a_token(model, text)]
        scale_scores(model, texts)
        model.save_pretrained(folder, safe_serialization=True)
    path = folder / "gliner_config.json"
    written = json.loads(path.read_text())
    written["model_name"] = f"tiny/{backbone['model_type']}"
    path.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    model = GLiNER.from_pretrained(str(folder), local_files_only=True)
    expected = {"cases": list(cases(model, texts))}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n")
    answers = [answer for case in expected["cases"] for answer in case["answers"]]
    print(f"{folder.name}: {len(expected['cases'])} cases, {len(answers)} answers, {sum(len(a['spans']) for a in answers)} spans")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    for seed, (name, tokenizer, backbone, own) in enumerate(MODELS):
        make(options.out / name, tokenizer, backbone, own, seed)


if __name__ == "__main__":
    main()

"""Writes tokenizers.json: folders of a few tokenizer files, and the ids that transformers 5.24 makes of them.

    pip install transformers==5.24.0 && python make_tokenizers.py
"""

import json
import os
import tempfile

from transformers import AutoTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["w20", "w21", "W20", "ete", "été", "é", "##x", "a", "b", "W", "w", "##20", "漢", "字", "漢字", ".", "w20w21"]
TEXTS = ["W20 w21", "été", "w20.w21 漢字", "w20[MASK]w21 [SEP]", "w20x", " a  b"]


def added(token_id, text, **flags):
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": token_id, "content": text, **usual, **flags}


def special(text, segment=0):
    return {"SpecialToken": {"id": text, "type_id": segment}}


def word_piece(kind="WordPiece", normalizer=None, tokens=None):
    model = {"type": kind, "unk_token": "[UNK]", "vocab": {t: i for i, t in enumerate(SPECIALS + WORDS)}}
    if kind == "WordPiece":
        model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    first, text_a, text_b = special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None, "model": model, "normalizer": normalizer,
        "added_tokens": [added(i, t) for i, t in enumerate(SPECIALS)] if tokens is None else tokens,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [first, text_a], "pair": [first, text_a, text_b],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        },
    }


NAMES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def bpe():
    letters = ["Ġ", "w", "2", "0", "1", "a", "b", "Ġa", "Ġw", "W", "."]
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None, "normalizer": {"type": "Lowercase"},
        "added_tokens": [added(i, t, lstrip=t == "<mask>") for i, t in enumerate(NAMES)],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "fuse_unk": False, "byte_fallback": False, "vocab": {t: i for i, t in enumerate(NAMES + letters)},
            "merges": [["Ġ", "a"], ["Ġ", "w"]],
        },
    }


def unigram():
    pieces = ["▁", "▁w", "w", "2", "0", "1", "▁a", "a", "b", "▁b", "W", "."]
    vocab = [[t, 0.0] for t in NAMES[:4]] + [[p, -1.0 - i / 10] for i, p in enumerate(pieces)] + [["<mask>", 0.0]]
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None, "normalizer": {"type": "Lowercase"},
        "added_tokens": [added(i, t) for i, t in enumerate(NAMES[:4])] + [added(len(vocab) - 1, "<mask>", lstrip=True)],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
        "post_processor": None, "model": {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": False},
    }


WORDY = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {
    "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}]}
PLAIN = {"content": "w20", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
LIST = "\n".join(SPECIALS + WORDS) + "\n"
BERT, GENERAL = {"tokenizer_class": "BertTokenizer"}, {"tokenizer_class": "PreTrainedTokenizerFast"}

# Name, model_type, tokenizer.json, tokenizer_config.json, other files.
CASES = [
    ("no tokenizer_config", "bert", word_piece(), None, {}),
    ("no class", "bert", word_piece(), {"do_lower_case": False}, {}),
    ("no class, accents", "bert", word_piece(), {"do_lower_case": False, "strip_accents": True}, {}),
    ("cased, characters together", "bert", word_piece(), BERT | {"do_lower_case": False, "tokenize_chinese_chars": False}, {}),
    ("a sequence of normalizers", "bert", word_piece(normalizer=WORDY), BERT | {"do_lower_case": False}, {}),
    ("a general class", "bert", word_piece(), GENERAL | {"do_lower_case": True, "add_bos_token": True, "add_eos_token": True}, {}),
    ("words alone", "bert", word_piece("WordLevel"), BERT, {}),
    ("words alone, no class", "bert", word_piece("WordLevel"), None, {}),
    ("DistilBERT", "distilbert", word_piece(), {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False}, {}),
    ("tokens by name", "bert", word_piece(tokens=[]), GENERAL | {"cls_token": "[CLS]", "mask_token": "[MASK]"}, {}),
    ("tokens of the class", "bert", word_piece(tokens=[]), BERT, {}),
    ("a decoder of added tokens", "bert", word_piece(), BERT | {"added_tokens_decoder": {"5": PLAIN}}, {}),
    ("a decoder, a general class", "bert", word_piece(), GENERAL | {"added_tokens_decoder": {"5": PLAIN}}, {}),
    ("vocab.txt", "bert", None, BERT | {"do_lower_case": False}, {"vocab.txt": LIST}),
    ("vocab.txt alone", "bert", None, None, {"vocab.txt": LIST}),
    ("inputs named", "bert", word_piece(), BERT | {"model_input_names": ["input_ids", "attention_mask"]}, {}),
    ("RoBERTa", "roberta", bpe(), None, {}),
    ("RoBERTa with a space", "roberta", bpe(), {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}, {}),
    ("RoBERTa with its mask named", "roberta", bpe(), {"tokenizer_class": "RobertaTokenizer", "mask_token": "<mask>"}, {}),
    ("XLM-RoBERTa", "xlm-roberta", unigram(), None, {}),
    ("XLM-RoBERTa without a space", "xlm-roberta", unigram(), {"tokenizer_class": "XLMRobertaTokenizer", "add_prefix_space": False}, {}),
    ("XLM-RoBERTa's class on BERT", "bert", unigram(), {"tokenizer_class": "XLMRobertaTokenizer"}, {}),
    ("general class, SentencePiece", "xlm-roberta", unigram(), GENERAL, {}),
]
MORE = ["a <mask>b", "w20 a w1", "A.b"]


def answer(model_type, file, config, others):
    with tempfile.TemporaryDirectory() as folder:
        files = {"config.json": {"model_type": model_type}, "tokenizer.json": file, "tokenizer_config.json": config}
        for name, value in files.items():
            if value is not None:
                with open(os.path.join(folder, name), "w") as out:
                    json.dump(value, out)
        for name, text in others.items():
            with open(os.path.join(folder, name), "w") as out:
                out.write(text)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        pair = tokenizer("w20 a", "b w21")
        return {
            "ids": [tokenizer(text)["input_ids"] for text in TEXTS + MORE],
            "pair": pair["input_ids"], "segments": pair.get("token_type_ids") or [0] * len(pair["input_ids"]),
        }


cases = []
for name, model_type, file, config, others in CASES:
    cases.append({"name": name, "model_type": model_type, "tokenizer": file, "config": config, "files": others,
                  **answer(model_type, file, config, others)})
with open("tokenizers.json", "w") as out:
    json.dump({"texts": TEXTS + MORE, "cases": cases}, out, ensure_ascii=False, separators=(",", ":"))
    out.write("\n")

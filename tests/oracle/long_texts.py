"""Tokenizers of whole words in the manner of each family, and texts of a known number of tokens.

An id from FIRST_WORD on is the word `w<id>`; below lie a family's own special tokens.
"""

import json

import numpy as np
from tokenizers import Tokenizer

VOCABULARY = 97
FIRST_WORD = 10

SPECIALS = {
    "bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    "mpnet": ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"],
    "deberta": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
    "t5": ["<pad>", "</s>", "<unk>"],
    "gemma": ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"],
    "qwen": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"],
    "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<unk>", "<|mask|>"],
    "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
}
# How one text is framed, and two: the number after a colon is the token type where it is not 0.
FRAMES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "mpnet": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
    "deberta": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "t5": ("$A </s>", "$A </s> $B </s>"),
    "gemma": ("<bos> $A <eos>", "<bos> $A <eos> <bos> $B <eos>"),
    "qwen": ("$A <|endoftext|>", "$A $B <|endoftext|>"),
    "llama": ("<|begin_of_text|> $A <|end_of_text|>", "<|begin_of_text|> $A $B <|end_of_text|>"),
    "xlm-roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
}
ROLES = {
    "bert": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "bos": 2, "eos": 3},
    "mpnet": {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "mask": 4, "cls": 0, "sep": 2},
    "deberta": {"pad": 0, "cls": 1, "sep": 2, "unk": 3, "mask": 4},
    "t5": {"pad": 0, "eos": 1, "unk": 2},
    "gemma": {"pad": 0, "eos": 1, "bos": 2, "unk": 3, "mask": 4},
    "qwen": {"pad": 0, "eos": 0, "unk": 3},
    "llama": {"bos": 0, "eos": 1, "pad": 1, "unk": 2, "mask": 3},
    "xlm-roberta": {"bos": 0, "pad": 1, "eos": 2, "unk": 3, "mask": 4, "cls": 0, "sep": 2},
}


def frame(parts):
    """A frame in the words of tokenizer.json."""
    for part in parts.split(" "):
        name, _, type_id = part.partition(":")
        kind = {"Sequence": {"id": name[1:]}} if name.startswith("$") else {"SpecialToken": {"id": name}}
        (content,) = kind.values()
        content["type_id"] = int(type_id or 0)
        yield kind


def tokenizer_files(kind, longest, vocabulary=VOCABULARY):
    """The tokenizer of whole words, and its settings."""
    words = SPECIALS[kind] + [f"<{i}>" for i in range(len(SPECIALS[kind]), FIRST_WORD)]
    words += [f"w{i}" for i in range(FIRST_WORD, vocabulary)]
    ids = {word: i for i, word in enumerate(words)}
    single, pair = (list(frame(parts)) for parts in FRAMES[kind])
    used = {part["SpecialToken"]["id"] for part in single if "SpecialToken" in part}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[s],
                "content": s,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for s in SPECIALS[kind]
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": pair,
            "special_tokens": {s: {"id": s, "ids": [ids[s]], "tokens": [s]} for s in sorted(used)},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": words[ROLES[kind]["unk"]]},
    }
    settings = {f"{role}_token": words[i] for role, i in ROLES[kind].items()}
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest}
    return tokenizer, settings


WORDS = np.random.default_rng(16).integers(FIRST_WORD, VOCABULARY, 20000)


def words_of(case, count):
    """A text: every case begins elsewhere in the one run of words."""
    return " ".join(f"w{i}" for i in WORDS[37 * case :][:count])


def read(kind, *texts):
    return Tokenizer.from_str(json.dumps(tokenizer_files(kind, None)[0])).encode(*texts)


def single_case(kind, case, tokens):
    """A text of so many tokens, those of its frame included."""
    words = tokens - FRAMES[kind][0].count(" ")
    return {"input_ids": read(kind, words_of(case, words)).ids}


def pair_case(kind, case, first, second):
    """Two texts of so many words, with token types."""
    encoding = read(kind, words_of(case, first), words_of(case + 1, second))
    return {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids}

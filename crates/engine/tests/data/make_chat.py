#!/usr/bin/env python3
"""Makes chat.json: pairs in chat templates as sentence-transformers 6.2 turns them into ids.

    python3 make_chat.py FOLDER

FOLDER is any model folder with a LogitScore module (tests/oracle/folders.tar.xz has two): its tokenizer is replaced by
one made here, byte-level BPE of Qwen's kind, with special tokens and with added tokens that are none. Nothing is run
but the library's own preparation of inputs.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from sentence_transformers import CrossEncoder
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<think>", "</think>", "<tool_call>"]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CORPUS = [
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided.",
    'Note that the answer can only be "yes" or "no". <Instruct>: <Query>: <Document>: system user assistant',
    "Given a web search query, retrieve relevant passages that answer the query. Is it relevant?",
    "how to split a string by a delimiter, naïve cafés, Größe und Übermaß, the cat sat on the mat",
] * 4

ROLE = "messages | selectattr('role', 'eq', '{}') | map(attribute='content') | first"
QWEN = (
    "{%- set instruction = "
    + ROLE.format("system")
    + " | default('Given a web search query, retrieve relevant passages that answer the query') -%}\n"
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: {{ instruction }}\n<Query>: {{ '
    + ROLE.format("query")
    + " }}\n<Document>: {{ "
    + ROLE.format("document")
    + " }}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n{{ '' }}"
)
# No special token stands beside a text, and the text behind the document is long.
SEAMS = (
    "{% for m in messages %}\n{% if m.role == 'system' %}\ninstruction: {{ m.content }}\n{% elif m.role == 'query' %}\n"
    "query: {{ m.content }} {% else %}\ndocument:{{ m.content }}\n{% endif %}\n{% endfor %}\nIs it relevant? yes or no{{ eos_token }}"
)
PARTS = (
    "<|im_start|>{% for m in messages %}{{ m['role'] }} {{ m.content[0].text }}{% if not loop.last %}<|im_end|>{% endif %}"
    "{% endfor %}<|im_end|>"
)
TEMPLATES = {"qwen": (QWEN, "flat"), "seams": (SEAMS, "flat"), "parts": (PARTS, "structured")}

TEXTS = [
    "split a string",
    " the cat sat ",
    "  two  spaces  ",
    "\nlines\n\nand lines\r\n",
    "naïve café, Größe. Übermaß!",
    "e\u0301te\u0301 漢字とカタカナ 🙂👩‍👩‍👧",
    "it's 2024: (v1.31.1) \"gone\"?",
    "…",
    "'s",
    "<b>&amp;</b> {{ x }} \\n",
    "<tool_call> is an added token",
    "\u00a0\u200b",
    "the cat sat on the mat " * 40,
    "漢字🙂" * 60,
]


def tokenizer():
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[], show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    made.add_tokens([AddedToken(t, normalized=False, special=False) for t in ADDED])
    return made


def main():
    source = Path(sys.argv[1])
    made = tokenizer()
    answer = {"tokenizer": json.loads(made.to_str()), "eos_token": SPECIAL[0], "templates": []}
    for name, (template, style) in TEMPLATES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            shutil.copytree(source, folder)
            for old in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json"):
                (folder / old).unlink()
            fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=SPECIAL[0], pad_token=SPECIAL[0])
            fast.model_max_length = 512
            fast.chat_template = template
            fast.save_pretrained(folder)
            settings = folder / "sentence_bert_config.json"
            said = json.loads(settings.read_text())
            said["modality_config"]["message"]["format"] = style
            settings.write_text(json.dumps(said))
            model = CrossEncoder(str(folder), device="cpu")
            cases = []
            for at, document in enumerate(TEXTS):
                # A long query would be cut by the library.
                query = TEXTS[(at * 5 + 3) % (len(TEXTS) - 2)]
                for prompt in (None, TEXTS[(at + 1) % (len(TEXTS) - 2)]):
                    for longest in (512, 200):
                        how = {"text": {"max_length": longest}}
                        ids = model[0].preprocess([(query, document)], prompt=prompt, processing_kwargs=how)["input_ids"]
                        cases.append(
                            {
                                "instruction": prompt,
                                "query": query,
                                "document": document,
                                "max_length": longest,
                                "ids": ids[0].tolist(),
                            }
                        )
            answer["templates"].append({"name": name, "source": template, "structured": style == "structured", "cases": cases})
    out = Path(__file__).with_name("chat.json")
    out.write_text(json.dumps(answer, ensure_ascii=False, separators=(",", ":")) + "\n")
    print(out, out.stat().st_size)


if __name__ == "__main__":
    main()

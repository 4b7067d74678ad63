"""Which of llama.cpp's pre-tokenizers a tokenizer.json asks for.

llama.cpp re-implements each way of cutting text before the merges, and wants its name in the GGUF. Its own
converter finds the name by encoding a test text and looking up the hash of the ids, which works for published
vocabularies only. The definition itself stands in tokenizer.json, so that is what is compared here.

Knows: the definitions of the two families DeepSeek distilled R1 into. Does not know: vocabularies, or GGUF.
"""

from __future__ import annotations

import json
from typing import Any

from r1_quantize.errors import BadCheckpoint

_CONTRACTIONS_AND_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_PUNCTUATION_AND_SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_KNOWN = {
    # (normalizer, the expression text is split with): name. Qwen2 takes digits one by one, Llama 3 by threes.
    ("NFC", _CONTRACTIONS_AND_WORDS + r"\p{N}" + _PUNCTUATION_AND_SPACE): "deepseek-r1-qwen",
    (None, _CONTRACTIONS_AND_WORDS + r"\p{N}{1,3}" + _PUNCTUATION_AND_SPACE): "llama-bpe",
}


def pretokenizer_of(tokenizer: dict[str, Any]) -> str:
    """The value of tokenizer.ggml.pre for a tokenizer.json.

    Raises BadCheckpoint, with what was found, when the definition is not one of those known.
    """
    normalizer, cut = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    match cut:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            kind = normalizer.get("type") if isinstance(normalizer, dict) else None
            if name := _KNOWN.get((kind, pattern)):
                return name
    found = json.dumps({"normalizer": normalizer, "pre_tokenizer": cut}, ensure_ascii=False)
    raise BadCheckpoint(
        f"tokenizer.json: its way of cutting text is not known; "
        f"known are {' and '.join(_KNOWN.values())}; found {found:.600}"
    )

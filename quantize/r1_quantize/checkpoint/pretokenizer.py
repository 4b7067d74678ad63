"""tokenizer.json -> the name of llama.cpp's pre-tokenizer, for the two families DeepSeek distilled R1 into.

llama.cpp re-implements each way of splitting text before the merges and wants its name in the GGUF. Its own converter
finds the name by encoding a test text and looking up the hash of the ids, which works for published vocabularies only.
tokenizer.json has the definition itself, so that is compared here.
"""

from __future__ import annotations

import difflib
import json
from typing import Any

from r1_quantize.errors import BadCheckpoint, UsageError

_CONTRACTIONS_AND_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_PUNCTUATION_AND_SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN = ("NFC", _CONTRACTIONS_AND_WORDS + r"\p{N}" + _PUNCTUATION_AND_SPACE)  # splits digits one by one
_LLAMA_3 = (None, _CONTRACTIONS_AND_WORDS + r"\p{N}{1,3}" + _PUNCTUATION_AND_SPACE)  # splits digits in threes

_NAMES = (
    "a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe command-r dbrx "
    "deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 f2llmv2 falcon "
    "falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling granite-embed-multi-311m "
    "granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es jina-v1-en jina-v2-code "
    "jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe llama-bpe llama-v3 "
    "llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral "
    "poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 "
    "starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking whitespace youtu"
)
KNOWN = frozenset(_NAMES.split())
"""The values of tokenizer.ggml.pre that llama.cpp runs (src/llama-vocab.cpp); a test asks the library itself."""


def check_pretokenizer(name: str) -> str:
    """Check a name given by a user. Raises UsageError when llama.cpp does not know it."""
    if name not in KNOWN:
        near = difflib.get_close_matches(name[:40], KNOWN, n=5, cutoff=0.4) or ["qwen2", "llama-bpe"]
        raise UsageError(f"unknown --pretokenizer {name!r:.40}; llama.cpp has {', '.join(near)} ({len(KNOWN)} in all)")
    return name


def pretokenizer_of(tokenizer: dict[str, Any]) -> str:
    """The value of tokenizer.ggml.pre for a tokenizer.json.

    Raises BadCheckpoint, quoting the definition, when it is not a known one.
    """
    normalizer, pre_tokenizer = tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")
    match pre_tokenizer:
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            kind = normalizer.get("type") if isinstance(normalizer, dict) else None
            if (kind, pattern) == _QWEN:
                return "deepseek-r1-qwen" if _adds_bos(tokenizer) else "qwen2"
            if (kind, pattern) == _LLAMA_3:
                return "llama-bpe"
    definition = json.dumps({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer}, ensure_ascii=False)
    raise BadCheckpoint(
        "tokenizer.json: unknown pre-tokenizer; r1 knows those of Qwen 2 and Llama 3; "
        f"choose one of llama.cpp's with --pretokenizer NAME; found {definition:.600}"
    )


def post_processors(tokenizer: dict[str, Any]) -> list[Any]:
    """The steps after the merges, which add special tokens to a text; unchecked."""
    match tokenizer.get("post_processor"):
        case {"type": "Sequence", "processors": [*steps]}:
            return steps
        case step:
            return [step]


def _adds_bos(tokenizer: dict[str, Any]) -> bool:
    """True when a BOS is added before a text.

    DeepSeek's vocabulary does this and Qwen's does not: the only difference by which the converter tells them apart.
    llama.cpp treats both names alike.
    """
    for step in post_processors(tokenizer):
        match step:
            case {"type": "TemplateProcessing", "single": [{"SpecialToken": _}, *_]}:
                return True
    return False

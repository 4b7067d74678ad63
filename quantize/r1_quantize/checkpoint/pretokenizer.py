"""tokenizer.json -> the name of llama.cpp's pre-tokenizer, for the two families DeepSeek distilled R1 into.

llama.cpp re-implements each way of splitting text before the merges and wants its name in the GGUF. Its own converter
finds the name by encoding a test text and looking up the hash of the ids, which works for published vocabularies only.
tokenizer.json has the definition itself, so that is compared here. Some versions of transformers save a wrong
definition; such a file is recognised by its vocabulary.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from r1_quantize.errors import BadCheckpoint, UsageError

_CONTRACTIONS_AND_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_PUNCTUATION_AND_SPACE = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN = ("NFC", _CONTRACTIONS_AND_WORDS + r"\p{N}" + _PUNCTUATION_AND_SPACE)  # splits digits one by one
_LLAMA_3 = (None, _CONTRACTIONS_AND_WORDS + r"\p{N}{1,3}" + _PUNCTUATION_AND_SPACE)  # splits digits in threes

_MISTRAL = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What transformers writes into any tokenizer that is loaded with fix_mistral_regex=True."""

_VOCABULARIES = {
    "ad061afcfc26a5ff7b7611ace84657fe939d902af56b06ba07d823fec5668050": "Qwen 2",
    "3242f61949925c26749895804297217519a1a97a2f26fa957f8447658015564e": "Llama 3",
}
"""Digest of a vocabulary and its merges -> whose they are. The distills differ from these in the added tokens only."""

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


@dataclass(frozen=True, slots=True)
class Pretokenizer:
    """`name` is the value of tokenizer.ggml.pre. `note` says why it is not the one that tokenizer.json defines."""

    name: str
    note: str | None = None


def check_pretokenizer(name: str) -> str:
    """Check a name given by a user. Raises UsageError when llama.cpp does not know it."""
    if name not in KNOWN:
        near = difflib.get_close_matches(name[:40], KNOWN, n=5, cutoff=0.4) or ["qwen2", "llama-bpe"]
        raise UsageError(f"unknown --pretokenizer {name!r:.40}; llama.cpp has {', '.join(near)} ({len(KNOWN)} in all)")
    return name


def recognise(tokenizer: dict[str, Any]) -> Pretokenizer:
    """The pre-tokenizer that the vocabulary in a tokenizer.json was made for.

    That is the one defined there, unless transformers is known to write another one for this vocabulary by mistake
    (https://github.com/huggingface/transformers/issues/45488). Raises BadCheckpoint as `pretokenizer_of`.
    """
    mistake = _known_mistake(tokenizer)
    made_for = _VOCABULARIES.get(_digest(tokenizer)) if mistake else None
    if made_for is None:
        return Pretokenizer(pretokenizer_of(tokenizer))
    name = "llama-bpe" if made_for == "Llama 3" else _qwen_name(tokenizer)
    return Pretokenizer(
        name,
        f"tokenizer.json has {mistake}, which some versions of transformers write by mistake for the vocabulary of "
        f"{made_for}; using {name}, which that vocabulary was made for",
    )


def _known_mistake(tokenizer: dict[str, Any]) -> str | None:
    """The part of a tokenizer.json that transformers is known to get wrong, in words."""
    match tokenizer.get("pre_tokenizer"):
        case {"type": "Metaspace"} | {"type": "Sequence", "pretokenizers": [{"type": "Metaspace"}]}:
            return "the pre-tokenizer Metaspace"
        case {"pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}}, *_]} if pattern == _MISTRAL:
            return "Mistral's pre-tokenizer"
    return None


def _digest(tokenizer: dict[str, Any]) -> str:
    """The digest of the vocabulary, by id, and the merges; empty when they are not of the usual form."""
    match tokenizer.get("model"):
        case {"vocab": dict(vocab), "merges": [*merges]} if all(type(number) is int for number in vocab.values()):
            pairs = (" ".join(map(str, merge)) if isinstance(merge, list) else str(merge) for merge in merges)
            text = "\n".join([*sorted(vocab, key=vocab.__getitem__), "", *pairs])
            return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return ""


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
                return _qwen_name(tokenizer)
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


def _qwen_name(tokenizer: dict[str, Any]) -> str:
    """llama.cpp's name of Qwen 2's pre-tokenizer. It has two, which it treats alike.

    DeepSeek's tokenizer adds a BOS before a text and Qwen's does not: the only difference by which the converter tells
    them apart.
    """
    for step in post_processors(tokenizer):
        match step:
            case {"type": "TemplateProcessing", "single": [{"SpecialToken": _}, *_]}:
                return "deepseek-r1-qwen"
    return "qwen2"

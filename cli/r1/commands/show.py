"""`r1 show`: the facts in a GGUF's header, and its origin from its manifest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from r1.console import Column, Console, aligned, printable
from r1.library import look_up, open_store
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import ExitStatus
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import GGUFFile, TokenType
from r1_quantize.recipe import RECIPES
from r1_quantize.store.model import StoredModel


def show(console: Console, reference: str, *, as_json: bool) -> ExitStatus:
    """Prints the facts, one per line, or as one JSON object. Raises ModelNotFound, BadGGUF."""
    store = open_store(console.environ)
    model = look_up(store, reference)
    facts = _facts(model, reader.read(model.path), store.catalogue.get(model.name) if model.quant else None)
    if as_json:
        console.json(facts)
    else:
        _print(console, facts)
    return ExitStatus.OK


def _print(console: Console, facts: Mapping[str, Any]) -> None:
    rows = [(_TITLES.get(name, name.replace("_", " ")), _in_words(name, value)) for name, value in facts.items()]
    if console.stdout_is_terminal:
        console.rich().print(aligned((Column("", wrap=False), Column("")), rows))
        return
    width = max(len(title) for title, _ in rows) + 2
    for title, text in rows:
        console.out(f"{title:<{width}}" + text.replace("\n", f"\n{' ' * width}") + "\n")


_TITLES = {
    "pre_tokenizer": "pre-tokenizer",
    "top_p": "top-p",
    "aime_pass1": "pass@1",
    "aime_cons64": "cons@64",
    "sha256": "SHA-256",
    "imatrix_sha256": "imatrix SHA-256",
}
"""The titles that differ from the keys in JSON."""


def _facts(model: StoredModel, gguf: GGUFFile, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """`checkpoint` is the one of the catalogue that the model was made from; None for any other."""
    keys = gguf.metadata
    architecture = _text(keys, "general.architecture") or "?"
    learned = [tensor for tensor in gguf.tensors if tensor.name != "rope_freqs.weight"]
    weights = sum(math.prod(tensor.shape) for tensor in learned)
    stored_bits = 8 * sum(tensor.nbytes for tensor in learned)
    facts = {
        "model": model.reference,
        "title": _text(keys, "general.name"),
        "file": str(model.path),
        "size": model.size,
        "type": _file_type(keys),
        "architecture": architecture,
        "parameters": weights,
        "bits_per_weight": round(stored_bits / weights, 2) if weights else None,
        "tensors": _types_by_class(gguf),
        "layers": _count(keys, f"{architecture}.block_count"),
        "context": _count(keys, f"{architecture}.context_length"),
        "vocabulary": _vocabulary(keys),
        "special_tokens": _special_tokens(keys),
        "pre_tokenizer": _text(keys, "tokenizer.ggml.pre"),
        "temperature": _number(keys, "general.sampling.temp"),
        "top_p": _number(keys, "general.sampling.top_p"),
        "licence": _text(keys, "general.license"),
        "imatrix": _text(keys, "quantize.imatrix.file"),
        "aime_pass1": checkpoint.aime_pass1 if checkpoint else None,
        "aime_cons64": checkpoint.aime_cons64 if checkpoint else None,
        **_origin(model),
    }
    return {name: value for name, value in facts.items() if value not in (None, {}, [])}


def _origin(model: StoredModel) -> dict[str, Any]:
    manifest = model.manifest
    if manifest is None:
        return {"source": "not on record"}
    return {
        "tensor_types": manifest.tensor_types,
        "source": manifest.source,
        "revision": manifest.revision,
        "sha256": manifest.sha256,
        "imatrix_sha256": manifest.imatrix_sha256,
        "made_with": manifest.tools,
        "made_on": manifest.created,
    }


def _file_type(keys: Mapping[str, Any]) -> str | None:
    number = _count(keys, "general.file_type")
    return next((name for name, recipe in RECIPES.items() if recipe.number == number), None)


def _vocabulary(keys: Mapping[str, Any]) -> dict[str, int] | None:
    """The number of tokens, in total and of each type."""
    tokens, types = keys.get("tokenizer.ggml.tokens"), keys.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list):
        return None
    counts = Counter(types) if isinstance(types, list) else Counter()
    kinds = {kind.name.lower(): counts[kind] for kind in TokenType if counts[kind]}
    return {"tokens": len(tokens), **kinds}


def _special_tokens(keys: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`bos` → id and text; also `eos` and `padding`."""
    tokens, special = keys.get("tokenizer.ggml.tokens"), dict[str, dict[str, Any]]()
    for kind in ("bos", "eos", "padding"):
        number = _count(keys, f"tokenizer.ggml.{kind}_token_id")
        if isinstance(tokens, list) and number is not None and 0 <= number < len(tokens):
            special[kind] = {"id": number, "text": printable(str(tokens[number]))}
    return special


def _types_by_class(gguf: GGUFFile) -> dict[str, dict[str, int]]:
    """`attn_v` → {"Q6_K": 14, "Q4_K": 14}: how many tensors of each class have which type."""
    classes: dict[str, Counter[str]] = {}
    for tensor in gguf.tensors:
        parts = tensor.name.split(".")
        name = printable(parts[2] if parts[0] == "blk" and len(parts) > 2 else parts[0])
        if not tensor.name.endswith(".bias"):
            classes.setdefault(name, Counter())[tensor.type.name] += 1
    return {name: dict(counts.most_common()) for name, counts in classes.items()}


def _in_words(name: str, value: Any) -> str:
    if name in _WORDS:
        return _WORDS[name](value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _vocabulary_in_words(counts: Mapping[str, int]) -> str:
    kinds = (f", {count:,} {kind.replace('_', ' ')}" for kind, count in [*counts.items()][1:])
    return f"{counts['tokens']:,} tokens{''.join(kinds)}"


def _score(percent: float, by: str) -> str:
    return f"{percent:.1f} % of AIME 2024 (published; {by}, unquantized)"


_WORDS: Mapping[str, Callable[[Any], str]] = {
    "size": lambda count: f"{units.size(count)} ({count:,} bytes)",
    "parameters": lambda count: f"{units.parameters(count)} ({count:,})",
    "vocabulary": _vocabulary_in_words,
    "tensors": lambda classes: "\n".join(f"{key}: {_counts(kinds)}" for key, kinds in classes.items()),
    "special_tokens": lambda tokens: "\n".join(f"{key}: {it['text']} ({it['id']})" for key, it in tokens.items()),
    "aime_pass1": lambda percent: _score(percent, "one answer"),
    "aime_cons64": lambda percent: _score(percent, "majority of 64"),
}
"""Facts that need more than their value."""


def _counts(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{kind} × {count}" if count > 1 else kind for kind, count in kinds.items())


# A GGUF can have a value of any type under any key. Values of an unexpected type are left out.


def _text(keys: Mapping[str, Any], key: str) -> str | None:
    value = keys.get(key)
    return printable(" ".join(value.split())) if isinstance(value, str) else None


def _count(keys: Mapping[str, Any], key: str) -> int | None:
    value = keys.get(key)
    return value if isinstance(value, int) else None


def _number(keys: Mapping[str, Any], key: str) -> float | None:
    """Rounded, because F32 stores 0.6 as 0.6000000238."""
    value = keys.get(key)
    return round(value, 4) if isinstance(value, float) and math.isfinite(value) else None

"""`r1 show`: what a GGUF says of itself, and what its manifest says of where it came from.

Knows: which facts matter. Does not know: the layout of a GGUF (`r1_quantize.reader`).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from r1.console import Console, printable
from r1.library import look_up, open_store
from r1.render import units
from r1_quantize import reader
from r1_quantize.errors import ExitStatus
from r1_quantize.reader import GGUFFile
from r1_quantize.store import StoredModel


def show(console: Console, reference: str, *, as_json: bool) -> ExitStatus:
    """Prints the facts, one a line, or as one JSON object. Raises ModelNotFound, BadGGUF."""
    model = look_up(open_store(console.environ), reference)
    facts = _facts(model, reader.read(model.path))
    if as_json:
        console.out(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    else:
        width = max(map(len, facts)) + 2
        console.out("".join(f"{name:<{width}}{_in_words(name, value, width)}\n" for name, value in facts.items()))
    return ExitStatus.OK


def _facts(model: StoredModel, gguf: GGUFFile) -> dict[str, Any]:
    keys = gguf.metadata
    architecture = _text(keys, "general.architecture") or "?"
    weights = sum(math.prod(tensor.shape) for tensor in gguf.tensors)
    stored_bits = 8 * sum(tensor.nbytes for tensor in gguf.tensors)
    tokens = keys.get("tokenizer.ggml.tokens")
    facts = {
        "model": model.reference,
        "title": _text(keys, "general.name"),
        "file": str(model.path),
        "size": model.size,
        "architecture": architecture,
        "parameters": weights,
        "bits per weight": round(stored_bits / weights, 2) if weights else None,
        "tensors": _types_by_class(gguf),
        "layers": _count(keys, f"{architecture}.block_count"),
        "context": _count(keys, f"{architecture}.context_length"),
        "vocabulary": len(tokens) if isinstance(tokens, list) else None,
        "pre-tokenizer": _text(keys, "tokenizer.ggml.pre"),
        "temperature": _number(keys, "general.sampling.temp"),
        "top-p": _number(keys, "general.sampling.top_p"),
        "licence": _text(keys, "general.license"),
        **_origin(model),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _origin(model: StoredModel) -> dict[str, Any]:
    manifest = model.manifest
    if manifest is None:
        return {"source": "not on record"}
    return {
        "source": manifest.source,
        "revision": manifest.revision,
        "SHA-256": manifest.sha256,
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.tools.items()),
        "made on": manifest.created,
    }


def _types_by_class(gguf: GGUFFile) -> dict[str, str]:
    """`attn_v` → "Q6_K × 14, Q4_K × 14": which types the tensors of each class have."""
    classes: dict[str, Counter[str]] = {}
    for tensor in gguf.tensors:
        parts = tensor.name.split(".")
        name = printable(parts[2] if parts[0] == "blk" and len(parts) > 2 else parts[0])
        if not tensor.name.endswith(".bias"):
            classes.setdefault(name, Counter())[tensor.type.name] += 1
    return {
        name: ", ".join(f"{kind} × {count}" if count > 1 else kind for kind, count in counts.most_common())
        for name, counts in classes.items()
    }


def _in_words(name: str, value: Any, indent: int) -> str:
    if name == "size":
        return f"{units.size(value)} ({value:,} bytes)"
    if name == "parameters":
        return f"{units.parameters(value)} ({value:,})"
    if isinstance(value, dict):
        return f"\n{' ' * indent}".join(f"{key}: {kinds}" for key, kinds in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


# A GGUF may hold anything under any key: what is not of the kind it should be is left out.


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

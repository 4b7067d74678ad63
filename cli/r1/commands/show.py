"""`r1 show`: what a GGUF says of itself, and what its manifest says of where it came from.

Knows: which facts matter. Does not know: the layout of a GGUF (`r1_quantize.reader`).
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from r1.console import Console
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
    architecture = keys.get("general.architecture", "?")
    weights = sum(_elements(tensor.shape) for tensor in gguf.tensors)
    stored_bits = 8 * sum(tensor.nbytes for tensor in gguf.tensors)
    facts = {
        "model": model.reference,
        "title": keys.get("general.name"),
        "file": str(model.path),
        "size": model.size,
        "architecture": architecture,
        "parameters": weights,
        "bits per weight": round(stored_bits / weights, 2) if weights else None,
        "tensors": _types_by_class(gguf),
        "layers": keys.get(f"{architecture}.block_count"),
        "context": keys.get(f"{architecture}.context_length"),
        "vocabulary": len(keys["tokenizer.ggml.tokens"]) if "tokenizer.ggml.tokens" in keys else None,
        "pre-tokenizer": keys.get("tokenizer.ggml.pre"),
        "temperature": _rounded(keys.get("general.sampling.temp")),
        "top-p": _rounded(keys.get("general.sampling.top_p")),
        "licence": keys.get("general.license"),
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
        name = parts[2] if parts[0] == "blk" and len(parts) > 2 else parts[0]
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


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for dimension in shape:
        count *= dimension
    return count


def _rounded(value: float | None) -> float | None:
    """F32 in the file: 0.6 is stored as 0.6000000238."""
    return None if value is None else round(value, 4)

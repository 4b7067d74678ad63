"""Any JSON in a checkpoint's files gives a source or an error in one line, and no other exception."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.errors import BadCheckpoint
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape

SMALL = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)
EXAMPLES: dict[str, Any] = {
    "config.json": SMALL.config
    | {"quantization_config": {"quant_method": "gptq"}, "rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
    "tokenizer.json": checkpoints.tokenizer(),
    "tokenizer_config.json": checkpoints.TOKENIZER_CONFIG | {"add_prefix_space": True},
    "generation_config.json": {"top_p": 0.95, "temperature": 0.6, "top_k": 20},
}
JSON = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
        st.sampled_from(["Metaspace", "BPE", "yarn", "<think>", "\0", "\ud800", 1e308, 0, -1, 320, 1 << 32]),
    ),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value in a JSON document; only to the first few items of a long list or object."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items)[:12]:
        yield from places(item, (*path, key))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the document with another value at that place."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


PLACES = [(name, place) for name, document in EXAMPLES.items() for place in places(document)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid checkpoint; every example writes the JSON files again."""
    return checkpoints.write(tmp_path_factory.mktemp("json") / "checkpoint", SMALL)


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=3))
def test_a_changed_value_is_accepted_or_refused_in_one_line(
    folder: Path, changes: list[tuple[tuple[str, tuple[Any, ...]], Any]]
) -> None:
    documents = dict(EXAMPLES)
    for (name, place), value in changes:
        try:
            documents[name] = changed(documents[name], place, value)
        except (LookupError, TypeError, ValueError):
            continue  # an earlier change removed that place
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    refusal = refused(folder)
    assert "\n" not in refusal
    assert len(refusal) < 1500


def refused(folder: Path) -> str:
    """The message for a checkpoint; empty if it is accepted. Any other exception fails the test."""
    try:
        checkpoint_source(CheckpointFolder(folder), "x")
    except BadCheckpoint as exc:
        return str(exc)
    return ""

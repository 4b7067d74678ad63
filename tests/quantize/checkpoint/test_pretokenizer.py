"""`r1_quantize.checkpoint.pretokenizer`: recognised by its definition."""

from __future__ import annotations

import ctypes
import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf as reference
import pytest

from r1_quantize.binding import binding
from r1_quantize.checkpoint.pretokenizer import (
    _VOCABULARIES,
    KNOWN,
    Pretokenizer,
    _digest,
    check_pretokenizer,
    pretokenizer_of,
    recognise,
)
from r1_quantize.errors import BadCheckpoint, UsageError
from r1_quantize.gguf.metadata import string
from r1_quantize.pipeline import Job, quantize
from tests.fakes import checkpoints
from tests.fakes.checkpoints import LLAMA_SPLIT, SPLIT, Shape, tokenizer
from tests.fakes.paths import DATA

PRE = "tokenizer.ggml.pre"


def definition(pattern: str = SPLIT, normalizer: Any = None, **byte_level: Any) -> dict[str, Any]:
    """The two sections of tokenizer.json, as both families write them."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False} | byte_level
    return {"normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}}


QWEN = definition(normalizer={"type": "NFC"})
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
WITH_BOS = tokenizer()["post_processor"]
WITHOUT_BOS = WITH_BOS | {"single": WITH_BOS["single"][1:]}


class TestPretokenizer:
    """Two definitions are known; any other is refused and quoted."""

    def test_the_qwen_distills(self) -> None:
        assert pretokenizer_of(tokenizer()) == "deepseek-r1-qwen"

    def test_the_llama_distills(self) -> None:
        assert pretokenizer_of(tokenizer(llama=True)) == "llama-bpe"
        assert pretokenizer_of(definition(LLAMA_SPLIT)) == "llama-bpe"

    @pytest.mark.parametrize(
        "processor",
        [
            WITH_BOS,
            {"type": "Sequence", "processors": [BYTE_LEVEL, WITH_BOS]},
            {"type": "Sequence", "processors": [WITH_BOS]},
        ],
    )
    def test_qwens_with_a_bos_is_that_of_deepseek(self, processor: Any) -> None:
        assert pretokenizer_of(QWEN | {"post_processor": processor}) == "deepseek-r1-qwen"

    @pytest.mark.parametrize(
        "processor",
        [
            None,
            BYTE_LEVEL,
            WITHOUT_BOS,
            {"type": "Sequence", "processors": []},
            {"type": "Sequence", "processors": [BYTE_LEVEL, WITHOUT_BOS]},
            {"type": "TemplateProcessing"},
            {"type": "TemplateProcessing", "single": []},
            {"type": "TemplateProcessing", "single": "SpecialToken"},
            [],
            7,
        ],
    )
    def test_qwens_without_a_bos_is_qwens_own(self, processor: Any) -> None:
        assert pretokenizer_of(QWEN | {"post_processor": processor}) == "qwen2"

    def test_qwens_without_any_post_processor(self) -> None:
        assert pretokenizer_of(QWEN) == "qwen2"

    def test_options_without_effect_on_tokens_are_ignored(self) -> None:
        found = definition(normalizer={"type": "NFC"}, trim_offsets=False) | {"post_processor": WITH_BOS}
        assert pretokenizer_of(found) == "deepseek-r1-qwen"

    @pytest.mark.parametrize(
        "other",
        [
            definition(),  # Qwen's expression without Qwen's normalizer
            definition(normalizer={"type": "NFKC"}),
            definition(SPLIT + "|x", normalizer={"type": "NFC"}),
            definition(LLAMA_SPLIT, normalizer={"type": "NFC"}),  # Llama's expression with it
            definition(normalizer={"type": "NFC"}, add_prefix_space=True),
            definition(normalizer={"type": "NFC"}, use_regex=True),
            {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "ByteLevel"}},
            {"normalizer": [], "pre_tokenizer": []},
            {"normalizer": None, "pre_tokenizer": "x" * 10_000},
            {},
        ],
    )
    def test_any_other_is_refused_and_quoted(self, other: dict[str, Any]) -> None:
        said = r"r1 knows those of Qwen 2 and Llama 3; .* --pretokenizer NAME; found \{.*pre_tokenizer"
        with pytest.raises(BadCheckpoint, match=said) as caught:
            pretokenizer_of(other)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000


REAL: dict[str, Any] = json.loads(gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes()))
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
MISTRAL = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def saved_by_transformers_5(original: dict[str, Any]) -> dict[str, Any]:
    """What LlamaTokenizerFast.from_pretrained(…).save_pretrained(…) of transformers 5.3.0 makes of a tokenizer.json.

    Observed with the real file: vocabulary, added tokens and post-processor stay, everything else is replaced.
    """
    flags = {"continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True}
    pairs = [merge.split(" ") for merge in original["model"]["merges"]]
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    return {
        **original,
        "normalizer": None,
        "pre_tokenizer": METASPACE,
        "decoder": {"type": "Sequence", "decoders": [*steps, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {**original["model"], **flags, "ignore_merges": False, "merges": pairs},
    }


class TestRecognise:
    """A definition that transformers wrote by mistake is recognised by the vocabulary beside it."""

    def test_what_tokenizer_json_defines_is_taken_without_a_note(self) -> None:
        assert recognise(REAL) == Pretokenizer("deepseek-r1-qwen")
        assert recognise(tokenizer(llama=True)) == Pretokenizer("llama-bpe")

    def test_the_real_tokenizer_of_the_qwen_distills_as_transformers_5_saves_it(self) -> None:
        found = recognise(saved_by_transformers_5(REAL))
        assert found.name == "deepseek-r1-qwen"
        assert found.note == (
            "tokenizer.json has the pre-tokenizer Metaspace, which some versions of transformers write by mistake for "
            "the vocabulary of Qwen 2; using deepseek-r1-qwen, which that vocabulary was made for"
        )

    def test_qwens_own_name_where_no_bos_is_added(self) -> None:
        assert recognise(saved_by_transformers_5(REAL | {"post_processor": None})).name == "qwen2"

    def test_the_regex_for_mistral_that_transformers_advises_to_set(self) -> None:
        broken = REAL | definition(MISTRAL, normalizer={"type": "NFC"})
        found = recognise(broken)
        assert (found.name, "Mistral's pre-tokenizer" in (found.note or "")) == ("deepseek-r1-qwen", True)

    def test_added_tokens_do_not_matter(self) -> None:
        more = [*REAL["added_tokens"], {"id": 151665, "content": "<|mine|>", "special": True}]
        assert recognise(saved_by_transformers_5(REAL | {"added_tokens": more})).name == "deepseek-r1-qwen"

    def test_llama_3s_vocabulary(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A short vocabulary stands for the real one, which is too large for the repository."""
        small = tokenizer(llama=True)
        monkeypatch.setitem(_VOCABULARIES, _digest(small), "Llama 3")
        assert recognise(saved_by_transformers_5(small)).name == "llama-bpe"

    @pytest.mark.parametrize("part", ["vocab", "merges"])
    def test_the_same_mistake_with_another_vocabulary_is_refused(self, part: str) -> None:
        broken = saved_by_transformers_5(REAL)
        model = dict(broken["model"])
        model[part] = {**model["vocab"], "mine": 151643} if part == "vocab" else model["merges"][:-1]
        with pytest.raises(BadCheckpoint, match="unknown pre-tokenizer"):
            recognise(broken | {"model": model})

    @pytest.mark.parametrize("model", [None, {}, {"vocab": [], "merges": []}, {"vocab": {"a": "b"}, "merges": ["a"]}])
    def test_a_model_of_another_form_is_refused(self, model: Any) -> None:
        with pytest.raises(BadCheckpoint, match="unknown pre-tokenizer"):
            recognise({"pre_tokenizer": METASPACE, "model": model})

    def test_the_digest_of_qwens_vocabulary_is_that_of_its_texts_and_merges(self) -> None:
        vocabulary = sorted(REAL["model"]["vocab"].items(), key=lambda item: item[1])
        text = "".join(f"{text}\n" for text, _ in vocabulary) + "".join(f"\n{pair}" for pair in REAL["model"]["merges"])
        assert _VOCABULARIES[sha256(text.encode()).hexdigest()] == "Qwen 2"


class TestCheckPretokenizer:
    """Accepts the names that llama.cpp runs."""

    @pytest.mark.parametrize("name", sorted(KNOWN))
    def test_a_known_name(self, name: str) -> None:
        assert check_pretokenizer(name) == name

    @pytest.mark.parametrize(
        ("name", "near"),
        [
            *(("", "qwen2"), ("qwen", "qwen2"), ("Qwen2", "qwen2"), ("qwen2 ", "qwen2")),
            *(("llama-bpe\n", "llama-bpe"), ("deepseek-r1", "deepseek-r1-qwen"), ("x" * 10_000, "llama-bpe")),
        ],
    )
    def test_an_unknown_name_is_refused_with_similar_ones(self, name: str, near: str) -> None:
        with pytest.raises(
            UsageError, match=f"unknown --pretokenizer .*; llama.cpp has .*{near}.* \\(91 in all\\)"
        ) as caught:
            check_pretokenizer(name)
        assert "\n" not in str(caught.value)

    def test_the_two_definitions_have_known_names(self) -> None:
        assert {pretokenizer_of(found) for found in (QWEN, tokenizer(), tokenizer(llama=True))} <= KNOWN


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF with a chosen pre-tokenizer."""
    folder = tmp_path_factory.mktemp("pretokenizer")
    shape = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)
    source = checkpoints.write(folder / "checkpoint", shape)
    for _ in quantize(Job(source, "F32", folder / "made.gguf", name="made", pretokenizer="starcoder")):
        pass
    return folder / "made.gguf"


@pytest.fixture
def library() -> Iterator[Any]:
    """llama.cpp with its log discarded; restores the log callback afterwards."""
    found: Any = binding()
    listener, data = found.llama_log_callback(), ctypes.c_void_p()
    found.llama_log_get(ctypes.byref(listener), ctypes.byref(data))
    ignored = found.llama_log_callback(lambda *_: None)
    found.llama_log_set(ignored, None)
    found.llama_backend_init()
    yield found
    found.llama_log_set(listener, data)


class TestAgainstLlamaCpp:
    """The library accepts every known name and no other."""

    def loads(self, library: Any, path: Path) -> bool:
        """True when llama.cpp loads the vocabulary."""
        params = library.llama_model_default_params()
        params.vocab_only = True
        if not (model := library.llama_model_load_from_file(bytes(path), params)):
            return False
        library.llama_model_free(model)
        return True

    def renamed(self, made: Path, folder: Path, name: str) -> Path:
        """The same file with another pre-tokenizer, padded so that all tensors are inside the file."""
        path = folder / "renamed.gguf"
        content, old = made.read_bytes(), string(PRE, "starcoder").data
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, string(PRE, name).data) + bytes(64))
        return path

    def test_the_chosen_name_is_in_the_file(self, made: Path, library: Any) -> None:
        assert reference.GGUFReader(made).fields[PRE].contents() == "starcoder"
        assert self.loads(library, made)

    @pytest.mark.parametrize("name", sorted(KNOWN))
    def test_a_known_name_is_run(self, made: Path, tmp_path: Path, library: Any, name: str) -> None:
        assert self.loads(library, self.renamed(made, tmp_path, name))

    @pytest.mark.parametrize("name", ["qwen", "Qwen2", "llama-bpe ", "no-such-name"])
    def test_an_unknown_name_is_not(self, made: Path, tmp_path: Path, library: Any, name: str) -> None:
        assert not self.loads(library, self.renamed(made, tmp_path, name))

"""The Qwen distills' own tokenizer, through `r1_quantize.checkpoint.vocab` and into llama.cpp."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from r1_quantize.gguf import reader
from r1_quantize.pipeline import Job, quantize
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import DATA
from tests.fakes.vocabularies import Vocabulary

CORPUS = (DATA / "corpus.txt").read_text(encoding="utf-8").splitlines()
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # enum llama_token_type


def write(folder: Path, vocab: int) -> Path:
    """The smallest checkpoint with the real tokenizer and an embedding of `vocab` rows."""
    checkpoints.write(folder, Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1, vocab=vocab))
    tokenizer = gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes())
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "tokenizer_config.json").write_bytes((DATA / "r1-distill-qwen.tokenizer_config.json").read_bytes())
    return folder


@pytest.fixture(scope="module", params=[151_936, 152_064], ids=["of the 1.5B", "of the 7B to 32B"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A GGUF with that vocabulary, and the number of rows."""
    folder = tmp_path_factory.mktemp("real")
    source = write(folder / "checkpoint", request.param)
    for _ in quantize(Job(source, "Q8_0", folder / "a.gguf", name="real")):
        pass
    return folder / "a.gguf", request.param


@pytest.fixture(scope="module")
def vocabulary(made: tuple[Path, int]) -> Iterator[Vocabulary]:
    """The vocabulary, loaded by llama.cpp."""
    with Vocabulary(made[0]) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The reference tokenizer."""
    return Tokenizer.from_str(gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes()).decode())


class TestVocabulary:
    """Facts about DeepSeek's published vocabulary."""

    def test_is_padded_to_the_embedding(self, made: tuple[Path, int]) -> None:
        path, size = made
        found = reader.read(path).metadata
        tokens = found["tokenizer.ggml.tokens"]
        assert len(tokens) == len(set(tokens)) == size
        assert tokens[151_665:] == [f"[PAD{number}]" for number in range(151_665, size)]

    def test_has_the_types_llama_cpp_expects(self, made: tuple[Path, int]) -> None:
        path, size = made
        types = reader.read(path).metadata["tokenizer.ggml.token_type"]
        expected = {NORMAL: 151_643, CONTROL: 18, USER_DEFINED: 4, UNUSED: size - 151_665}
        assert Counter(types) == expected

    def test_has_bos_and_eos(self, made: tuple[Path, int]) -> None:
        found = reader.read(made[0]).metadata
        tokens = found["tokenizer.ggml.tokens"]
        assert found["tokenizer.ggml.pre"] == "deepseek-r1-qwen"
        assert tokens[found["tokenizer.ggml.bos_token_id"]] == "<｜begin▁of▁sentence｜>"
        assert tokens[found["tokenizer.ggml.eos_token_id"]] == "<｜end▁of▁sentence｜>"
        numbers = {"<｜User｜>": 151_644, "<｜Assistant｜>": 151_645, "<think>": 151_648, "</think>": 151_649}
        assert {text: tokens.index(text) for text in numbers} == numbers

    def test_has_all_merges(self, made: tuple[Path, int]) -> None:
        source = json.loads(gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes()))
        assert reader.read(made[0]).metadata["tokenizer.ggml.merges"] == source["model"]["merges"]


class TestEncoding:
    """llama.cpp with this vocabulary tokenizes text like the library the tokenizer was made for."""

    @pytest.mark.parametrize("number", range(len(CORPUS)), ids=lambda number: f"line {number + 1}")
    def test_same_ids(self, vocabulary: Vocabulary, tokenizer: Tokenizer, number: int) -> None:
        text = CORPUS[number]
        assert vocabulary.encode(text, control=True) == tokenizer.encode(text, add_special_tokens=False).ids

    def test_of_the_complete_corpus(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        text = "\n".join(CORPUS) + "\n\n \n\r\n\t"
        ids = vocabulary.encode(text, control=True)
        assert ids == tokenizer.encode(text, add_special_tokens=False).ids
        assert len(ids) > 1000

    def test_decomposed_text_is_the_one_known_difference(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        """The tokenizer normalizes to form C first; llama.cpp does not normalize."""
        composed, decomposed = (unicodedata.normalize(form, "Größe") for form in ("NFC", "NFD"))
        expected = tokenizer.encode(composed, add_special_tokens=False).ids
        assert tokenizer.encode(decomposed, add_special_tokens=False).ids == expected
        assert vocabulary.encode(composed, control=False) == expected
        assert vocabulary.encode(decomposed, control=False) != expected

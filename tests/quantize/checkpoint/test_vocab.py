"""`r1_quantize.checkpoint.vocab`: tokenizer.json → the vocabulary llama.cpp uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.pretokenizer import _VOCABULARIES, _digest
from r1_quantize.checkpoint.vocab import Vocabulary, vocabulary
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf import reader
from tests.fakes import checkpoints
from tests.fakes.checkpoints import CONTROL, MERGES, THINKING, Shape
from tests.fakes.vocabularies import Vocabulary as Library
from tests.quantize.checkpoint.test_pretokenizer import saved_by_transformers_5
from tests.quantize.conftest import Make

TEXTS = [
    "Hello, the world!  9.11 or 9.9?",
    "How many r's are in “strawberry”?\n\n\tI'll count: 1 2 3 123456",
    "Größe, naïve, Ελληνικά, русский, עברית, العربية, हिन्दी, ไทย, 中文字符, 日本語, 한국어",
    "🚀 👩‍🚀 \u200d\ufe0f ́combining \x00\x01\x7f",
    "the theme\n\n\nthere   \n x=1;\r\n\r\n",
    "",
]

SMALL = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)
Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, name: str, change: Change) -> Path:
    """A checkpoint with one JSON file changed."""
    checkpoints.write(folder)
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    checkpoints.write_json(folder / name, content)
    return folder


class TestAgainstTheTokenizersLibrary:
    """llama.cpp with our vocabulary tokenizes text like the library the tokenizer was made for."""

    @pytest.mark.parametrize("text", TEXTS)
    def test_same_ids(self, fake: Path, gguf: Path, text: str) -> None:
        expected = Tokenizer.from_file(str(fake / "tokenizer.json")).encode(text, add_special_tokens=False).ids
        assert encode(gguf, text, control=False) == expected

    def test_control_tokens(self, fake: Path, gguf: Path) -> None:
        text = "<｜User｜>Hi<｜Assistant｜><think>\nwell\n</think>\n\nHi<｜end▁of▁sentence｜>"
        expected = Tokenizer.from_file(str(fake / "tokenizer.json")).encode(text, add_special_tokens=False).ids
        assert encode(gguf, text, control=True) == expected


def encode(path: Path, text: str, *, control: bool) -> list[int]:
    """llama.cpp's token ids for a text."""
    with Library(path) as library:
        return library.encode(text, control=control)


class TestTokens:
    """Each token has its text and type; unused tokens fill the embedding's size."""

    @pytest.fixture
    def metadata(self, gguf: Path) -> dict[str, Any]:
        return dict(reader.read(gguf).metadata)

    def test_are_as_many_as_the_embedding_has_rows(self, metadata: dict[str, Any]) -> None:
        assert len(metadata["tokenizer.ggml.tokens"]) == len(metadata["tokenizer.ggml.token_type"]) == 320

    def test_have_the_type_of_their_flags(self, metadata: dict[str, Any]) -> None:
        types = dict(zip(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"], strict=True))
        normal, control, user_defined, unused = 1, 3, 4, 5  # enum llama_token_type
        assert {types[text] for text in CONTROL} == {control}
        assert {types[text] for text in THINKING} == {user_defined}
        assert types["the"] == types["A"] == normal
        assert types["[PAD267]"] == types["[PAD319]"] == unused

    def test_tokens_that_look_special_are_control_tokens(self, tmp_path: Path, make: Make) -> None:
        def unflag(tokenizer: dict[str, Any]) -> None:
            for token in tokenizer["added_tokens"]:
                token["special"] = False

        folder = changed(tmp_path / "c", "tokenizer.json", unflag)
        found = reader.read(make(folder, "F32")).metadata
        assert found["tokenizer.ggml.token_type"][260:267] == [3, 3, 3, 3, 3, 4, 4]

    def test_merges_of_the_new_form_are_written_in_the_old_one(self, tmp_path: Path, make: Make) -> None:
        def pair(tokenizer: dict[str, Any]) -> None:
            tokenizer["model"]["merges"] = [merge.split(" ") for merge in MERGES]

        folder = changed(tmp_path / "c", "tokenizer.json", pair)
        assert reader.read(make(folder, "F32")).metadata["tokenizer.ggml.merges"] == list(MERGES)


class TestSavedByTransformers5:
    """A tokenizer.json with transformers' mistakes gives the vocabulary of the original one."""

    def entries(self, folder: Path, original: dict[str, Any]) -> Vocabulary:
        checkpoints.write_json(folder / "tokenizer.json", original)
        checkpoint = CheckpointFolder(folder)
        return vocabulary(checkpoint, architecture_of(checkpoint.config))

    def test_all_entries_are_the_same(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder, small = checkpoints.write(tmp_path / "c", SMALL), checkpoints.tokenizer()
        monkeypatch.setitem(_VOCABULARIES, _digest(small), "Qwen 2")
        original = self.entries(folder, small)
        saved = self.entries(folder, saved_by_transformers_5(small))
        assert saved.entries == original.entries
        assert (original.notes, len(saved.notes)) == ((), 1)

    def test_a_prefixed_space_is_dropped_with_the_definition_it_came_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = checkpoints.write(tmp_path / "c", replace(SMALL, llama=True))
        checkpoints.write_json(
            folder / "tokenizer_config.json", checkpoints.TOKENIZER_CONFIG | {"add_prefix_space": True}
        )
        small = checkpoints.tokenizer(llama=True)
        monkeypatch.setitem(_VOCABULARIES, _digest(small), "Llama 3")
        key = "tokenizer.ggml.add_space_prefix"
        assert key in {entry.key for entry in self.entries(folder, small).entries}
        assert key not in {entry.key for entry in self.entries(folder, saved_by_transformers_5(small)).entries}


class TestDuplicates:
    """llama.cpp ends the process when two tokens have the same text, so a GGUF with such tokens is never made."""

    @pytest.mark.parametrize(
        ("content", "number", "said"),
        [
            ("A", 300, r"the tokens \d+ and 300 have the same text, 'A'"),  # an ordinary token added again
            ("[PAD301]", 300, "the tokens 300 and 301 have the same text, '\\[PAD301\\]'"),  # the name of an unused one
            ("A\0x", 300, "the tokens .* and 300 have the same text, 'A'"),  # llama.cpp's strings end at a NUL
        ],
    )
    def test_are_refused(self, tmp_path: Path, make: Make, content: str, number: int, said: str) -> None:
        added = {"id": number, "content": content, "special": False}
        folder = changed(tmp_path / "c", "tokenizer.json", lambda tokenizer: tokenizer["added_tokens"].append(added))
        with pytest.raises(BadCheckpoint, match=f"tokenizer.json: {said}, so llama.cpp cannot load it"):
            make(folder, "F32")


class TestSpecialIds:
    """Special ids come from tokenizer_config.json by text, else from config.json by number."""

    def special(self, path: Path) -> dict[str, Any]:
        found = reader.read(path).metadata
        return {key[15:]: found[key] for key in found if key.endswith(("_token_id", "_token"))}

    def test_of_a_distill(self, gguf: Path) -> None:
        assert self.special(gguf) == {
            **{"bos_token_id": 263, "eos_token_id": 260, "padding_token_id": 260},
            **{"add_bos_token": True, "add_sep_token": False, "add_eos_token": False},
        }

    def test_without_tokenizer_config(self, tmp_path: Path, make: Make) -> None:
        folder = checkpoints.write(tmp_path / "c")
        (folder / "tokenizer_config.json").unlink()
        found = self.special(make(folder, "F32"))
        assert found == {"bos_token_id": 263, "eos_token_id": 260, "add_bos_token": True, "add_sep_token": False}

    def test_a_text_that_is_not_an_added_token_is_ignored(self, tmp_path: Path, make: Make) -> None:
        def misname(config: dict[str, Any]) -> None:
            config["pad_token"] = "<none>"

        folder = changed(tmp_path / "c", "tokenizer_config.json", misname)
        assert "padding_token_id" not in self.special(make(folder, "F32"))

    def test_a_number_outside_the_vocabulary_is_refused(self, tmp_path: Path, make: Make) -> None:
        def outside(config: dict[str, Any]) -> None:
            config["sep_token_id"] = 320

        folder = changed(tmp_path / "c", "config.json", outside)
        with pytest.raises(BadCheckpoint, match="'sep_token_id' has the id 320"):
            make(folder, "F32")


class TestChatTemplate:
    """The template may be in several places."""

    def template(self, path: Path) -> object:
        return reader.read(path).metadata.get("tokenizer.chat_template")

    def test_in_tokenizer_config(self, gguf: Path) -> None:
        assert self.template(gguf) == checkpoints.TEMPLATE

    def test_the_default_one_of_several(self, tmp_path: Path, make: Make) -> None:
        def several(config: dict[str, Any]) -> None:
            names = ("tool_use", "default")
            config["chat_template"] = [{"name": name, "template": f"the {name} one"} for name in names]

        folder = changed(tmp_path / "c", "tokenizer_config.json", several)
        assert self.template(make(folder, "F32")) == "the default one"

    def test_in_a_separate_file(self, tmp_path: Path, make: Make) -> None:
        folder = changed(tmp_path / "c", "tokenizer_config.json", lambda config: config.pop("chat_template"))
        (folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
        assert self.template(make(folder, "F32")) == "{{ messages }}"

    def test_nowhere(self, tmp_path: Path, make: Make) -> None:
        folder = changed(tmp_path / "c", "tokenizer_config.json", lambda config: config.pop("chat_template"))
        assert self.template(make(folder, "F32")) is None


class TestDamage:
    """A bad tokenizer.json is refused in one line."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: t.pop("model"), "the model is not BPE"),
            (lambda t: t["model"].update(type="Unigram"), "the model is not BPE"),
            (lambda t: t["model"].update(vocab=[]), "the model is not BPE"),
            (lambda t: t["model"]["vocab"].update(extra=320), "'extra' has the id 320"),
            (lambda t: t["model"]["vocab"].update(extra=-1), "'extra' has the id -1"),
            (lambda t: t["model"]["vocab"].update(extra="7"), "'extra' has the id '7'"),
            (lambda t: t["model"]["vocab"].update({"\ud800": 0}), "text that is not Unicode"),
            (lambda t: t["model"].update(merges=[]), "no merges"),
            (lambda t: t["model"].pop("merges"), "no merges"),
            (lambda t: t["model"].update(merges=["a b", ["a", "b"]]), "neither strings nor pairs"),
            (lambda t: t["model"].update(merges=[["a", "b", "c"]]), "neither strings nor pairs"),
            (lambda t: t.update(added_tokens={}), "added_tokens is not a list"),
            (lambda t: t["added_tokens"].append({"id": "7", "content": "x"}), "is not an added token"),
            (lambda t: t["added_tokens"].append({"id": 4000, "content": "x"}), "'x' has the id 4000"),
            (lambda t: t["post_processor"].update(single=["x", "y"]), "is not a template piece"),
            (lambda t: t.pop("pre_tokenizer"), "unknown pre-tokenizer"),
        ],
    )
    def test_is_named(self, tmp_path: Path, make: Make, change: Change, said: str) -> None:
        folder = changed(tmp_path / "c", "tokenizer.json", change)
        with pytest.raises(BadCheckpoint, match=said) as caught:
            make(folder, "F32")
        assert "\n" not in str(caught.value)

    def test_a_missing_tokenizer(self, tmp_path: Path, make: Make) -> None:
        folder = checkpoints.write(tmp_path / "c")
        (folder / "tokenizer.json").unlink()
        with pytest.raises(BadCheckpoint, match=r"tokenizer\.json is missing"):
            make(folder, "F32")

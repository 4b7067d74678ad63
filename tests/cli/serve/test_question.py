"""What a client asks, as a request for the engine: with the built-in model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from r1.engine.context import PromptTooLong
from r1.engine.prompt import Beginning, Turn
from r1.forms.form import regex_form
from r1.loaded_model import LoadedModel
from r1.serve.messages import Dialogue
from r1.serve.question import Question, request_for
from r1.settings import Settings
from r1_quantize.errors import UsageError

SETTINGS = Settings(threads=1, temp=0.25, top_p=0.5, seed=9, max_tokens=33)


@pytest.fixture(scope="module")
def loaded(tiny_path: Path) -> Iterator[LoadedModel]:
    with LoadedModel(tiny_path, Settings(threads=1)) as made:
        yield made


def text_of(question: Question, loaded: LoadedModel) -> str:
    """The complete prompt."""
    request = request_for(question, SETTINGS, loaded)
    return b"".join(loaded.model.piece(token) for segment in request.prompt for token in segment).decode()


def test_a_dialogue_has_its_turns_without_their_thinking(loaded: LoadedModel) -> None:
    text = text_of(Question("x", Dialogue((Turn("hi", "hm", "hello"),), "17+25?")), loaded)
    assert text.index("hi") < text.index("hello") < text.index("17+25?") < text.index("<think>")
    assert "hm" not in text


def test_a_reply_goes_on_where_the_client_began_it(loaded: LoadedModel) -> None:
    text = text_of(Question("x", Dialogue((), "17+25?", Beginning("easy", "It is "))), loaded)
    assert text.endswith("It is ")
    assert text.index("easy") < text.index("</think>")


def test_a_text_is_continued_as_it_stands(loaded: LoadedModel) -> None:
    text = text_of(Question("x", text=" 1+1= "), loaded)
    assert text.endswith(" 1+1= ")
    assert "<think>" not in text


def test_the_settings_are_those_of_the_request(loaded: LoadedModel) -> None:
    for question in (Question("x", text="1"), Question("x", Dialogue((), "1"))):
        sampling = request_for(question, SETTINGS, loaded).sampling
        assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_tokens) == (0.25, 0.5, 9, 33)


@pytest.mark.parametrize("top", [None, 0, 5])
def test_log_probabilities(loaded: LoadedModel, top: int | None) -> None:
    for question in (Question("x", text="1", top_logprobs=top), Question("x", Dialogue((), "1"), top_logprobs=top)):
        assert request_for(question, SETTINGS, loaded).top_logprobs == top


def test_a_form_is_for_the_answer(loaded: LoadedModel) -> None:
    form = regex_form("[0-9]+")
    assert request_for(Question("x", Dialogue((), "1"), form=form), SETTINGS, loaded).grammar == form.gbnf
    with pytest.raises(UsageError, match="a form is for the complete answer"):
        request_for(Question("x", Dialogue((), "1", Beginning("", "4")), form=form), SETTINGS, loaded)


def test_a_prompt_that_is_far_too_long(loaded: LoadedModel) -> None:
    for question in (Question("x", text="1 " * 300_000), Question("x", Dialogue((), "1 " * 300_000))):
        with pytest.raises(PromptTooLong):
            request_for(question, SETTINGS, loaded)


def test_all_texts_that_are_to_be_continued() -> None:
    assert Question("x", text="a", more_texts=("b", "c")).texts == ("a", "b", "c")
    assert Question("x", text="a").texts == ("a",)

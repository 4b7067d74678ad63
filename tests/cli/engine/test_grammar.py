"""`r1.engine.grammar`: which tokens an answer's form allows, by llama.cpp's grammar sampler on the built-in model."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator

import pytest

from r1.engine import grammar
from r1.engine.candidates import Candidates, Logits
from r1.engine.grammar import Constraint, NoEnd
from r1.engine.model import Model
from r1.engine.sampler import Sampler
from r1.engine.sampling import SamplingParams
from r1_quantize.errors import UsageError

NUMBER = 'root ::= "-"? [0-9]+ ("." [0-9]{2})?'
STRING = 'root ::= "\\"" [^"]* "\\""'


@pytest.fixture
def table(model: Model) -> Candidates:
    return Candidates(model.vocabulary_size)


@pytest.fixture
def held(model: Model) -> Iterator[list[Constraint]]:
    """Constraints to close after the test."""
    made: list[Constraint] = []
    yield made
    for constraint in made:
        constraint.close()
        constraint.close()  # twice is fine


def after(model: Model, held: list[Constraint], gbnf: str, text: str) -> Constraint:
    """A constraint after this text."""
    held.append(constraint := Constraint(model, gbnf))
    for token in model.tokenize(text):
        assert constraint.allows(token), f"{model.piece(token)!r} does not fit"
        constraint.accept(token)
    return constraint


def flat(model: Model, **liked: float) -> Logits:
    """Logits that are 0, but for the tokens of these characters."""
    row = array("f", [0.0] * model.vocabulary_size)
    for character, logit in liked.items():
        row[model.tokenize(character)[0]] = logit
    return memoryview(row)


def allowed(constraint: Constraint, model: Model, table: Candidates) -> set[int]:
    candidates = constraint.fill(table, flat(model))
    return set() if candidates is None else {candidates.data[index].id for index in range(candidates.size)}


class TestConstraint:
    """What a grammar allows is what a regular expression says it does."""

    @pytest.mark.parametrize("text", ["", "-", "4", "-42", "42.", "42.1", "42.19"])
    def test_allows_the_tokens_that_can_go_on(
        self, model: Model, table: Candidates, held: list[Constraint], text: str
    ) -> None:
        constraint = after(model, held, NUMBER, text)
        prefix = re.compile(r"-?([0-9]+(\.[0-9]{0,2})?)?")
        fits = {
            token
            for token in range(model.vocabulary_size)
            if not model.is_control(token)
            and (piece := model.piece(token).decode("latin-1"))
            and prefix.fullmatch(text + piece)
        }
        endings = set(model.turn_endings) if re.fullmatch(r"-?[0-9]+(\.[0-9]{2})?", text) else set()
        endings = {token for token in endings if model.is_end(token)}
        assert allowed(constraint, model, table) == fits | endings
        assert {token for token in range(model.vocabulary_size) if constraint.allows(token)} == fits | endings

    def test_control_tokens_are_no_text(self, model: Model, table: Candidates, held: list[Constraint]) -> None:
        """llama.cpp takes `<｜User｜>` for a text that may be in a string; it would end the answer in the middle."""
        constraint = after(model, held, STRING, '"ab')
        tokens = allowed(constraint, model, table)
        assert model.tokenize("c")[0] in tokens
        assert not {model.control.user, model.control.assistant, model.control.bos} & tokens
        assert not constraint.allows(model.control.user)

    def test_characters_of_several_tokens_are_held_to_it_as_well(
        self, model: Model, table: Candidates, held: list[Constraint]
    ) -> None:
        constraint = after(model, held, 'root ::= "é" | "ê"', "")
        (first, *_), seen = model.tokenize("é"), b""
        while tokens := allowed(constraint, model, table) - set(model.turn_endings):
            token = min(tokens)
            constraint.accept(token)
            seen += model.piece(token)
        assert first
        assert seen.decode() in {"é", "ê"}

    @pytest.mark.parametrize("likeliest", [1, 3, 50])
    def test_looks_at_all_only_where_none_of_the_likeliest_fits(
        self, model: Model, table: Candidates, held: list[Constraint], monkeypatch: pytest.MonkeyPatch, likeliest: int
    ) -> None:
        """The choice is the same: the likeliest of those that fit."""
        monkeypatch.setattr(grammar, "_LIKELIEST", likeliest)
        logits = flat(model, x=9.0, y=8.0, z=7.5, **{"7": 5.0, "3": 4.0})
        constraint = after(model, held, NUMBER, "1")
        with Sampler(SamplingParams(temperature=0)) as sampler:
            assert sampler.sample_allowed(logits, table, constraint) == model.tokenize("7")[0]

    def test_a_draw_follows_the_odds_among_those_that_fit(
        self, model: Model, table: Candidates, held: list[Constraint]
    ) -> None:
        constraint = after(model, held, "root ::= [73]", "")
        logits = flat(model, x=9.0, **{"7": math.log(3), "3": 0.0})
        seven = model.tokenize("7")[0]
        with Sampler(SamplingParams(temperature=1.0, top_p=1.0, seed=4)) as sampler:
            drawn = [sampler.sample_allowed(logits, table, constraint) for _ in range(600)]
        assert 0.68 < drawn.count(seven) / 600 < 0.82

    def test_nothing_fits_where_a_grammar_leads_nowhere(
        self, model: Model, table: Candidates, held: list[Constraint]
    ) -> None:
        constraint = after(model, held, 'root ::= "a" <[999999]>', "a")
        assert constraint.fill(table, flat(model)) is None

    def test_a_grammar_that_is_none_is_refused(self, model: Model, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(UsageError, match="cannot read the grammar"):
            Constraint(model, 'rot ::= "a"')


class TestNoEnd:
    """Any token but those that end the turn."""

    def test_the_others_stay(self, model: Model, table: Candidates) -> None:
        no_end = NoEnd(model)
        candidates = no_end.fill(table, flat(model))
        gone = {candidates.data[i].id for i in range(candidates.size) if candidates.data[i].logit == -math.inf}
        assert gone == {token for token in range(model.vocabulary_size) if not no_end.allows(token)}
        assert model.control.eos in gone
        assert model.tokenize("a")[0] not in gone

"""What a client may say about the reply in several APIs."""

from __future__ import annotations

import pytest

from r1.engine.sampling import MAX_SEED
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.reply_fields import own_form_in, sampling_in, schema_form_of


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"limit": 4, "max_tokens": 5}, {"max_tokens": 4}),
        ({"limit": None, "max_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 0}, {"temp": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {}),
    ],
)
def test_sampling(values: dict[str, object], changed: dict[str, object]) -> None:
    assert sampling_in(Fields(values), "limit", "max_tokens") == changed


def test_a_top_p_of_0_leaves_the_likeliest_token() -> None:
    """The engine wants more than 0."""
    top_p = sampling_in(Fields({"top_p": 0}))["top_p"]
    assert isinstance(top_p, float)
    assert 0 < top_p < 1e-6


@pytest.mark.parametrize("seed", [-2, MAX_SEED + 1, 2**63, -(2**63)])
def test_every_seed_of_64_bits_is_one_of_the_engines(seed: int) -> None:
    """The same one each time, and of two that differ by one, another."""
    made, other = (sampling_in(Fields({"seed": each}))["seed"] for each in (seed, seed + 1 if seed != -2 else -3))
    assert isinstance(made, int)
    assert 0 <= made <= MAX_SEED
    assert made != other


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"limit": 5, "max_tokens": "5"}, "max_tokens"),
        ({"temperature": 11}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": 2**65}, "seed"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(values: dict[str, object], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        sampling_in(Fields(values), "limit", "max_tokens")
    assert (caught.value.status, caught.value.param) == (400, param)


def test_forms_of_our_own() -> None:
    form = own_form_in(Fields({"choices": ["yes", "no"], "regex": None}))
    assert form is not None
    assert form.problem("yes") is None
    assert own_form_in(Fields({})) is None


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"regex": "("}, "regex"),
        ({"choices": []}, "choices"),
        ({"grammar": 5}, "grammar"),
        ({"regex": "a", "choices": ["b"]}, "choices"),
    ],
)
def test_a_form_that_cannot_be_used_is_refused_by_its_name(values: dict[str, object], param: str) -> None:
    with pytest.raises(ApiError, match=param) as caught:
        own_form_in(Fields(values))
    assert (caught.value.status, caught.value.param) == (400, param)


def test_a_schema_that_cannot_be_used_is_refused_by_the_name_of_its_field() -> None:
    with pytest.raises(ApiError, match=r"format\.schema") as caught:
        schema_form_of({"type": 5}, "format.schema")
    assert (caught.value.status, caught.value.param) == (400, "format.schema")

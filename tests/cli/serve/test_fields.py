"""Bodies of requests, read field by field."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1.serve.errors import ApiError
from r1.serve.fields import Fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values, max_size=3),
    max_leaves=8,
)


def refusal(body: bytes | Fields, method: str = "parse", *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Fields.parse(body) if isinstance(body, bytes) else getattr(body, method)(*arguments)
    assert caught.value.status == 400
    caught.value.message.encode()  # can be sent
    return caught.value


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "problem"),
        [
            (b"", "not JSON"),
            (b"hello", "not JSON"),
            (b'{"a": 1', "not JSON"),
            (b'{"a": NaN}', "NaN is not allowed"),
            (b'{"a": -Infinity}', "-Infinity is not allowed"),
            (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),  # more digits than Python reads
            (b'{"a": "\xff"}', "not UTF-8"),
            (b"[]", "not a JSON object"),
            (b"null", "not a JSON object"),
            (b"[" * 100_000, "nested too deep"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deep"),
        ],
    )
    def test_what_is_no_json_object_is_refused(self, body: bytes, problem: str) -> None:
        assert problem in refusal(body).message

    def test_the_last_of_two_fields_of_the_same_name_counts(self) -> None:
        assert Fields.parse(b'{"a": 1, "a": 2}').integer("a", 0, 9) == 2


class TestValues:
    @pytest.mark.parametrize("value", [None, ...])
    def test_null_is_as_good_as_no_field(self, value: object) -> None:
        fields = Fields({} if value is ... else {"a": value})
        assert "a" not in fields
        assert fields.text("a") is fields.integer("a", 0, 1) is fields.number("a", 0, 1) is fields.flag("a") is None
        assert fields.object("a") is fields.one_of("a", ("x",)) is None
        assert (fields.texts("a", 1), list(fields.objects("a")), fields.texts_by_name("a")) == ((), [], {})

    @pytest.mark.parametrize(
        ("method", "arguments", "value"),
        [
            ("text", (), 5),
            ("text", (), "half \ud83d"),
            ("required_text", (), None),
            ("one_of", (("x", "y"),), "z"),
            ("integer", (0, 9), 10),
            ("integer", (0, 9), 1.5),
            ("integer", (0, 9), True),
            ("integer", (0, 9), "1"),
            ("integer", (0, 9), 10**400),
            ("number", (0, 9), 10**400),
            ("number", (0, 9), float("inf")),
            ("number", (0, 9), False),
            ("flag", (), "true"),
            ("flag", (), 0),
            ("texts", (3,), [1]),
            ("texts", (3,), ["a"] * 4),
            ("texts", (3,), ["\udfff"]),
            ("object", (), []),
            ("texts_by_name", (), {"a": 1}),
            ("texts_by_name", (), {"\ud800": "a"}),
        ],
    )
    def test_a_value_that_cannot_be_taken_is_refused_by_the_name_of_its_field(
        self, method: str, arguments: tuple[Any, ...], value: object
    ) -> None:
        error = refusal(Fields({"a": value}, "b[1]"), method, "a", *arguments)
        assert (error.param or "").startswith("b[1].a")
        assert error.message.startswith("b[1].a")
        assert len(error.message) < 200

    def test_deep_and_long_values_are_not_told(self) -> None:
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        assert refusal(Fields({"a": deep}), "text", "a").message == "a must be a string, not a list"
        assert len(refusal(Fields({"a": "x" * 1_000_000}), "flag", "a").message) < 100

    def test_three_point_zero_is_a_whole_number(self) -> None:
        assert Fields({"a": 3.0}).integer("a", 0, 9) == 3

    def test_one_string_is_a_list_of_one(self) -> None:
        assert Fields({"a": "x"}).texts("a", 4) == ("x",)

    def test_what_is_inside_of_objects_has_the_complete_name(self) -> None:
        fields = Fields({"a": [{"b": {"c": 1}}, 2]})
        first = next(fields.objects("a"))
        inner = first.object("b")
        assert inner is not None
        assert refusal(inner, "text", "c").param == "a[0].b.c"
        with pytest.raises(ApiError, match=r"^a\[1\] must be an object, not 2$"):
            list(fields.objects("a"))

    @given(JSON)
    def test_any_value_is_taken_or_refused(self, value: object) -> None:
        fields = Fields.parse(json.dumps({"a": value}).encode())
        for method, arguments in [
            ("text", ()),
            ("integer", (0, 9)),
            ("number", (-1.5, 9)),
            ("flag", ()),
            ("texts", (3,)),
            ("object", ()),
            ("texts_by_name", ()),
            ("one_of", (("x",),)),
        ]:
            with suppress(ApiError):
                getattr(fields, method)("a", *arguments)

"""A prepared JSON Schema as a grammar, by the binding's converter, with its mistakes mended.

The converter is llama.cpp's, in Python, as llama-cpp-python ships it. What is mended: literals did not escape
backslashes; strings let control characters in and counted half characters; numbers could be too large for a double;
days such as February 31 were dates; long arrays and strings were written out, item by item; and an object's optional
properties were written in the wrong order, after a second comma or after none.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from r1.forms import characters
from r1.forms.gbnf import MAX_SIZE, Ranges, char_class, literal, repetition
from r1.forms.gbnf_check import check_grammar, read_grammar
from r1.forms.numbers import integers_between, numbers_between
from r1.forms.regex import GbnfWriter, compile_pattern
from r1.forms.schema_prepare import Preparation
from r1.forms.schema_text import refusal
from r1.forms.schema_types import Prepared
from r1_quantize.binding import schema_converter
from r1_quantize.errors import UsageError

_HEX = "[0-9a-fA-F]"
_UNESCAPED = char_class(characters.without(characters.ALPHABET, characters.union(characters.of('"\\\x7f'), ((0, 31),))))

_MENDED = {
    # RFC 8259; no halves of surrogate pairs, which other programs refuse and which are counted as characters
    "char": rf'{_UNESCAPED} | "\\" (["\\/bfnrt] | "u" ([0-9a-cA-CefEF] {_HEX} | [dD] [0-7]) {_HEX} {_HEX})',
    "integral-part": '"0" | [1-9] [0-9]{0,14}',
    "decimal-part": "[0-9]{1,15}",
    "number": '"-"? integral-part ("." decimal-part)? ([eE] [-+]? [0-9] [0-9]?)? space',
    # the years 1000 to 2999 of the Gregorian calendar
    "date": (
        '[12] [0-9] [0-9] [0-9] "-" (("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01])'
        ' | ("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
        ' | ([12] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | ("12" | "16" | "20" | "24" | "28") "00") "-02-29"'
    ),
}
"""Rules of the converter that allow too much, by name."""


def schema_grammar(preparation: Preparation) -> str:
    """The grammar of the JSON texts that a schema allows. Raises UsageError where there is none that ends."""
    root = preparation.run()
    converter = _converter({f"#/$defs/{name}": schema for name, schema in preparation.definitions.items()})
    converter.visit(root, "")
    gbnf: str = converter.format_grammar()
    _check_references(gbnf, preparation.places)
    check_grammar(gbnf)
    return gbnf


def _check_references(gbnf: str, places: dict[str, str]) -> None:
    """Raises UsageError, with the place in the schema, for one that refers to itself and so is never finished."""
    if len(gbnf) > MAX_SIZE:
        raise UsageError(f"the schema makes a grammar of more than {MAX_SIZE:,} characters; make it smaller")
    grammar = read_grammar(gbnf)
    if endless := [places[name] for name in grammar.endless() if name in places]:
        place = min(endless, key=len)
        raise refusal(place, "it requires itself without end, so no answer is ever finished; make a part optional")
    if recursive := grammar.left_recursive():
        place = places.get(recursive.partition("-")[0], "#")
        raise refusal(place, "it refers to itself with nothing around it; remove that $ref")


def _converter(definitions: dict[str, Prepared]) -> Any:
    base = schema_converter().SchemaConverter
    mended = type("MendedConverter", (_Mended, base), {})
    converter = mended(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    converter._refs = definitions
    return converter


class _Mended:
    """Methods in place of the converter's, for prepared schemas.

    The root is a reference, so the names of all other rules begin with the unique name of one, and none of them is the
    same as another's by chance.
    """

    _add_rule: Any

    def visit(self, schema: Prepared, name: str) -> Any:
        match schema:
            case {"type": "array", "items": items, "minItems": least, "maxItems": most}:
                return self._add_rule(name, self._array(self.visit(items, f"{name}-item"), name, least, most))
            case {"type": "string", "minLength": least, "maxLength": most}:
                char = self._add_primitive("char", SimpleNamespace(content="", deps=[]))
                return self._add_rule(name, f'"\\"" {char}{repetition(least, most)} "\\"" space')
            case {"type": "integer", "bounds": bounds}:
                return self._add_rule(name, f"({integers_between(bounds)}) space")
            case {"type": "number", "bounds": bounds}:
                return self._add_rule(name, f"({numbers_between(bounds)}) space")
        try:
            return super().visit(schema, name)  # type: ignore[misc]
        except KeyError as exc:
            # a part that turned out to allow nothing, and that refers to itself
            raise UsageError("the schema cannot be used: a part of it that is referred to allows no value") from exc

    def _array(self, item: str, name: str, least: int, most: int | None) -> str:
        more = self._add_rule(f"{name}-more", f'"," space {item}')
        rest = ""
        if most != 1:  # a rule of its own: llama.cpp multiplies the counts inside a group with those around it
            times = repetition(max(least - 1, 0), None if most is None else most - 1)
            rest = self._add_rule(f"{name}-rest", f"{more}{times}")
        content = f"{item} {rest}".strip()
        return f'"[" space {content if least else f"({content})?"} "]" space'

    def _build_object_rule(
        self, properties: list[tuple[str, Prepared]], required: set[str], name: str, additional_properties: Any
    ) -> str:
        """An object with its properties in the order of the schema."""
        if isinstance(additional_properties, dict):
            return self._map_rule(additional_properties, name)
        pairs = [(self._pair(key, schema, name), key in required) for key, schema in properties]
        rest = [""]  # what can follow a property, from the last to the first
        for index, (pair, is_required) in reversed(list(enumerate(pairs))[1:]):
            own = f'"," space {pair}' if is_required else f'("," space {pair})?'
            rest.insert(0, self._add_rule(f"{name}-from-{index}", f"{own} {rest[0]}".strip()))
        first = next((index for index, (_, is_required) in enumerate(pairs) if is_required), len(pairs) - 1)
        starts = [f"{pair} {rest[index]}".strip() for index, (pair, _) in enumerate(pairs[: first + 1])]
        content = f"({' | '.join(starts)}){'' if required else '?'}" if starts else ""
        return f'"{{" space {content} "}}" space'

    def _pair(self, key: str, schema: Prepared, name: str) -> str:
        value = self.visit(schema, f"{name}-{key}")
        pair: str = self._add_rule(f"{name}-{key}-kv", f'{_json_literal(key)} space ":" space {value}')
        return pair

    def _map_rule(self, values: Prepared, name: str) -> str:
        key = self._add_primitive("string", schema_converter().PRIMITIVE_RULES["string"])
        value = self.visit(values, f"{name}-additional-value")
        pair = self._add_rule(f"{name}-additional-kv", f'{key} ":" space {value}')
        more = self._add_rule(f"{name}-additional-more", f'"," space {pair}')
        return f'"{{" space ({pair} {more}*)? "}}" space'

    def _generate_constant_rule(self, value: Any) -> str:
        return f"{_json_literal(value)} space"

    def _visit_pattern(self, pattern: str, name: str) -> Any:
        def add(content: str) -> str:
            rule: str = self._add_rule(f"{name}-part", content)
            return rule

        body = GbnfWriter(_in_json, _text_in_json, add).write(compile_pattern(pattern))
        return self._add_rule(name, f'"\\"" {body} "\\"" space')

    def _add_primitive(self, name: str, rule: Any) -> str:
        mended = SimpleNamespace(content=_MENDED.get(name, rule.content), deps=rule.deps)
        added: str = super()._add_primitive(name, mended)  # type: ignore[misc]
        return added


def _json_literal(value: Any) -> str:
    """A literal for one JSON value. Characters beyond ASCII are themselves; halves of surrogate pairs are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return literal("".join(json.dumps(char)[1:-1] if "\ud800" <= char <= "\udfff" else char for char in text))


def _in_json(ranges: Ranges) -> str:
    """One character of a set, written as in a JSON string."""
    to_escape = characters.union(characters.of('"\\'), ((0, 31),))
    plain = characters.without(ranges, to_escape)
    escaped = [
        _text_in_json(chr(code)) for low, high in characters.common(ranges, to_escape) for code in range(low, high + 1)
    ]
    options = [*([char_class(plain)] if plain else []), *escaped]
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"


def _text_in_json(text: str) -> str:
    return literal(json.dumps(text, ensure_ascii=False)[1:-1])

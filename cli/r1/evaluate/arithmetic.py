r"""The exact value of arithmetic with rational numbers, in LaTeX or not: `\frac{3}{4}`, 1.5, 3 \times 10^4, 2^10-1."""

from __future__ import annotations

import re
from fractions import Fraction

_DIGITS = 1_000  # of a number; Python converts at most 4,300
_BITS = 8_000  # of a numerator or denominator
_DEPTH = 50  # of brackets in each other

_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([-+]?\d{1,5})(?![\d.]))?")
_PRODUCT = re.compile(r"\\(?:times|cdot|ast|div)(?![a-zA-Z])|[*/]")
_MIXED = re.compile(
    r"\s*(?:\\frac\s*(?:\{\s*(\d{1,9})\s*\}|(\d))\s*(?:\{\s*(\d{1,9})\s*\}|(\d))|(?<=\s)(\d{1,9})\s*/\s*(\d{1,9}))"
)
_CLOSING = {"(": ")", "{": "}", "[": "]"}


class NotExact(ValueError):
    """It is no arithmetic of rational numbers, or has too many digits."""


def value_of(formula: str) -> Fraction:
    """Raises NotExact; also for a division by zero. The time is bounded by the limits above."""
    parser = _Parser(formula)
    try:
        value = parser.sum(0)
    except (ZeroDivisionError, OverflowError) as exc:
        raise NotExact(formula) from exc
    if parser.peek():
        raise NotExact(formula)
    return value


class _Parser:
    """Recursive descent. Each method reads from `_at` on, raises NotExact, and returns the value."""

    def __init__(self, formula: str) -> None:
        self._formula = formula
        self._at = 0

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while self._formula[self._at : self._at + 1].isspace():
            self._at += 1
        return self._formula[self._at : self._at + 1]

    def sum(self, depth: int) -> Fraction:
        if depth > _DEPTH:
            raise NotExact
        value = self._product(depth)
        while (sign := self.peek()) in ("+", "-"):
            self._at += 1
            term = self._product(depth)
            value = _checked(value + term if sign == "+" else value - term)
        return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while True:
            self.peek()
            if operator := _PRODUCT.match(self._formula, self._at):
                self._at = operator.end()
                factor = self._signed(depth)
                value = _checked(value / factor if operator.group() in ("/", r"\div") else value * factor)
            elif self.peek() == "(":
                value = _checked(value * self._power(depth))
            else:
                return value

    def _signed(self, depth: int) -> Fraction:
        sign = 1
        while self.peek() in ("+", "-"):
            sign = -sign if self.peek() == "-" else sign
            self._at += 1
        return sign * self._power(depth)

    def _power(self, depth: int) -> Fraction:
        bases = [self._atom(depth)]
        while self.peek() == "^":
            self._at += 1
            negative = self.peek() == "-"
            self._at += negative
            exponent = self._atom(depth + 1)
            bases.append(-exponent if negative else exponent)
        value = bases.pop()
        while bases:  # from the right
            value = _raised(bases.pop(), value)
        return value

    def _atom(self, depth: int) -> Fraction:
        first = self.peek()
        if first in _CLOSING:
            return self._group(depth)
        if self._formula.startswith(r"\frac", self._at):
            self._at += len(r"\frac")
            top, bottom = self._argument(depth), self._argument(depth)
            return _checked(top / bottom)
        number = _NUMBER.match(self._formula, self._at)
        if number is None or len(number.group()) > _DIGITS:
            raise NotExact
        self._at = number.end()
        value = _raised_ten(Fraction(number[1]), int(number[2] or 0))
        return value + self._mixed() if number[1].isdecimal() and number[2] is None else value

    def _mixed(self) -> Fraction:
        """The fraction directly behind an integer, as in 1 1/2; 0 without one."""
        match = _MIXED.match(self._formula, self._at)
        if match is None:
            return Fraction(0)
        top, bottom = (int(digits) for digits in match.groups() if digits is not None)
        if not 0 < top < bottom:
            raise NotExact
        self._at = match.end()
        return Fraction(top, bottom)

    def _group(self, depth: int) -> Fraction:
        closing = _CLOSING[self.peek()]
        self._at += 1
        value = self.sum(depth + 1)
        if self.peek() != closing:
            raise NotExact
        self._at += 1
        return value

    def _argument(self, depth: int) -> Fraction:
        r"""Of `\frac`: in braces, or a single digit."""
        if self.peek() == "{":
            return self._group(depth)
        if not (digit := self.peek()).isdecimal():
            raise NotExact
        self._at += 1
        return Fraction(int(digit))


def _raised(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1 or abs(exponent) > _BITS:
        raise NotExact
    power = int(exponent)
    if abs(power) * max(base.numerator.bit_length(), base.denominator.bit_length()) > _BITS:
        raise NotExact
    return Fraction(base**power)


def _raised_ten(value: Fraction, exponent: int) -> Fraction:
    return _checked(value * _raised(Fraction(10), Fraction(exponent))) if exponent else value


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS:
        raise NotExact
    return value

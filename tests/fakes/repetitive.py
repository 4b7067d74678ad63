"""Texts that repeat themselves for a reason: numbers, tables, programs, songs, workings. None of them is a loop.

Each is as long as somebody would ask for: enumerations to 200, tables of 12 times 12, four choruses.
"""

from __future__ import annotations

import base64
import json
import math
import random
import textwrap
from collections.abc import Iterator

_DAYS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
_GIFTS = (
    "a partridge in a pear tree",
    "two turtle doves",
    "three French hens",
    "four calling birds",
    "five gold rings",
    "six geese a-laying",
    "seven swans a-swimming",
    "eight maids a-milking",
    "nine ladies dancing",
    "ten lords a-leaping",
    "eleven pipers piping",
    "twelve drummers drumming",
)
_BOTTLES = """\
{0} bottles of beer on the wall, {0} bottles of beer.
Take one down and pass it around, {1} bottles of beer on the wall.
"""
_LAUNCH = """\
    case {0}:
        multiply<float, {0}><<<grid, block, shared, stream>>>(left, right, target, rows, columns, stride);
        check(cudaGetLastError(), "the kernel was not launched");
        break;
"""
_CHORUS = """\
Oh, the river runs down to the sea,
and it carries the evening to me.
Let it run, let it run, let it run,
till the last of the daylight is done.
"""
_VERSES = (
    "I went out when the morning was grey,\nwith a lantern to show me the way.\n",
    "There were boats by the side of the mill,\nand a dog that was sleeping there still.\n",
    "An old man with a net on his knee\nsaid the tide had been kinder than he.\n",
    "Now the lamps in the village are lit,\nand beside my own window I sit.\n",
)
_NAMES = ("Ada", "Ben", "Cleo", "Dov", "Ema", "Finn", "Gus", "Hana", "Ivo", "Jun", "Kaya", "Lars", "Mia", "Noa", "Olga")
_CLAUSE = (
    "The Seller shall not be liable to the Buyer for any {}, whether arising in contract, in tort or otherwise, "
    "except to the extent that such {} was caused by the wilful misconduct of the Seller.\n"
)
_HARMS = (
    "loss of profit",
    "loss of data",
    "delay in delivery",
    "damage to goods",
    "loss of goodwill",
    "defect of form",
)


def texts() -> dict[str, str]:
    """Name → text."""
    return dict([*_numbers(), *_lines(), *_tables(), *_workings(), *_programs(), *_songs(), *_files()])


def _numbers() -> Iterator[tuple[str, str]]:
    yield "a million", "That is 1000000, or 1,000,000, so 10000000 / 10."
    yield "10 to the power of 100", f"10^100 = {10**100}"
    yield "2 to the power of 1,000", f"2^1000 = {2**1000}"
    yield "a third, to 100 places", f"1/3 = 0.{'3' * 100}..."
    yield "a seventh, to 120 places", f"1/7 = 0.{'142857' * 20}..."
    yield "1 to 200", ", ".join(map(str, range(1, 201)))
    yield "200 to 1", ", ".join(map(str, range(200, 0, -1)))
    yield "1 to 200 in lines", _joined(f"{n}" for n in range(1, 201))
    yield "squares to 200", _joined(f"{n} × {n} = {n * n}" for n in range(1, 201))
    yield "17 times 1 to 200", _joined(f"17 × {n} = {17 * n}" for n in range(1, 201))
    yield "remainders of 7", _joined(f"{n} mod 7 = {n % 7}" for n in range(1, 201))
    randrange = random.Random(1).randrange
    yield "an array of 500 random numbers", json.dumps([randrange(1000) for _ in range(500)])
    yield "an array of 150 zeros", json.dumps([0] * 150)
    yield "200 bits", ", ".join(str(randrange(2)) for _ in range(200))
    yield "fizz buzz", _joined("Fizz" * (n % 3 == 0) + "Buzz" * (n % 5 == 0) or str(n) for n in range(1, 201))
    yield "the primes below 1,000", ", ".join(str(n) for n in range(2, 1000) if all(n % d for d in range(2, n)))


def _lines() -> Iterator[tuple[str, str]]:
    yield "a row of dashes", "-" * 400 + "\n" + "=" * 400
    yield "closing brackets", "f(" * 60 + ")" * 60 + "]" * 60
    yield "indentation", _joined(" " * 4 * depth + "if x:" for depth in range(40))
    yield "steps to 200", _joined(f"Step {n}: check again." for n in range(1, 201))
    yield "a list of 200 items", _joined(f"{n}. Item number {n}" for n in range(1, 201))
    yield "a countdown", _joined(f"T minus {n} seconds and counting." for n in range(120, 0, -1))
    yield "a line to copy out 20 times", _joined(["I will not talk in class."] * 20)
    box = "+--------+--------+--------+\n|        |        |        |\n"
    yield "a grid of boxes", box * 8
    yield "a knight's moves", "\n\n".join(_board(column, row) for column in range(8) for row in (column % 3, 7))


def _tables() -> Iterator[tuple[str, str]]:
    yield "a matrix of zeros", "[\n" + "".join(f" {json.dumps([0] * 12)},\n" for _ in range(12)) + "]"
    unit = [" & ".join("1" if row == column else "0" for column in range(12)) for row in range(12)]
    yield "a unit matrix in LaTeX", "\\begin{bmatrix}\n" + " \\\\\n".join(unit) + "\n\\end{bmatrix}"
    yield "times tables in lines", _joined(f"{a} × {b} = {a * b}" for a in range(1, 13) for b in range(1, 13))
    rows = ["| " + " | ".join(str(a * b) for b in range(1, 13)) + " |" for a in range(1, 13)]
    yield "times tables in Markdown", _joined([rows[0], "|---" * 12 + "|", *rows])
    people = [f"| {name} {n} | {20 + n % 40} | {'yes' if n % 3 else 'no'} |" for n in range(5) for name in _NAMES]
    yield "a table of people", _joined(["| Name | Age | Member |", "| --- | ---: | --- |", *people])
    choice = random.Random(3).choice
    yield "CSV", _joined(f"{n},{choice(_NAMES)},{choice(('open', 'shut'))},{n % 9}.5" for n in range(1, 151))
    yield "JSON objects", json.dumps([{"id": n, "name": choice(_NAMES), "active": True} for n in range(100)], indent=2)
    yield (
        "truth tables",
        "\n\n".join(_truth_table(number) for number in (0b00010111, 0b01101001, 0b10000000, 0b11100010)),
    )
    yield "sines", _joined(f"sin({n}°) = {math.sin(math.radians(n)):.4f}" for n in range(0, 181))


def _workings() -> Iterator[tuple[str, str]]:
    yield "long divisions", "\n\n".join(_long_division(n * 7919, n + 6) for n in range(1, 13))
    yield "Euclid's algorithm", "\n".join(_euclid(n * 987, 610 + n) for n in range(1, 13))
    yield "bubble sort", _joined(_bubble_sort([7, 3, 9, 1, 12, 8, 2, 11, 6, 4]))
    yield "the towers of Hanoi", _joined(_hanoi(8, "A", "C", "B"))
    yield "Collatz", _joined(_collatz(27))
    yield "counting letters", "\n\n".join(_letters(word, "r") for word in ("strawberry", "raspberry", "refrigerator"))
    checks = [
        f"{n}: is it divisible by 7? {n} / 7 = {n / 7:.2f}, so {'yes' if n % 7 == 0 else 'no'}." for n in range(90)
    ]
    yield "divisibility checks", _joined(checks)


def _programs() -> Iterator[tuple[str, str]]:
    yield "an unrolled loop", _joined(f"    sum += a[i + {n}] * b[i + {n}];" for n in range(64))
    yield "the same call again and again", _joined(["    counter.increment();"] * 20)
    yield "a switch", _joined(f'        case {n}:\n            return "{_word(n)}";' for n in range(80))
    yield "the same few lines for each size", _joined(_LAUNCH.format(size) for size in (32, 64, 96, 128, 160, 192))
    yield "an HTML list", _joined(f'  <li><a href="/page/{n}">{_word(n)}</a></li>' for n in range(80))
    yield (
        "assembly",
        _joined(
            f"    vmovups ymm{n % 8}, [rsi + {32 * n}]\n    vaddps ymm{n % 8}, ymm{n % 8}, [rdi + {32 * n}]"
            for n in range(32)
        ),
    )
    yield "a table of bytes", _wrapped(", ".join(f"0x{n:02x}" for n in range(256)))
    yield "zero bytes", _wrapped(", ".join(["0x00"] * 96))
    properties = "    @property\n    def {0}(self) -> int:\n        return self._{0}\n"
    yield "properties", "\n".join(properties.format(_word(n)) for n in range(24))
    tests = "    def test_{0}(self):\n        self.assertEqual(run({0!r}), {1})\n"
    yield "test cases", "\n".join(tests.format(_word(n), n) for n in range(30))


def _songs() -> Iterator[tuple[str, str]]:
    yield "four verses and choruses", "\n".join(verse + "\n" + _CHORUS for verse in _VERSES)
    yield "a chorus four times", "\n".join([_CHORUS] * 4)
    yield "a line four times", "We are going home tonight, oh yes, we are going home.\n" * 4
    verses = (
        "On the {} day of Christmas my true love sent to me {}.\n".format(_DAYS[n], ", ".join(_GIFTS[n::-1]))
        for n in range(12)
    )
    yield "the twelve days of Christmas", "".join(verses)
    yield "bottles of beer", "\n".join(_BOTTLES.format(n, n - 1) for n in range(30, 0, -1))


def _files() -> Iterator[tuple[str, str]]:
    yield "clauses", "".join(f"{n}. " + _CLAUSE.format(harm, harm) for n, harm in enumerate(_HARMS, 1))
    stamps = (f"2024-05-{1 + n // 60:02}T10:{n % 60:02}:07Z" for n in range(120))
    yield (
        "a log",
        _joined(
            f"{stamp} INFO worker-{n % 4} request {1000 + n} handled in {n % 17} ms" for n, stamp in enumerate(stamps)
        ),
    )
    data = random.Random(4).randbytes(1024)
    yield "a hex dump", _hex_dump(data)
    yield "a hex dump of zeros", _hex_dump(bytes(128))
    yield "base64", textwrap.fill(base64.b64encode(data).decode(), 76)
    yield "DNA", textwrap.fill("".join(random.Random(5).choices("ACGT", k=1200)), 60)
    yield "a microsatellite", "CA" * 60


def _joined(lines: object) -> str:
    assert isinstance(lines, Iterator | list)
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 72)


def _word(number: int) -> str:
    """A made-up name, another for each number below 100."""
    last, first = divmod(number, 10)
    beginnings = ("ba", "co", "de", "fi", "gu", "la", "mo", "ne", "ri", "tu")
    ends = ("lem", "mar", "nex", "pol", "qua", "rin", "sor", "tas", "vel", "wem")
    return beginnings[first] + ends[last]


def _board(column: int, row: int) -> str:
    lines = [["♜", "♞", "♝", "♛", "♚", "♝", "♞", "♜"], *([["."] * 8] * 7)]
    return "\n".join(
        " ".join("N" if (x, y) == (column, row) else piece for x, piece in enumerate(line))
        for y, line in enumerate(lines)
    )


def _truth_table(values: int) -> str:
    rows = (f"{row >> 2} | {row >> 1 & 1} | {row & 1} | {values >> row & 1}" for row in range(8))
    return "a | b | c | value\n" + "\n".join(rows)


def _long_division(dividend: int, divisor: int) -> str:
    lines, rest, quotient = [f"{dividend} ÷ {divisor}:"], 0, ""
    for digit in str(dividend):
        rest = rest * 10 + int(digit)
        times = rest // divisor
        quotient += str(times)
        less = times * divisor
        lines.append(f"Bring down {digit}: {rest}. {divisor} goes in {times} times, {rest} - {less} = {rest - less}.")
        rest -= less
    return "\n".join([*lines, f"The quotient is {int(quotient)}, the remainder {rest}."])


def _euclid(a: int, b: int) -> str:
    lines = [f"gcd({a}, {b}):"]
    while b:
        lines.append(f"{a} = {a // b} × {b} + {a % b}")
        a, b = b, a % b
    return "\n".join([*lines, f"The greatest common divisor is {a}."])


def _bubble_sort(numbers: list[int]) -> Iterator[str]:
    for last in range(len(numbers) - 1, 0, -1):
        for place in range(last):
            first, second = numbers[place : place + 2]
            if first > second:
                numbers[place : place + 2] = second, first
                yield f"Compare {first} and {second}: {first} is greater, so swap. The list is {numbers}."
            else:
                yield f"Compare {first} and {second}: they are in order. The list is {numbers}."


def _hanoi(disks: int, source: str, target: str, spare: str) -> Iterator[str]:
    if disks:
        yield from _hanoi(disks - 1, source, spare, target)
        yield f"Move disk {disks} from {source} to {target}."
        yield from _hanoi(disks - 1, spare, target, source)


def _collatz(number: int) -> Iterator[str]:
    while number != 1:
        if number % 2:
            yield f"{number} is odd, so 3 × {number} + 1 = {3 * number + 1}."
        else:
            yield f"{number} is even, so {number} / 2 = {number // 2}."
        number = 3 * number + 1 if number % 2 else number // 2


def _letters(word: str, letter: str) -> str:
    lines = [f'How many times is "{letter}" in "{word}"?']
    count = 0
    for place, found in enumerate(word, 1):
        count += found == letter
        lines.append(f"{place}. {found}: {'yes' if found == letter else 'no'}, {count} so far")
    return "\n".join([*lines, f"{count} in all."])


def _hex_dump(data: bytes) -> str:
    rows = (data[start : start + 16] for start in range(0, len(data), 16))
    return _joined(f"{16 * number:08x}  {row.hex(' ')}" for number, row in enumerate(rows))

"""`r1.engine.repetition`: loops are found where they begin; what repeats itself for a reason is left alone."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from itertools import chain, cycle, islice
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from r1.engine.repetition import Loop, LoopDetector
from scripts.tiny.questions import held_out
from tests.fakes.paths import DATA
from tests.fakes.repetitive import texts

WORDS = range(1000, 50_000)
"""Ids that stand for words; those below 10 are digits."""
BEFORE = 300
"""Tokens before a loop, none of which it contains."""

STANDARD_LIBRARY = Path(random.__file__).parent
MODULES = ("encodings/cp437.py", "html/entities.py", "opcode.py", "tokenize.py", "locale.py", "stat.py", "cProfile.py")


def is_digit(token: int) -> bool:
    return token < 10


def digits(number: int) -> list[int]:
    return [int(digit) for digit in str(number)]


def words(seed: int, count: int) -> list[int]:
    """Different words; those of other seeds may be the same."""
    return random.Random(seed).sample(WORDS, count)


def preface() -> list[int]:
    return [50_000 + number for number in range(BEFORE)]


def first_loop(tokens: Iterable[int], detector: LoopDetector | None = None) -> tuple[int, Loop] | None:
    """The first loop that is seen, and after how many tokens."""
    detector = detector or LoopDetector(is_digit)
    for count, token in enumerate(tokens, 1):
        if loop := detector.add(token):
            return count, loop
    return None


def seen(tokens: Iterable[int], *, lenient: bool = False) -> tuple[int, Loop]:
    found = first_loop(tokens, LoopDetector(is_digit, lenient))
    assert found, "no loop was seen"
    return found


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The tokenizer of the Qwen distills, as an independent library reads it."""
    return Tokenizer.from_str(gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes()).decode())


@pytest.fixture(scope="module")
def encode(tokenizer: Tokenizer) -> Callable[[str], list[int]]:
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.fixture(scope="module")
def is_number(tokenizer: Tokenizer) -> Callable[[int], bool]:
    return frozenset(tokenizer.token_to_id(digit) for digit in "0123456789").__contains__


class TestTheSameBlock:
    """An exact period."""

    @pytest.mark.parametrize(
        ("period", "after"),
        [(1, 832), (2, 832), (3, 832), (5, 448), (7, 448), (12, 256), (64, 224), (200, 640), (512, 1600)],
    )
    def test_is_seen_soon_and_its_second_time_is_where_the_loop_starts(self, period: int, after: int) -> None:
        count, loop = seen([*preface(), *islice(cycle(words(1, period)), 5000)])
        assert loop == Loop(BEFORE + period, "exact", period)
        assert BEFORE + 3 * period <= count <= BEFORE + after

    def test_is_seen_at_the_very_beginning(self) -> None:
        assert seen(cycle(words(1, 64)))[1].start == 64

    def test_said_thrice_is_enough_when_it_is_long(self) -> None:
        block = words(1, 300)
        assert first_loop([*preface(), *block, *block, *words(2, 300)]) is None
        count, loop = seen([*preface(), *block, *block, *block, *block[:32], *words(2, 300)])
        assert loop.start == BEFORE + 300
        assert count <= BEFORE + 3 * 300 + 32

    def test_the_fewer_words_it_has_the_longer_it_may_go_on(self) -> None:
        counts = [seen(cycle([*words(1, number)] * 2))[0] for number in (2, 6, 10, 30)]
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) == len(counts)

    def test_of_digits_alone_is_seen(self) -> None:
        """1/7, written out without an end."""
        assert seen([*preface(), *islice(cycle(digits(142857)), 2000)])[1] == Loop(BEFORE + 6, "exact", 6)

    @pytest.mark.parametrize("seed", range(5))
    def test_of_two_words_in_a_random_order_is_seen(self, seed: int) -> None:
        """Every short piece of it comes several times in the block."""
        block = random.Random(seed).choices(WORDS[:2], k=400)
        assert seen([*preface(), *islice(cycle(block), 4000)])[1].period == 400

    def test_with_a_block_in_it_that_comes_again_and_again_is_seen(self) -> None:
        block = [*words(1, 20) * 8, *words(2, 30)]
        _, loop = seen([*preface(), *islice(cycle(block), 4000)])
        assert (loop.kind, loop.period) in {("exact", 20), ("exact", len(block))}

    def test_of_more_than_512_tokens_is_seen_in_fragments(self) -> None:
        count, loop = seen([*preface(), *islice(cycle(words(1, 700)), 6000)])
        assert loop == Loop(BEFORE + 700, "fragments", 0)
        assert count <= BEFORE + 6 * 700


class TestTheSameBlockWithOtherNumbers:
    """Numbers that change."""

    def test_counting_without_an_end_is_seen_after_256_lines(self) -> None:
        before, after = words(1, 3), words(2, 5)
        lines = [[*before, *digits(number), *after] for number in range(1, 1000)]
        count, loop = seen([*preface(), *chain(*lines)])
        assert loop == Loop(BEFORE + len(lines[0]), "numbers", 9)
        assert sum(map(len, lines[:256])) < count - BEFORE < sum(map(len, lines[:264]))

    def test_a_long_sentence_with_one_number_is_seen_sooner(self) -> None:
        """As in "In the year 2035, a new technology is used to …", and then 2040, 2045, and so on."""
        before, after = words(1, 3), words(2, 40)
        lines = [[*before, *digits(number), *after] for number in range(2035, 2235, 5)]
        count, loop = seen([*preface(), *chain(*lines)])
        assert loop == Loop(BEFORE + len(lines[0]), "numbers", 44)
        assert 6 * len(lines[0]) < count - BEFORE <= 14 * len(lines[0])

    def test_numbers_that_come_again_are_seen_sooner_than_new_ones(self) -> None:
        choose, block = random.Random(3).randrange, words(1, 9)
        again = chain.from_iterable([*block, *digits(choose(20)), *block[::-1]] for _ in range(500))
        new = chain.from_iterable([*block, *digits(number), *block[::-1]] for number in range(500))
        first, loop = seen([*preface(), *again])
        assert loop.kind == "numbers"
        assert first < BEFORE + 1800
        assert first < seen([*preface(), *new])[0]

    def test_numbers_of_another_length_are_still_numbers(self) -> None:
        line = words(1, 8)
        numbers = chain.from_iterable([*line, *digits(10 ** (number % 30))] for number in range(1000))
        assert seen([*preface(), *numbers])[1].kind == "numbers"


class TestSentencesInAnyOrder:
    """Fragments."""

    @pytest.mark.parametrize(("sentences", "after"), [(4, 1100), (8, 2200), (12, 4800)])
    def test_are_seen_once_there_is_nothing_new(self, sentences: int, after: int) -> None:
        rng = random.Random(sentences)
        said = [words(number, rng.randrange(15, 40)) for number in range(sentences)]
        order = [*said, *(rng.choice(said) for _ in range(400))]
        count, loop = seen([*preface(), *chain(*order)])
        assert loop.kind == "fragments"
        assert count <= BEFORE + after
        assert BEFORE <= loop.start <= BEFORE + 2 * sum(map(len, said))

    def test_a_draft_written_twice_is_no_loop(self) -> None:
        draft = words(1, 1500)
        assert first_loop([*preface(), *draft, *draft, *words(2, 500)]) is None

    def test_a_sentence_that_comes_back_between_new_ones_is_no_loop(self) -> None:
        refrain = words(1, 30)
        text = chain.from_iterable([*refrain, *words(number, 40)] for number in range(2, 60))
        assert first_loop([*preface(), *text]) is None


class TestLenient:
    """In an answer."""

    @pytest.mark.parametrize("period", [1, 2, 7, 12, 64, 200, 512])
    def test_a_loop_is_seen_later(self, period: int) -> None:
        tokens = [*preface(), *islice(cycle(words(1, period)), 6000)]
        count, loop = seen(tokens, lenient=True)
        assert loop == seen(tokens)[1]
        assert seen(tokens)[0] < count <= BEFORE + max(1100, 4 * period + 64)

    def test_a_line_may_be_copied_out_a_hundred_times(self) -> None:
        tokens = islice(cycle(words(1, 8)), 800)
        assert first_loop(tokens, LoopDetector(is_digit, lenient=True)) is None


class TestRepetitionForAReason:
    """Nothing is reported, neither in thinking nor in an answer."""

    @pytest.mark.parametrize("lenient", [False, True], ids=["thinking", "answer"])
    @pytest.mark.parametrize("name", texts())
    def test_in_tables_programs_workings_and_songs(
        self, name: str, lenient: bool, encode: Callable[[str], list[int]], is_number: Callable[[int], bool]
    ) -> None:
        assert first_loop(encode(texts()[name]), LoopDetector(is_number, lenient)) is None

    def test_in_what_the_built_in_model_thinks(self, tiny_tokenizer: Tokenizer) -> None:
        numbers = frozenset(tiny_tokenizer.encode("0 1 2 3 4 5 6 7 8 9", add_special_tokens=False).ids)
        for question in held_out():
            tokens = tiny_tokenizer.encode(question.working, add_special_tokens=False).ids
            assert first_loop(tokens, LoopDetector(numbers.__contains__)) is None, question.text

    @pytest.mark.parametrize("module", MODULES)
    def test_in_the_standard_library(
        self, module: str, encode: Callable[[str], list[int]], is_number: Callable[[int], bool]
    ) -> None:
        tokens = encode((STANDARD_LIBRARY / module).read_text(encoding="utf-8"))
        assert first_loop(tokens, LoopDetector(is_number)) is None
        assert first_loop(tokens, LoopDetector(is_number, lenient=True)) is None

    def test_in_licences(self, encode: Callable[[str], list[int]], is_number: Callable[[int], bool]) -> None:
        """One or two in a file. Some packages list the same text for dozens of others."""
        licences = [text for text in _licences() if text.count("Permission is hereby granted") < 3]
        assert len(licences) > 5
        for text in licences:
            assert first_loop(encode(text), LoopDetector(is_number)) is None, text[:80]


def _licences() -> Iterator[str]:
    """One of each installed package that has one."""
    for package in sorted(metadata.distributions(), key=lambda each: each.name):
        files = [file for file in package.files or [] if "LICENSE" in file.name]
        for file in files[:1]:
            yield Path(str(file.locate())).read_text(encoding="utf-8", errors="replace")


class TestTruncate:
    """Going back."""

    def test_the_loop_is_forgotten_and_other_text_may_follow(self) -> None:
        detector = LoopDetector(is_digit)
        found = first_loop([*preface(), *islice(cycle(words(1, 64)), 5000)], detector)
        assert found
        detector.truncate(found[1].start)
        assert first_loop(words(2, 3000), detector) is None

    def test_the_same_loop_is_found_again_at_the_same_place(self) -> None:
        detector = LoopDetector(is_digit)
        found = first_loop([*preface(), *islice(cycle(words(1, 64)), 5000)], detector)
        assert found
        detector.truncate(found[1].start)
        again = first_loop(islice(cycle(words(1, 64)), 5000), detector)
        assert again
        assert again[1] == found[1]

    @pytest.mark.parametrize("length", [0, 1, 305, 900, 1501])
    def test_what_follows_is_judged_as_if_nothing_else_had_been(self, length: int) -> None:
        rng = random.Random(length)
        said = [words(number, 25) for number in range(6)]
        kept = list(islice(chain(words(9, 700), *(rng.choice(said) for _ in range(40))), length))
        rest = list(chain(*(rng.choice(said) for _ in range(200))))
        detector = LoopDetector(is_digit)
        for token in (*kept, *words(8, 500), *digits(2**90)):
            detector.add(token)
        detector.truncate(length)
        assert first_loop(rest, detector) == first_loop(rest, _after(kept))

    def test_in_the_middle_of_a_number(self) -> None:
        detector = _after([*words(1, 20), *digits(12345)])
        detector.truncate(22)
        line = words(1, 8)
        numbers = list(chain.from_iterable([*digits(number), *line] for number in range(3, 1000)))
        assert first_loop(numbers, detector) == first_loop(numbers, _after([*words(1, 20), *digits(12)]))


def _after(tokens: Iterable[int]) -> LoopDetector:
    detector = LoopDetector(is_digit)
    for token in tokens:
        assert detector.add(token) is None
    return detector


class Counted(int):
    """A token that counts how often it is hashed or compared."""

    operations = 0

    def __hash__(self) -> int:
        Counted.operations += 1
        return int.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Counted.operations += 1
        return int.__eq__(self, other)


class TestWork:
    """What a token costs does not depend on how many there were before."""

    @pytest.mark.parametrize(
        "token",
        [
            pytest.param(lambda place: 77, id="one token"),
            pytest.param(lambda place: 77 + place % 2, id="two in turn"),
            pytest.param(lambda place: 77 + random.Random(place).randrange(2), id="two at random"),
            pytest.param(lambda place: place * 7919 % 50_021, id="all different"),
            pytest.param(lambda place: place % 511, id="a long block"),
            pytest.param(lambda place: place * place % 7, id="digits"),
        ],
    )
    def test_is_bounded(self, token: Callable[[int], int]) -> None:
        detector = LoopDetector(is_digit)
        counts = []
        for part in range(4):
            Counted.operations = 0
            for place in range(part * 2048, (part + 1) * 2048):
                detector.add(Counted(token(place)))
            counts.append(Counted.operations / 2048)
        assert max(counts) < 400
        assert counts[3] < 1.5 * counts[2] + 10

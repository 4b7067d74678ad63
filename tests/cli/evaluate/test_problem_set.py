"""`r1.evaluate.problem_set`: problems from a file, from stdin and built in, and files of something else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from r1.evaluate import problem_set
from r1.evaluate.problem_set import ProblemSet, Source
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console, written

LINES = b"".join(b'{"question": "%d + 1?", "answer": %d}\n' % (number, number + 1) for number in range(9))
ONE = {"question": "1 + 1?", "answer": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_bytes(LINES)
    return path


def read(source: Source, stdin: bytes | None = b"") -> ProblemSet:
    return ProblemSet.read(console(stdin), source)


class TestWhatIsRead:
    """All of it, or the part that is wanted."""

    def test_a_file(self, file: Path) -> None:
        found = read(Source(str(file)))
        assert (found.name, found.usable, found.bad) == (str(file), 9, [])
        assert [problem.line for problem in found.chosen] == [*range(1, 10)]
        assert found.digest == hashlib.sha256(LINES).hexdigest()

    def test_stdin(self) -> None:
        found = read(Source("-"), LINES + b"{\n")
        assert (found.name, found.usable, len(found.bad)) == ("stdin", 9, 1)

    def test_those_that_are_built_in(self) -> None:
        found = read(Source(builtin="tiny"))
        assert (found.name, found.usable) == ("tiny, built in", 400)

    def test_another_order_and_only_some(self, file: Path) -> None:
        whole = [problem.line for problem in read(Source(str(file), shuffle=1)).chosen]
        assert whole != [*range(1, 10)]
        assert sorted(whole) == [*range(1, 10)]
        part = read(Source(str(file), limit=3, shuffle=1))
        assert ([problem.line for problem in part.chosen], part.usable) == (whole[:3], 9)

    def test_on_a_terminal_it_is_said_that_stdin_is_read(self) -> None:
        terminal = console(stderr_is_terminal=True)
        with pytest.raises(UsageError, match="stdin has no problems"):
            ProblemSet.read(terminal, Source("-"))
        assert "reading problems from stdin, a line of JSON each (Ctrl-D ends it)" in written(terminal.stderr)


class TestRefused:
    """Without a problem there is nothing to do, and the message says what to do."""

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (json.dumps([ONE, ONE]).encode(), "it is a JSON array, and `jq -c '.[]'` makes lines of it"),
            (b"\xef\xbb\xbf \n" + json.dumps([ONE], indent=2).encode(), "it is a JSON array"),
            (
                json.dumps(ONE, indent=2).encode(),
                "its JSON is spread over several lines, and `jq -c .` makes one line of each object",
            ),
            (b'{"answer": 2}\n', "line 1 has no question"),
            (b"problem,answer\n", "line 1 is not JSON"),
            (b"\n\n", "each line is a JSON object with a question and its answer"),
        ],
        ids=lambda value: str(value)[:30],
    )
    def test_a_file_without_problems(self, content: bytes, says: str) -> None:
        with pytest.raises(UsageError) as caught:
            read(Source("-"), content)
        assert str(caught.value).startswith(f"stdin has no problems; {says}")

    def test_a_file_that_is_too_large(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(problem_set, "_MOST_BYTES", 100)
        with pytest.raises(UsageError, match="has more than 100 B; give a part of it"):
            read(Source(str(file)))

"""What was said, as it stands in the scrollback.

Knows: how a question, a folded trace and an answer look. Does not know: where they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from r1.console import printable
from r1.render.reply import thought_line
from r1.render.style import Paper, wrap
from r1.render.trace import render as trace_lines

PROMPT = "> "


def question_lines(question: str, paper: Paper, files: Sequence[str] = ()) -> str:
    """What the person asked, set off from everything else, with the names of the files that went along."""
    lines = []
    for line in printable(question).expandtabs(4).split("\n"):
        lines += wrap(line, max(paper.width - 1 - len(PROMPT), 8))
    marks = [PROMPT, *[" " * len(PROMPT)] * len(lines)]
    asked = "".join(f"{paper.styled((mark + line).rstrip(), '1')}\n" for mark, line in zip(marks, lines, strict=False))
    return asked + "".join(paper.note(f"  with {name}") for name in files)


def answer_lines(answer: str, paper: Paper) -> str:
    """A whole answer."""
    from r1.markdown.stream import render

    return render(answer, paper.width, colour=paper.colour) if answer else ""


def turn_lines(
    question: str, files: Sequence[str], thought: tuple[float | None, int, str] | None, answer: str, paper: Paper
) -> str:
    """A turn that is over, with as much of its trace as `thought` has after seconds and tokens; blank lines between."""
    folded = f"\n{trace_lines(thought[2], paper)}{paper.note(thought_line(*thought[:2]))}" if thought else ""
    said = f"\n{answer_lines(answer, paper)}" if answer else ""
    return f"{question_lines(question, paper, files)}{folded}{said}\n"

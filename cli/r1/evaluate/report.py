"""The figures of an evaluation as lines of text, with a small chart on a terminal, and as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from r1.evaluate.estimates import Estimate
from r1.evaluate.figures import Figures
from r1.evaluate.problems import BadLine
from r1.markdown.wrap import wrap
from r1.render.bars import bar
from r1_quantize import units

_LABEL_COLUMNS = 13  # of the label before a fact
_BESIDE_BAR = 32  # columns of a row of the chart, without its bar
_MOST_BAR_COLUMNS = 60  # longer bars are no easier to compare
_LEAST_BAR_COLUMNS = 6  # shorter ones show nothing
_LEAST_TEXT_COLUMNS = 8
_SHOWN = 20  # undecided problems

_THINKING_ENDS = {
    "natural": "by the model",
    "budget": "at the budget",
    "loop": "going round in circles",
    "user": "by a signal",
    "eos": "with the turn",
    "limit": "to leave room for the answer",
    "unfinished": "not at all",
}
_REPLY_ENDS = {
    "stop": "complete",
    "length": "cut off at --max-tokens",
    "context": "cut off at the end of the context",
    "loop": "stopped going round in circles",
    "error": "not asked, too long for the context",
}
"""How thinking and replies ended, in words, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated: the model, the problems' name, the settings in words, and the instruction, if any.

    `problems` is the number of usable ones in the whole set.
    """

    model: str
    name: str
    problems: int
    settings: str
    instruction: str | None
    bad_lines: Sequence[BadLine] = field(default=())


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` of a terminal; None: not on one, so that lines are not wrapped and there are no bars."""

    columns: int | None = None
    is_ascii: bool = False


def report_lines(subject: Subject, figures: Figures, layout: Layout) -> list[str]:
    """Facts with their labels, then a row for each number of votes."""
    lines: list[str] = []
    for label, text in [*_subject_facts(subject, figures), *_facts(figures)]:
        lines += _fact(label, text, layout)
    if figures.samples:
        lines += ["", *_fact("votes", "share of problems that a vote among so many samples gets right", layout)]
        lines += _rows(figures, layout)
    return [line.replace("±", "+-") if layout.is_ascii else line for line in lines]


def report_object(subject: Subject, figures: Figures, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The object of `--json`. Shares are from 0 to 1."""
    published = figures.published
    return {
        "model": subject.model,
        "problems": {"name": subject.name, "asked": figures.asked, "usable": subject.problems},
        "settings": {**settings, "instruction": subject.instruction},
        "complete": figures.is_complete,
        "samples_per_problem": figures.k,
        "samples": figures.samples,
        "pass_at_1": _estimate(figures.pass_at_1),
        "cons": [{"k": k, **_estimate(estimate)} for k, estimate in figures.consensus.items()],
        "published": None
        if published is None
        else {"name": published.name, "pass_at_1": published.pass_at_1, "cons_at_64": published.cons_at_64},
        "thinking_end": dict(figures.ended.thinking),
        "finish_reason": dict(figures.ended.replies),
        "without_answer": figures.without_answer,
        "compared_literally": figures.literally,
        "undecided": [*figures.undecided],
        "usage": {"thinking_tokens": figures.thinking_tokens, "answer_tokens": figures.answer_tokens},
        "tokens": {
            "mean": round(figures.tokens_per_problem, 2),
            "median": figures.median_tokens,
            "most": figures.most_tokens,
            "total": figures.tokens,
        },
        "wall_s": round(figures.wall_s, 3),
        "tps": None if figures.tps is None else round(figures.tps, 2),
        "bad_lines": [{"line": bad.line, "error": bad.reason} for bad in subject.bad_lines],
    }


def _subject_facts(subject: Subject, figures: Figures) -> list[tuple[str, str]]:
    of = "" if figures.asked == subject.problems else f" of {subject.problems:,}"
    each = f"{figures.asked:,}{of}, {units.count(figures.k, 'sample')} each"
    missing = "" if figures.is_complete else f"; only {units.count(figures.samples, 'sample')} so far"
    instruction = "none" if subject.instruction is None else f"“{subject.instruction}”"
    return [
        ("model", subject.model),
        ("problems", f"{subject.name}: {each}{missing}"),
        ("settings", subject.settings),
        ("instruction", instruction),
    ]


def _facts(figures: Figures) -> list[tuple[str, str]]:
    if not figures.samples:
        return []
    facts = [("pass@1", _share(figures.pass_at_1) + _beside_published(figures))]
    facts += [("thinking", f"ended {_counts(figures.ended.thinking, _THINKING_ENDS, figures.samples)}")]
    facts += [("replies", _counts(figures.ended.replies, _REPLY_ENDS, figures.samples))]
    if figures.without_answer:
        facts.append(("no answer", f"{figures.without_answer:,} of the complete replies have nothing to compare"))
    if figures.literally:
        facts.append(("literally", f"{units.count(figures.literally, 'answer')} could only be compared as text"))
    facts += [("tokens", _tokens(figures)), ("speed", _speed(figures))]
    if figures.undecided:
        shown = ", ".join(figures.undecided[:_SHOWN])
        more = f" and {len(figures.undecided) - _SHOWN:,} more" if len(figures.undecided) > _SHOWN else ""
        facts.append(("undecided", f"{units.count(len(figures.undecided), 'problem')}: {shown}{more}"))
    return facts


def _beside_published(figures: Figures) -> str:
    published = figures.published
    if published is None or published.pass_at_1 is None:
        return ""
    return f"; published for {published.name}: {published.pass_at_1:.1%}, unquantized, of 64 samples".replace("%", " %")


def _counts(counts: Mapping[str, int], words: Mapping[str, str], total: int) -> str:
    """`398 by the model, 2 at the budget`, or `by the model, all 400`."""
    known = [name for name in words if counts.get(name)]
    others = [name for name in counts if name not in words]
    parts = [(words.get(name, name), counts[name]) for name in [*known, *others]]
    if len(parts) == 1 and parts[0][1] == total:
        return f"{parts[0][0]}, all {total:,}"
    return ", ".join(f"{count:,} {text}" for text, count in parts)


def _tokens(figures: Figures) -> str:
    thinking, answer = (tokens / figures.samples for tokens in (figures.thinking_tokens, figures.answer_tokens))
    return (
        f"{figures.tokens_per_problem:,.0f} for a sample on average, {thinking:,.0f} of thinking and "
        f"{answer:,.0f} of answer; median {figures.median_tokens:,.0f}, most {figures.most_tokens:,}"
    )


def _speed(figures: Figures) -> str:
    took = f"{figures.tokens:,} tokens in {units.duration(figures.wall_s)}"
    if figures.tps is None:
        return took
    return f"{figures.tps:,.{0 if figures.tps >= 10 else 1}f} tok/s of all samples together; {took}"


def _rows(figures: Figures, layout: Layout) -> list[str]:
    """The share for each number of votes, with a bar on a terminal that is wide enough."""
    shares = [(f"{k:>7,}", estimate.value, _share(estimate)) for k, estimate in figures.consensus.items()]
    published = figures.published
    if published is not None and published.cons_at_64 is not None:
        shares.append((f"{64:>7}", published.cons_at_64, f"{100 * published.cons_at_64:.1f} % published"))
    columns = min((layout.columns or 0) - _BESIDE_BAR, _MOST_BAR_COLUMNS)
    if columns < _LEAST_BAR_COLUMNS:
        return [f"{label}  {text}" for label, _, text in shares]
    return [f"{label}  {bar(value, columns, is_ascii=layout.is_ascii)} {text}" for label, value, text in shares]


def _share(estimate: Estimate) -> str:
    share = f"{100 * estimate.value:.1f} %"
    return share if estimate.error is None else f"{share} ± {100 * estimate.error:.1f}"


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return {"value": round(estimate.value, 6), "error": None if estimate.error is None else round(estimate.error, 6)}


def _fact(label: str, text: str, layout: Layout) -> list[str]:
    if layout.columns is None:
        return [f"{label:<{_LABEL_COLUMNS}}{text}"]
    lines = wrap(text, max(layout.columns - _LABEL_COLUMNS - 1, _LEAST_TEXT_COLUMNS))
    return [f"{'' if number else label:<{_LABEL_COLUMNS}}{line}" for number, line in enumerate(lines)]

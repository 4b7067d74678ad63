"""The figures of an evaluation as lines of text, with a small chart on a terminal, and as a JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from r1.evaluate.estimates import Estimate
from r1.evaluate.figures import Figures
from r1.evaluate.problems import BadLine
from r1.evaluate.sample_log import Cache
from r1.markdown.wrap import wrap
from r1.render.bars import bar
from r1.render.drafts import drafts_in_words, drafts_object
from r1_quantize import units

_LABEL_COLUMNS = 13  # of the label before a fact
_ROW_COLUMNS = 11  # of a row of the chart, without its bar and the text behind it
_MOST_BAR_COLUMNS = 60  # longer bars are no easier to compare
_LEAST_BAR_COLUMNS = 6  # shorter ones show nothing
_LEAST_TEXT_COLUMNS = 8
_SHOWN = 20  # undecided problems
_SHORTEST_S = 10.0  # of a time in whole seconds

_THINKING_ENDS = {
    "natural": "ended by the model",
    "budget": "ended at the budget",
    "loop": "ended because it went round in circles",
    "user": "ended by a signal",
    "eos": "ended where the model stopped without an answer",
    "limit": "ended early to leave room for the answer",
    "unfinished": "not ended",
}
_REPLY_ENDS = {
    "stop": "complete",
    "length": "cut off at --max-tokens",
    "context": "cut off at the end of the context",
    "loop": "stopped going round in circles",
}
"""How thinking and replies ended, in words, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What was evaluated: the model, the problems' name, the settings in words, and what was added to the questions.

    `problems` is the number of usable ones in the whole set. `instructions` has each different one, None for none, with
    the number of its problems. `bad_lines` are left out of the figures. `cache` None: nothing was drawn. `has_math`:
    math-verify is installed. `has_compared_all`: the comparing was not interrupted.
    """

    model: str
    name: str
    problems: int
    settings: str
    instructions: Sequence[tuple[str | None, int]]
    bad_lines: Sequence[BadLine] = field(default=())
    cache: Cache | None = None
    has_math: bool = True
    has_compared_all: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` of a terminal; None: not on one, so that lines are not wrapped and there are no bars."""

    columns: int | None = None
    is_ascii: bool = False


def report_lines(subject: Subject, figures: Figures, layout: Layout) -> list[str]:
    """Facts with their labels, then a row for each number of votes."""
    lines: list[str] = []
    for label, text in [*_subject_facts(subject, figures), *_facts(subject, figures)]:
        lines += _fact(label, text, layout)
    if _has_votes(figures):
        lines += ["", *_fact("cons@k", "share of problems that a vote among k samples gets right", layout)]
        lines += _rows(figures, layout)
    return [line.replace("±", "+-").replace("×", "x") if layout.is_ascii else line for line in lines]


def report_object(subject: Subject, figures: Figures, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The object of `--json`. Shares are from 0 to 1."""
    published = figures.published
    return {
        "model": subject.model,
        "problems": {"name": subject.name, "asked": figures.asked, "usable": subject.problems},
        "settings": dict(settings),
        "instructions": [{"text": text, "problems": problems} for text, problems in subject.instructions],
        "context": None if subject.cache is None else subject.cache.to_json(),
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
        "speculation": drafts_object(figures.drafted),
        "bad_lines": [{"line": bad.line, "error": bad.reason} for bad in subject.bad_lines],
    }


def _subject_facts(subject: Subject, figures: Figures) -> list[tuple[str, str]]:
    asked = units.count(figures.asked, "problem")
    if figures.asked != subject.problems:
        asked = f"{figures.asked:,} of {units.count(subject.problems, 'problem')}"
    each = units.count(figures.k, "sample") + ("" if figures.asked == 1 else " each")
    so_far = f"only {units.count(figures.samples, 'sample')}" if figures.samples else "none"
    missing = "" if figures.is_complete else f"; {so_far} so far"
    bad = f"; {units.count(len(subject.bad_lines), 'line')} left out" if subject.bad_lines else ""
    return [
        ("model", subject.model),
        ("problems", f"{subject.name}: {asked}, {each}{missing}{bad}"),
        ("settings", subject.settings),
        ("instruction", _instructions(subject.instructions)),
    ]


def _instructions(instructions: Sequence[tuple[str | None, int]]) -> str:
    """`“Think.”`, or `“Think.” for 3 problems, none for 1 problem`."""
    texts = [("none" if text is None else f"“{text}”", problems) for text, problems in instructions]
    if len(texts) == 1:
        return texts[0][0]
    return ", ".join(f"{text} for {units.count(problems, 'problem')}" for text, problems in texts) or "none"


def _facts(subject: Subject, figures: Figures) -> list[tuple[str, str]]:
    if not figures.samples:
        return []
    facts = [("pass@1", _share(figures.pass_at_1, figures.asked) + _beside_published(figures))]
    facts += [("thinking", _counts(figures.ended.thinking, _THINKING_ENDS, figures.samples))]
    facts += [("replies", _counts(figures.ended.replies, _REPLY_ENDS, figures.samples))]
    if figures.without_answer:
        have = "has" if figures.without_answer == 1 else "have"
        facts.append(("no answer", f"{figures.without_answer:,} of the complete replies {have} nothing to compare"))
    if figures.literally:
        facts.append(("as text", f"{units.count(figures.literally, 'answer')}{_why_literally(subject)}"))
    if not subject.has_compared_all:
        facts.append(("comparing", "interrupted; formulas that were not compared are taken for different ones"))
    facts += [("tokens", _tokens(figures)), ("speed", _speed(figures))]
    if figures.drafted is not None and figures.drafted.proposed:
        facts.append(("drafts", drafts_in_words(figures.drafted)))
    if figures.undecided:
        shown = ", ".join(figures.undecided[:_SHOWN])
        more = f" and {len(figures.undecided) - _SHOWN:,} more" if len(figures.undecided) > _SHOWN else ""
        problems = units.count(len(figures.undecided), "problem")
        facts.append(("no winner", f"{problems} where no answer has won the vote: {shown}{more}"))
    return facts


def _why_literally(subject: Subject) -> str:
    if not subject.has_math:
        return ', because math-verify is not installed; pip install "r1-local[math]"'
    if not subject.has_compared_all:
        return " so far"
    return ", because math-verify could not compare them"


def _beside_published(figures: Figures) -> str:
    published = figures.published
    if published is None or published.pass_at_1 is None:
        return ""
    return f"; published for {published.name}: {published.pass_at_1:.1%}, unquantized, of 64 samples".replace("%", " %")


def _counts(counts: Mapping[str, int], words: Mapping[str, str], total: int) -> str:
    """`398 ended by the model, 2 ended at the budget`, or `ended by the model, all 400`."""
    known = [name for name in words if counts.get(name)]
    others = [name for name in counts if name not in words]
    parts = [(words.get(name, name), counts[name]) for name in [*known, *others]]
    if len(parts) == 1 and parts[0][1] == total:
        return f"{parts[0][0]}, all {total:,}" if total > 1 else parts[0][0]
    return ", ".join(f"{count:,} {text}" for text, count in parts)


def _tokens(figures: Figures) -> str:
    thinking, answer = (tokens / figures.samples for tokens in (figures.thinking_tokens, figures.answer_tokens))
    return (
        f"{figures.tokens_per_problem:,.0f} for a sample on average, {thinking:,.0f} of thinking and "
        f"{answer:,.0f} of answer; median {figures.median_tokens:,.0f}, most {figures.most_tokens:,}"
    )


def _speed(figures: Figures) -> str:
    seconds = figures.wall_s
    time = units.duration(seconds) if seconds >= _SHORTEST_S else f"{seconds:.2g} s"
    took = f"{figures.tokens:,} tokens in {time}"
    if figures.tps is None:
        return took
    return f"{figures.tps:,.{0 if figures.tps >= 10 else 1}f} tok/s of all samples together; {took}"


def _has_votes(figures: Figures) -> bool:
    """Whether some problem has several samples, or a figure of several was published."""
    published = figures.published is not None and figures.published.cons_at_64 is not None
    return max(figures.consensus, default=0) > 1 or (published and figures.samples > 0)


def _rows(figures: Figures, layout: Layout) -> list[str]:
    """The share for each number of votes, with a bar on a terminal that is wide enough."""
    shares = [(f"{k:>7,}", each.value, _share(each, figures.asked)) for k, each in figures.consensus.items()]
    published = figures.published
    if published is not None and published.cons_at_64 is not None:
        shares.append((f"{64:>7}", published.cons_at_64, f"{100 * published.cons_at_64:.1f} % published"))
    beside = _ROW_COLUMNS + max(len(text) for _, _, text in shares)
    columns = min((layout.columns or 0) - beside, _MOST_BAR_COLUMNS)
    if columns < _LEAST_BAR_COLUMNS:
        return [f"{label}  {text}" for label, _, text in shares]
    return [f"{label}  {bar(value, columns, is_ascii=layout.is_ascii)} {text}" for label, value, text in shares]


def _share(estimate: Estimate, asked: int) -> str:
    """`76.6 % ± 3.0`, or `76.6 % ± 3.0 of 4 problems` if that is not all of them."""
    share = f"{100 * estimate.value:.1f} %"
    error = "" if estimate.error is None else f" ± {100 * estimate.error:.1f}"
    return share + error + ("" if estimate.problems == asked else f" of {units.count(estimate.problems, 'problem')}")


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    error = None if estimate.error is None else round(estimate.error, 6)
    return {"value": round(estimate.value, 6), "error": error, "problems": estimate.problems}


def _fact(label: str, text: str, layout: Layout) -> list[str]:
    if layout.columns is None:
        return [f"{label:<{_LABEL_COLUMNS}}{text}"]
    lines = wrap(text, max(layout.columns - _LABEL_COLUMNS - 1, _LEAST_TEXT_COLUMNS))
    return [f"{'' if number else label:<{_LABEL_COLUMNS}}{line}" for number, line in enumerate(lines)]

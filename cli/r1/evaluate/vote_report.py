"""A vote in words: the line while it goes on, the line when it is over, and what the JSON object has of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from r1.evaluate.tally import Candidate
from r1.evaluate.vote import VoteOptions, VoteResult
from r1.evaluate.voting import Voting
from r1.render.activity import shortened
from r1_quantize import units

_SHOWN = 3  # candidates in the line
_LONGEST = 24  # columns of an answer in it


def tally_wordings(voting: Voting) -> list[str]:
    """The line so far, for example `3 of 16 · 42 ×2 · 41 ×1 · 4 running · 57 tok/s`, then in fewer words.

    Before that, how much of the prompt is read: `reading the prompt · 512 of 2,048 tokens`.
    """
    if voting.is_reading:
        read = voting.prefill
        tokens = [] if read is None else [f"{read.done:,} of {read.total:,} tokens"]
        return shortened(["reading the prompt", *tokens])
    vote = voting.vote
    done = f"{min(vote.finished, vote.options.target)} of {vote.options.target}"
    tally = [f"{_short(candidate.answer)} ×{candidate.votes}" for candidate in vote.candidates[:_SHOWN]]
    running, speed = f"{voting.running} running", f"{voting.rate:,.0f} tok/s"
    return [
        " · ".join([done, *tally, running, speed]),
        " · ".join([done, *tally, running]),
        " · ".join([done, *tally]),
        " · ".join([done, *tally[:1]]),
        done,
    ]


def closing_line(result: VoteResult, options: VoteOptions) -> str:
    """What the vote came to, for example `5 of 6 votes for 42; 10 of 16 samples were not needed`."""
    if result.is_prose:
        return "the answers have nothing short in them to vote on; this is the first one"
    if not result.candidates and result.is_interrupted:
        return "the vote was interrupted before a sample had an answer to vote on"
    if not result.candidates:
        return f"none of {units.count(len(result.samples), 'sample')} has an answer to vote on"
    first = result.candidates[0]
    line = f"{first.votes} of {units.count(result.votes, 'vote')} for {_short(first.answer)}"
    if others := _others(result.candidates[1:]):
        line += f", {others}"
    if result.is_interrupted:
        return f"{line}; the vote was interrupted"
    unneeded = options.count - sum(sample.reply.finished.reason != "interrupted" for sample in result.samples)
    return (
        f"{line}; {unneeded} of {options.count} samples were not needed" if unneeded and result.stopped_early else line
    )


def literal_line(pairs: int, *, has_math_verify: bool) -> str:
    """Says that so many pairs of answers were compared as texts, and why."""
    line = f"{units.count(pairs, 'pair')} of answers could only be compared as text"
    if not has_math_verify:
        return f'{line}, without math-verify; pip install "r1-local[math]"'
    return f"{line}, because math-verify found no result"


def vote_fields(result: VoteResult, literally: int) -> dict[str, Any]:
    """The keys of the JSON object that only a vote has. `literally`: so many pairs were compared as texts."""
    return {
        "votes": [{"answer": candidate.answer, "count": candidate.votes} for candidate in result.candidates],
        "agreement": None if result.agreement is None else round(result.agreement, 4),
        "stopped_early": result.stopped_early,
        "prose": result.is_prose,
        "compared_literally": literally,
        "samples": [
            {
                "seed": sample.seed,
                "final": sample.final,
                "answer": sample.reply.answer,
                "thinking": sample.reply.thinking,
                "finish_reason": sample.reply.finished.reason,
                "thinking_end": sample.reply.finished.thinking_end,
                "thinking_tokens": sample.thinking_tokens,
                "answer_tokens": sample.tokens - sample.thinking_tokens,
            }
            for sample in result.samples
        ],
    }


def _others(candidates: Sequence[Candidate]) -> str:
    shown = [f"{candidate.votes} for {_short(candidate.answer)}" for candidate in candidates[: _SHOWN - 1]]
    rest = sum(candidate.votes for candidate in candidates[_SHOWN - 1 :])
    return ", ".join([*shown, *([f"{rest} for others"] if rest else [])])


def _short(answer: str) -> str:
    """On one line, and not longer than fits beside others."""
    text = " ".join(answer.split())
    return text if cell_len(text) <= _LONGEST else f"{set_cell_size(text, _LONGEST - 1).rstrip()}…"

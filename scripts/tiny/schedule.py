"""The training schedule: learning rates and the mix of tasks, from the first step to the last."""

from dataclasses import dataclass
from itertools import pairwise

from scripts.tiny.tasks import Task

SEED = 20250120

POOL = 2048
MUON_LR, ADAMW_LR = 0.01, 0.002
RATES = (
    (-1, 0.0),
    (59, 1.0),
    (3000, 1.0),
    (3600, 0.72727),
    (4500, 0.55045),
    (6400, 0.02),
    (6450, 0.2),
    (7054, 0.06499),
    (7120, 0.01),
)
"""Pairs of step and share of the peak learning rate, interpolated linearly."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How questions are drawn and batched for all pools below `pools`.

    A batch has `groups` groups of at most `group_tokens` tokens, padding included. The examples of one group have
    similar lengths and are therefore much alike, so more groups give a less noisy step.
    """

    pools: int
    longest_word: int
    later_turns: float
    """The share of questions that follow earlier turns, at most `max_turns` of them."""
    max_turns: int
    groups: int
    group_tokens: int
    mix: dict[Task, float]


FIRST_MIX: dict[Task, float] = {
    "letters": 0.40,
    "add": 0.15,
    "subtract": 0.17,
    "decimals": 0.13,
    "greeting": 0.03,
    "identity": 0.03,
    "anything else": 0.09,
}
SECOND_MIX: dict[Task, float] = FIRST_MIX | {"letters": 0.36, "subtract": 0.18, "decimals": 0.14, "greeting": 0.05}
THIRD_MIX: dict[Task, float] = {
    "letters": 0.21,
    "add": 0.18,
    "subtract": 0.22,
    "decimals": 0.18,
    "greeting": 0.05,
    "identity": 0.04,
    "anything else": 0.12,
}
STAGES = (
    Stage(pools=4, longest_word=6, later_turns=0.08, max_turns=3, groups=1, group_tokens=4096, mix=FIRST_MIX),
    Stage(pools=10, longest_word=9, later_turns=0.08, max_turns=3, groups=1, group_tokens=4096, mix=FIRST_MIX),
    Stage(pools=28, longest_word=20, later_turns=0.08, max_turns=3, groups=1, group_tokens=4096, mix=FIRST_MIX),
    Stage(pools=43, longest_word=20, later_turns=0.08, max_turns=3, groups=3, group_tokens=2048, mix=SECOND_MIX),
    Stage(pools=109, longest_word=20, later_turns=0.08, max_turns=3, groups=3, group_tokens=2048, mix=THIRD_MIX),
    Stage(pools=10_000, longest_word=20, later_turns=0.35, max_turns=14, groups=3, group_tokens=2048, mix=THIRD_MIX),
)
LAST_STEP = RATES[-1][0]


def stage_of(pool: int) -> Stage:
    return next(stage for stage in STAGES if pool < stage.pools)


def rate(step: int) -> float:
    for (start, low), (end, high) in pairwise(RATES):
        if step < end:
            return low + (high - low) * (step - start) / (end - start)
    return RATES[-1][1]

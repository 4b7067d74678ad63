"""What the samples of an evaluation are made with: what is added to the questions, the settings, and the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1 import __version__
from r1.evaluate.problems import CHOICE_INSTRUCTION, INSTRUCTION, Problem
from r1.evaluate.sample_log import Cache
from r1.settings import Settings
from r1_quantize.store.model import StoredModel

_COMPARED = ("temp", "top_p", "seed", "max_tokens", "system", "ctx", "kv_type")
"""The settings that decide what a sample is, besides those of the thinking."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is added to questions: `given`, which is empty for nothing; None for the usual. With `is_bare`, as for the
    built-in problems, the usual is nothing: they are for a model that was not trained on instructions.
    """

    given: str | None = None
    is_bare: bool = False

    def of(self, problem: Problem) -> str | None:
        """The usual one depends on the question, and is none where that asks for a box itself."""
        if self.given is not None:
            return self.given or None
        if self.is_bare or "\\boxed" in problem.question:
            return None
        return CHOICE_INSTRUCTION if problem.choices else INSTRUCTION

    def counted(self, problems: Sequence[Problem]) -> list[tuple[str | None, int]]:
        """Each different one, with the number of its problems, the most frequent first."""
        return Counter(map(self.of, problems)).most_common()

    @property
    def kind(self) -> str | None:
        """The one that was given, or that it is the usual one."""
        return self.given or None if self.given is not None or self.is_bare else "the usual one"


def facts(model: StoredModel, digest: str, instructions: Instructions, settings: Settings) -> dict[str, Any]:
    """What makes samples comparable: those that differ in one of these are not counted together."""
    return {
        "r1": __version__,
        "model": model.reference if model.quant else str(model.path.resolve()),
        "model_file": _file_facts(model),
        "problem_file": f"sha256:{digest}",
        "instruction": instructions.kind,
        **compared(settings),
    }


def compared(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a sample is; two ways to say the same are the same here."""
    thinking = settings.thinking_params()
    return {
        **{name: getattr(settings, name) for name in _COMPARED},
        "think_budget": thinking.budget,
        "reserve": thinking.reserve,
        "loop_guard": thinking.guards_loops,
    }


def in_words(settings: Settings, cache: Cache | None) -> str:
    """The settings of the samples; `cache` None: none was drawn."""
    limit = f"at most {settings.max_tokens:,} tokens"
    if cache is not None and cache.tokens <= settings.max_tokens:
        limit += f" in a context of {cache.tokens:,}"
    thinking = settings.thinking_params()
    parts = [f"temperature {settings.temp:g}", f"top-p {settings.top_p:g}", limit]
    if thinking.budget is not None:
        parts.append(f"{thinking.budget:,} of them for thinking")
    if thinking.reserve is not None:
        parts.append(f"{thinking.reserve:,} kept for the answer")
    if not thinking.guards_loops:
        parts.append("no loop guard")
    parts.append(f"seed {settings.seed}")
    return ", ".join([*parts, f"system prompt “{settings.system}”"] if settings.system else parts)


def _file_facts(model: StoredModel) -> str:
    if model.manifest is not None:
        return f"sha256:{model.manifest.sha256}"
    return f"{model.size} bytes of {model.modified:.0f}"

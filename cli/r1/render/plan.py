"""The plan of a pull, or an estimate without the hub, and how the model will run on this machine.

Each as lines for people and as an object for scripts.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1.fit.needs import needs
from r1.fit.plan import FitOptions, Machine, MemoryPlan, fit
from r1.fit.recommendation import CONTEXTS
from r1.fit.shape import Shape
from r1_quantize import units
from r1_quantize.catalog import Checkpoint
from r1_quantize.control_tokens import unusable
from r1_quantize.events import PullPlan

_TEXT_WIDTH = 69  # columns; 80 with the label


@dataclass(frozen=True, slots=True)
class _OnThisMachine:
    """A model that is not here yet, by its shape, and this machine: `now`, and `alone` without other programs.

    `memory` is the machine's total in bytes; `licences` begins with the checkpoint's own.
    """

    shape: Shape
    now: Machine
    alone: Machine
    memory: int
    licences: Sequence[str]

    @property
    def memory_needed(self) -> dict[int, int]:
        """Context length in tokens → bytes needed to run the model."""
        return {tokens: needs(self.shape, tokens, "f16").total for tokens in CONTEXTS}

    @property
    def can_run(self) -> bool:
        """Whether it would run here if all other programs were closed."""
        return self.plan_alone.fits

    @property
    def plan_alone(self) -> MemoryPlan:
        """The memory plan with all other programs closed; if none fits, the one that needs the least memory."""
        return fit(self.shape, self.alone, FitOptions())

    def _memory_facts(self) -> dict[str, Any]:
        return {
            "memory_bytes": {str(tokens): needed for tokens, needed in self.memory_needed.items()},
            "machine_memory_bytes": self.memory,
            "free_memory_bytes": self.now.free,
            "can_run": self.can_run,
        }

    def _memory_rows(self) -> dict[str, str]:
        memory = [f"{units.size(needed)} at {tokens // 1024}k" for tokens, needed in self.memory_needed.items()]
        return {"memory": f"{', '.join(memory)} tokens of context", "": self._machine()}

    def _machine(self) -> str:
        available = f"this machine has {units.size(self.memory)}, {units.size(self.now.free)} free"
        if not self.can_run:
            return f"{available}: too little to run it"
        plan = fit(self.shape, self.now, FitOptions())
        if not plan.fits or plan.is_short:
            return f"{available}: close other programs to run it"
        return available

    def _licence(self) -> str:
        return ", based on ".join(self.licences) or "see the repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook(_OnThisMachine):
    """The plan of a pull, and how its result will run here."""

    plan: PullPlan

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        plan = self.plan
        return {
            "reference": plan.reference,
            "repo": plan.repo,
            "revision": plan.commit,
            "files": [{"name": file.name, "bytes": file.size, "here": file.here} for file in plan.files],
            "bytes_to_fetch": plan.to_fetch,
            "result_bytes": plan.result,
            "peak_disk_bytes": plan.peak,
            "free_disk_bytes": plan.free,
            "shards_at_once": plan.shards_at_once,
            **self._memory_facts(),
            "missing_tokens": [*plan.missing_tokens],
            "notes": [*plan.notes],
            "licences": list(self.licences),
        }

    def lines(self) -> list[str]:
        """For people; at most 80 columns, unless a name is very long."""
        plan = self.plan
        facts = {
            "from": f"{plan.repo}, commit {plan.commit[:12]}",
            "download": self._download(),
            "disk": self._disk(),
            **self._memory_rows(),
            "licence": self._licence(),
        }
        remarks = [("note", note) for note in plan.notes]
        if plan.missing_tokens:
            remarks.append(("warning", unusable(plan.missing_tokens)))
        rows = [*facts.items(), *(row for label, text in remarks for row in _wrapped(label, text))]
        return [plan.reference, *(f"  {label:<8} {text}" for label, text in rows)]

    def _disk(self) -> str:
        plan = self.plan
        return f"{units.size(plan.result)} when done, {units.size(plan.peak)} at peak; {units.size(plan.free)} free"

    def _download(self) -> str:
        plan = self.plan
        files = f"{len(plan.files)} files" if len(plan.files) > 1 else "one file"
        total = sum(file.size for file in plan.files)
        if plan.to_fetch == total:
            return f"{units.size(total)}, {files}"
        if not plan.to_fetch:
            return f"nothing; {files}, {units.size(total)}, already on disk"
        return f"{units.size(plan.to_fetch)} of {units.size(total)}, {files}; the rest is on disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate(_OnThisMachine):
    """What the catalogue alone says about a pull, where the hub cannot be asked.

    `types` maps other quant types to the size of the model in bytes; `to_fetch` and `result` are bytes, too.
    """

    reference: str
    checkpoint: Checkpoint
    repo: str
    to_fetch: int
    result: int
    types: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "reference": self.reference,
            "from_hub": False,
            "repo": self.repo,
            "title": self.checkpoint.title,
            "parameters": self.checkpoint.parameters,
            "bytes_to_fetch": self.to_fetch,
            "result_bytes": self.result,
            "types": dict(self.types),
            **self._memory_facts(),
            "licences": list(self.licences),
        }

    def lines(self) -> list[str]:
        """For people; at most 80 columns, unless a name is very long."""
        sizes = [f"{name} {units.size(size)}" for name, size in self.types.items()]
        facts = {
            "model": f"{self.checkpoint.title}, {units.parameters(self.checkpoint.parameters)} parameters",
            "from": self.repo,
            "download": f"about {units.size(self.to_fetch)}",
            "disk": f"about {units.size(self.result)} when done",
            **self._memory_rows(),
            "types": ", ".join(sizes[:3]),
            " ": ", ".join(sizes[3:]),
            "licence": self._licence(),
        }
        title = f"{self.reference}, estimated from the catalogue of r1, not from the hub"
        return [title, *(f"  {label:<8} {text}" for label, text in facts.items())]


def _wrapped(label: str, text: str) -> Iterator[tuple[str, str]]:
    """The rows of a long text, with the label in the first one."""
    for number, line in enumerate(textwrap.wrap(text, _TEXT_WIDTH)):
        yield ("" if number else label), line

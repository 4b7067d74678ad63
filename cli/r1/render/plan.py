"""The plan of a pull, and how the model will run on this machine: lines for people, an object for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1.fit.needs import needs
from r1.fit.plan import FitOptions, Machine, MemoryPlan, fit
from r1.fit.recommendation import CONTEXTS
from r1.fit.shape import Shape
from r1_quantize import units
from r1_quantize.control_tokens import unusable
from r1_quantize.events import PullPlan


@dataclass(frozen=True, slots=True)
class Outlook:
    """The plan of a pull, the resulting model's shape, and this machine: `now`, and `alone` without other programs.

    `memory` is the machine's total in bytes; `licences` begins with the checkpoint's own.
    """

    plan: PullPlan
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
            "memory_bytes": {str(tokens): needed for tokens, needed in self.memory_needed.items()},
            "machine_memory_bytes": self.memory,
            "free_memory_bytes": self.now.free,
            "can_run": self.can_run,
            "missing_tokens": [*plan.missing_tokens],
            "notes": [*plan.notes],
            "licences": list(self.licences),
        }

    def lines(self) -> list[str]:
        """For people; at most 80 columns, unless a name is very long."""
        plan = self.plan
        memory = [f"{units.size(needed)} at {tokens // 1024}k" for tokens, needed in self.memory_needed.items()]
        facts = {
            "from": f"{plan.repo}, commit {plan.commit[:12]}",
            "download": self._download(),
            "disk": self._disk(),
            "memory": f"{', '.join(memory)} tokens of context",
            "": self._memory(),
            "licence": ", based on ".join(self.licences) or "see the repository",
        }
        rows = [*facts.items(), *(("note", note) for note in plan.notes)]
        if plan.missing_tokens:
            rows.append(("warning", unusable(plan.missing_tokens)))
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

    def _memory(self) -> str:
        available = f"this machine has {units.size(self.memory)}, {units.size(self.now.free)} free"
        if not self.can_run:
            return f"{available}: too little to run it"
        plan = fit(self.shape, self.now, FitOptions())
        if not plan.fits or plan.is_short:
            return f"{available}: close other programs to run it"
        return available

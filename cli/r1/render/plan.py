"""What a pull will do → lines for people, an object for scripts.

Knows: the words. Does not know: where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1.fit.needs import needs
from r1.fit.plan import FitOptions, Machine, MemoryPlan, fit
from r1.fit.shape import Shape
from r1_quantize import units
from r1_quantize.events import PullPlan

_CONTEXTS = {"4k": 4096, "16k": 16_384, "32k": 32_768}  # tokens


@dataclass(frozen=True, slots=True)
class Outlook:
    """A plan, the model that comes of it, and this machine: as it is `now`, and as it is when nothing else runs.

    `memory` is what it has in all, in bytes; `licences` begins with the checkpoint's own.
    """

    plan: PullPlan
    shape: Shape
    now: Machine
    alone: Machine
    memory: int
    licences: Sequence[str]

    @property
    def memory_needed(self) -> dict[int, int]:
        """Tokens of context → bytes it takes to run the model."""
        return {tokens: needs(self.shape, tokens, "f16").total for tokens in _CONTEXTS.values()}

    @property
    def can_run(self) -> bool:
        """Whether it would run here if everything else were closed."""
        return self.least.fits

    @property
    def least(self) -> MemoryPlan:
        """How it would run then; where it would not, with the least that it takes."""
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
            "licences": list(self.licences),
        }

    def lines(self) -> list[str]:
        """For people; none is longer than 80 columns, if no name in it is very long."""
        plan = self.plan
        memory = self.memory_needed
        said = {
            "from": f"{plan.repo}, commit {plan.commit[:12]}",
            "fetch": self._to_fetch(),
            "disk": f"{units.size(plan.result)} in the end, {units.size(plan.peak)} at most meanwhile; "
            f"{units.size(plan.free)} free",
            "memory": ", ".join(f"{units.size(memory[tokens])} at {name}" for name, tokens in _CONTEXTS.items())
            + " tokens",
            "": self._memory(),
            "licence": ", from ".join(self.licences) or "see the repository",
        }
        return [plan.reference, *(f"  {label:<8} {text}" for label, text in said.items())]

    def _to_fetch(self) -> str:
        plan = self.plan
        files = f"{len(plan.files)} files" if len(plan.files) > 1 else "one file"
        total = sum(file.size for file in plan.files)
        if plan.to_fetch == total:
            return f"{units.size(total)}, {files}"
        if not plan.to_fetch:
            return f"nothing; {files}, {units.size(total)}, {'are' if len(plan.files) > 1 else 'is'} here"
        return f"{units.size(plan.to_fetch)} of {units.size(total)}, {files}; the rest is here"

    def _memory(self) -> str:
        has = f"this machine has {units.size(self.memory)}, {units.size(self.now.free)} free"
        if not self.can_run:
            return f"{has}: too little to run it"
        plan = fit(self.shape, self.now, FitOptions())
        if not plan.fits or plan.is_short:
            return f"{has}: close other programs to run it"
        return has

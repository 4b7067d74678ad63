"""What would fit instead, when a model does not.

Knows: the catalogue. Does not know: what was wanted, or how it is said.
"""

from __future__ import annotations

from r1.fit.plan import SHORT, Machine, Wish, fit
from r1.prospects import QUANTS
from r1.shapes import shape_of_checkpoint
from r1_quantize import catalog


def best_that_fits(machine: Machine) -> str | None:
    """The best checkpoint, by its score, of which some type has room for a context that is not short, and that type."""
    known = sorted(catalog.load().values(), key=lambda checkpoint: -(checkpoint.aime_pass1 or 0.0))
    for checkpoint in known:
        for quant in QUANTS:
            shape = shape_of_checkpoint(checkpoint, quant)
            if shape and (plan := fit(shape, machine, Wish())).fits and plan.context >= SHORT:
                return f"{checkpoint.name}:{quant}"
    return None

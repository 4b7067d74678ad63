"""What a plan comes to, in one line.

Knows: the words. Does not know: how a plan is made (`r1.fit.plan`), or what else there is to run.
"""

from __future__ import annotations

from r1.fit.plan import Machine, Plan
from r1.fit.shape import Shape
from r1_quantize import units


def explain(plan: Plan, shape: Shape, machine: Machine) -> str:
    """What was chosen, what it takes and of how much."""
    chosen = f"{plan.context:,} tokens of context in {_article(plan.kv_type)} cache"
    if not plan.gpu_layers:
        return f"{chosen}: {units.size(plan.needs.main)} of {units.size(machine.free)} free memory"
    every = len(shape.layers) + 1
    layers = "every layer" if plan.gpu_layers >= every else f"{plan.gpu_layers} of {every} layers"
    names = ", ".join(gpu.name for gpu in machine.gpus)
    takes = f"{units.size(plan.needs.gpu)} of {units.size(machine.gpu_free)} free there"
    main = f"{units.size(plan.needs.main)} of {units.size(machine.free)} main memory"
    return f"{chosen}, {layers} on {names}: {takes}, and {main}"


def too_large(name: str, plan: Plan, machine: Machine) -> str:
    """What is lacking. What to do about it follows, by whoever knows."""
    what = f"{name} with {plan.context:,} tokens of context ({plan.kv_type}) needs"
    room = machine.gpu_free
    if plan.gpu_layers and plan.needs.gpu > room:
        where = f"on {', '.join(gpu.name for gpu in machine.gpus)} for {plan.gpu_layers} layers"
        return f"{what} {units.size(plan.needs.gpu)} {where}, and {units.size(room)} are free"
    needed = machine.in_main_memory(plan.needs)
    kept = f", of which {units.size(machine.margin)} are left to the system" if machine.margin else ""
    if machine.margin >= machine.free:
        kept = f", less than the {units.size(machine.margin)} that threads and the system need beside it"
    return f"{what} {units.size(needed)} of memory, and {units.size(machine.free)} are free{kept}"


def _article(kv_type: str) -> str:
    """`an F16`, `a Q8_0`."""
    return f"{'an' if kv_type[0] in 'fi' else 'a'} {kv_type.upper()}"

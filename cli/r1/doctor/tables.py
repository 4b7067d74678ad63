"""A diagnosis → tables and lines that fit the terminal.

Knows: columns and words. Does not know: where the facts come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from r1.console import printable
from r1.doctor.diagnosis import Diagnosis
from r1.doctor.warnings import findings
from r1.fit.choice import CONTEXTS, Prospect, Recommendation
from r1.fit.plan import COMFORTABLE
from r1.machine.disk import Disk
from r1.machine.processor import USEFUL
from r1_quantize import units

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_WIDE = 76  # columns, from which on every column of the table has room
_PATHS = 60  # columns, from which on paths stand beside what is said of them
_USUAL = "Q4_K_M"


def show(found: Diagnosis, rich: RichConsole) -> None:
    """The machine, what it could run, what to take, what to mend."""
    rich.print(_facts(found, wide=rich.width >= _PATHS))
    rich.print()
    rich.print(_table(worth_showing(found.prospects), wide=rich.width >= _WIDE))
    rich.print(Text(_legend(found), style="dim"))
    rich.print()
    _say(rich, *recommended(found.recommendation))
    if mending := findings(found):
        rich.print()
        for concern in mending:
            _say(rich, concern.text, concern.command, bullet="! ")


def _say(rich: RichConsole, text: str, command: str, *, bullet: str = "") -> None:
    """Words wrapped; the command on one line of its own, so that it can be copied."""
    line = Table.grid(*["bullet"] if bullet else [], "text")
    line.add_row(*[Text(bullet, style="yellow")] if bullet else [], Text(printable(text), overflow="fold"))
    rich.print(line)
    if command:
        rich.print(Text(f"  {printable(command)}", style="bold"), soft_wrap=True)


def _facts(found: Diagnosis, *, wide: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in facts(found, wide=wide):
        table.add_row(label, Text(printable(text)))
    return table


def facts(found: Diagnosis, *, wide: bool) -> Iterator[tuple[str, str]]:
    """Labels and what is said beside them; a line that goes on with the one before has no label."""
    machine = found.hardware
    yield "processor", ", ".join(filter(None, (machine.processor.name, machine.processor.architecture, machine.cores)))
    yield "threads", _threads(machine.threads.decode, machine.threads.prefill)
    yield from _instructions(found)
    yield from _memory(found)
    for device in found.devices:
        if device.kind != "cpu":
            yield device.name, f"{device.description}, {units.size(device.free)} of {units.size(device.total)} free"
    yield from _disks(found, wide=wide)
    if machine.power is not None:
        plugged = {True: "on battery", False: "plugged in", None: "battery"}[machine.power.on_battery]
        yield "power", f"{plugged}, {machine.power.percent} %"
    yield "terminal", _terminal(found)
    yield from _versions(found)


def _threads(decode: int, prefill: int) -> str:
    return f"{decode}" if decode == prefill else f"{decode} to decode, {prefill} to prefill"


def _instructions(found: Diagnosis) -> Iterator[tuple[str, str]]:
    if found.build is not None:
        used = [name for name in USEFUL if name in found.build.instructions]
        yield "compiled for", " ".join(used) or "no special instructions"
        if found.missing:
            yield "and could use", " ".join(found.missing)


def _memory(found: Diagnosis) -> Iterator[tuple[str, str]]:
    memory, bandwidth = found.hardware.memory, found.hardware.bandwidth
    limited = {"machine": "", "cgroup": ", limited by a control group", "ulimit": ", limited by ulimit -v"}
    swapped = found.hardware.swap_used
    swap = f", {units.size(swapped)} of swap in use" if swapped else ""
    yield "memory", f"{units.size(memory.free)} of {units.size(memory.total)} free{limited[memory.limit]}{swap}"
    yield "bandwidth", f"{units.size(round(bandwidth))}/s" if bandwidth else "not measured"


def _disks(found: Diagnosis, *, wide: bool) -> Iterator[tuple[str, str]]:
    home, cache = found.hardware.home, found.hardware.hub_cache
    if home is not None:
        yield "disk", _disk(home, wide=wide)
    if cache is not None and (home is None or cache.device != home.device):
        yield "hub's cache", _disk(cache, wide=wide)


def _disk(disk: Disk, *, wide: bool) -> str:
    return f"{units.size(disk.free)} of {units.size(disk.total)} free{f', {disk.label}' if wide else ''}"


def _terminal(found: Diagnosis) -> str:
    terminal = found.hardware.terminal
    if not terminal.is_terminal:
        return "none"
    colours = {"none": "no colours", "standard": "16 colours", "256": "256 colours", "truecolor": "true colour"}
    said = [f"{terminal.columns}×{terminal.lines}", colours.get(terminal.colours, terminal.colours), terminal.encoding]
    via = {"tmux": terminal.tmux, "ssh": terminal.ssh, "Termux": terminal.termux}
    return ", ".join((*said, *(name for name, is_there in via.items() if is_there)))


def _versions(found: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "r1", f"{found.versions.r1}, Python {found.versions.python}"
    binding = f"llama-cpp-python {found.versions.binding or '?'}"
    if found.build is None:
        yield "llama.cpp", f"cannot be loaded ({binding})" if found.versions.binding else "is not installed"
    else:
        yield "llama.cpp", f"{found.build.commit}, ggml {found.build.ggml}, {binding}"


def worth_showing(found: Iterable[Prospect]) -> list[Prospect]:
    """Of each checkpoint the usual type; a larger one that there is room for too, a smaller one where there is not."""
    shown: list[Prospect] = []
    by_name: dict[str, list[Prospect]] = {}
    for prospect in found:
        by_name.setdefault(prospect.name, []).append(prospect)
    for types in by_name.values():
        usual = next(index for index, prospect in enumerate(types) if prospect.quant == _USUAL)
        larger, smaller = types[:usual], types[usual + 1 :]
        shown += [p for p in larger if p.fits_now >= COMFORTABLE and p.is_fast][:1]
        shown.append(types[usual])
        if types[usual].fits_now < COMFORTABLE:
            shown += [p for p in smaller if p.fits_now > types[usual].fits_now][:1]
    return shown


def _table(prospects: list[Prospect], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0), header_style="dim")
    contexts = CONTEXTS if wide else (COMFORTABLE,)
    table.add_column("model", no_wrap=True)
    for name in ("file", *(f"at {_tokens(tokens)}" for tokens in contexts))[0 if wide else 1 :]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    for prospect in prospects:
        sizes = [units.size(prospect.size)] if wide else []
        sizes += [units.size(prospect.needed[tokens]) for tokens in contexts]
        style = "" if prospect.fits_now else "dim"
        table.add_row(prospect.reference, *sizes, _fits(prospect), _speed(prospect), style=style)
    return table


def _tokens(count: int) -> str:
    return f"{count // 1024}k"


def _fits(prospect: Prospect) -> str:
    if prospect.fits_now:
        return f"to {_tokens(prospect.fits_now)}"
    return "not now" if prospect.fits_alone else "no"


def _speed(prospect: Prospect) -> str:
    """Two digits: more would promise what an estimate cannot keep."""
    speed = prospect.tokens_per_second
    if speed is None:
        return "?"
    rounded = f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}"
    return f"{rounded}+" if prospect.on_gpu else rounded


def _legend(found: Diagnosis) -> str:
    shown = worth_showing(found.prospects)
    said = ["Memory it takes with so many tokens of context, and the longest that fits now."]
    if any(not p.fits_now and p.fits_alone for p in shown):
        said.append("Not now: it would if other programs were closed.")
    said.append("Tokens a second are about what memory allows.")
    if any(p.on_gpu for p in shown):
        said.append("+: more, on the GPU.")
    return " ".join(said)


def recommended(recommendation: Recommendation | None) -> tuple[str, str]:
    """What to take and why, and the command for it."""
    if recommendation is None:
        return "No checkpoint fits this machine; the built-in model does:", "r1 chat tiny"
    chosen, here = recommendation.prospect, recommendation.here
    said = f"{chosen.reference}: {_reason(recommendation)}"
    if recommendation.better:
        said += f" With more room on the disk it would be {recommendation.better}."
    if here is not None:
        return f"Take {said} {'It' if here == chosen.reference else here} is here already:", f"r1 chat {here}"
    return f"Take {said}", f"r1 pull {chosen.reference}"


def _reason(recommendation: Recommendation) -> str:
    chosen = recommendation.prospect
    speed = f"about {_speed(chosen)} tokens a second" if chosen.tokens_per_second else "its speed is unknown"
    if recommendation.why == "best":
        among = f"of those with room for {_tokens(COMFORTABLE)} tokens that are fast enough"
        score = f" (AIME 2024: {chosen.score} %)" if chosen.score else ""
        return f"{among}, it scores best{score}; {speed}."
    if recommendation.why == "slow":
        return f"the fastest there is room for, though slow; {speed}."
    if recommendation.why == "short":
        return f"the one with most room for context, though only {_tokens(chosen.fits_now)} tokens; {speed}."
    return "it fits when other programs are closed; nothing does now."

"""A diagnosis → tables and lines that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from r1.console import printable
from r1.doctor.diagnosis import Diagnosis
from r1.doctor.warnings import findings
from r1.fit.plan import COMFORTABLE
from r1.fit.recommendation import CONTEXTS, Prospect, Recommendation
from r1.fit.votes import PUBLISHED, VotesInstead
from r1.machine.disk import Disk
from r1.machine.processor import USEFUL
from r1_quantize import units

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_MIN_WIDTH_FOR_COLUMNS = 76  # from here on, every column of the models' table fits
_MIN_WIDTH_FOR_PATHS = 60  # from here on, paths fit beside the other facts
_USUAL_QUANT = "Q4_K_M"


def show(diagnosis: Diagnosis, rich: RichConsole) -> None:
    """Prints the machine, the models it can run, the one to choose, and what to fix."""
    rich.print(_facts(diagnosis, with_paths=rich.width >= _MIN_WIDTH_FOR_PATHS))
    rich.print()
    all_columns = rich.width >= _MIN_WIDTH_FOR_COLUMNS
    rich.print(_models(shown_prospects(diagnosis.prospects), all_columns=all_columns))
    rich.print(Text(_legend(diagnosis, all_columns=all_columns), style="dim"))
    rich.print()
    _print_advice(rich, *recommended(diagnosis.recommendation))
    if diagnosis.votes is not None:
        rich.print()
        _print_advice(rich, votes_in_words(diagnosis.votes), "")
    if warnings := findings(diagnosis):
        rich.print()
        for finding in warnings:
            _print_advice(rich, finding.text, finding.command, bullet="! ")


def _print_advice(rich: RichConsole, text: str, command: str, *, bullet: str = "") -> None:
    """The text is wrapped; the command stays on a line of its own, so that it can be copied."""
    text = f"{text}:" if command else text
    line = Table.grid(*["bullet"] if bullet else [], "text")
    line.add_row(*[Text(bullet, style="yellow")] if bullet else [], Text(printable(text), overflow="fold"))
    rich.print(line)
    if command:
        rich.print(Text(f"  {printable(command)}", style="bold"), soft_wrap=True)


def _facts(diagnosis: Diagnosis, *, with_paths: bool) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in facts(diagnosis, with_paths=with_paths):
        table.add_row(label, Text(printable(text)))
    return table


def facts(diagnosis: Diagnosis, *, with_paths: bool) -> Iterator[tuple[str, str]]:
    """Labels and values, one line each."""
    machine = diagnosis.hardware
    yield "processor", ", ".join(filter(None, (machine.processor.name, machine.processor.architecture, machine.cores)))
    yield "threads", _threads(machine.threads.decode, machine.threads.prefill)
    yield from _instructions(diagnosis)
    yield from _memory(diagnosis)
    for device in diagnosis.devices:
        if device.kind != "cpu":
            yield device.name, f"{device.description}, {units.size(device.free)} of {units.size(device.total)} free"
    yield from _disks(diagnosis, with_paths=with_paths)
    if machine.power is not None:
        source = {True: "on battery", False: "plugged in", None: "battery"}[machine.power.on_battery]
        yield "power", f"{source}, {machine.power.percent} %"
    yield "terminal", _terminal(diagnosis)
    yield from _versions(diagnosis)


def _threads(decode: int, prefill: int) -> str:
    return f"{decode}" if decode == prefill else f"{decode} for decode, {prefill} for prefill"


def _instructions(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    if diagnosis.build is not None:
        used = [name for name in USEFUL if name in diagnosis.build.instructions]
        yield "compiled for", " ".join(used) or "no special instructions"
        if diagnosis.missing_instructions:
            yield "could also use", " ".join(diagnosis.missing_instructions)


def _memory(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    memory, bandwidth = diagnosis.hardware.memory, diagnosis.hardware.bandwidth
    limit = {"machine": "", "cgroup": ", limited by a control group", "ulimit": ", limited by ulimit -v"}
    swapped = diagnosis.hardware.swap_used
    swap = f", {units.size(swapped)} of swap in use" if swapped else ""
    yield "memory", f"{units.size(memory.free)} of {units.size(memory.total)} free{limit[memory.limit]}{swap}"
    yield "bandwidth", f"{units.size(round(bandwidth))}/s" if bandwidth else "not measured"


def _disks(diagnosis: Diagnosis, *, with_paths: bool) -> Iterator[tuple[str, str]]:
    home, cache = diagnosis.hardware.home, diagnosis.hardware.hub_cache
    if home is not None:
        yield "disk", _disk(home, with_path=with_paths)
    if cache is not None and (home is None or cache.device != home.device):
        yield "hub cache", _disk(cache, with_path=with_paths)


def _disk(disk: Disk, *, with_path: bool) -> str:
    return f"{units.size(disk.free)} of {units.size(disk.total)} free{f', {disk.label}' if with_path else ''}"


def _terminal(diagnosis: Diagnosis) -> str:
    terminal = diagnosis.hardware.terminal
    if not terminal.is_terminal:
        return "none"
    colours = {"none": "no colours", "standard": "16 colours", "256": "256 colours", "truecolor": "true colour"}
    size = f"{terminal.columns}×{terminal.lines}"
    known = [size, colours.get(terminal.colours, terminal.colours), terminal.encoding]
    via = {"tmux": terminal.tmux, "ssh": terminal.ssh, "Termux": terminal.termux}
    return ", ".join((*known, *(name for name, is_used in via.items() if is_used)))


def _versions(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "r1", f"{diagnosis.versions.r1}, Python {diagnosis.versions.python}"
    binding = f"llama-cpp-python {diagnosis.versions.binding or '?'}"
    if diagnosis.build is not None:
        yield "llama.cpp", f"{diagnosis.build.commit}, ggml {diagnosis.build.ggml}, {binding}"
    else:
        yield "llama.cpp", f"cannot be loaded ({binding})" if diagnosis.versions.binding else "not installed"


def shown_prospects(prospects: Iterable[Prospect]) -> list[Prospect]:
    """Each checkpoint in its usual type, with a larger type if that fits too, or a smaller one if it does not fit."""
    shown: list[Prospect] = []
    by_name: dict[str, list[Prospect]] = {}
    for prospect in prospects:
        by_name.setdefault(prospect.name, []).append(prospect)
    for types in by_name.values():
        usual = next(index for index, prospect in enumerate(types) if prospect.quant == _USUAL_QUANT)
        larger, smaller = types[:usual], types[usual + 1 :]
        shown += [p for p in larger if p.fits_now >= COMFORTABLE and p.is_fast][:1]
        shown.append(types[usual])
        if types[usual].fits_now < COMFORTABLE:
            shown += [p for p in smaller if p.fits_now > types[usual].fits_now][:1]
    return shown


def _models(prospects: list[Prospect], *, all_columns: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2 if all_columns else 1, 0, 0), header_style="dim")
    contexts = CONTEXTS if all_columns else (COMFORTABLE,)
    table.add_column("model", no_wrap=True)
    for name in ("file", *(f"at {_tokens(tokens)}" for tokens in contexts))[0 if all_columns else 1 :]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    table.add_column("tok/s", justify="right", no_wrap=True)
    for prospect in prospects:
        sizes = [units.size(prospect.size)] if all_columns else []
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
    """Two digits: an estimate is no more precise than that."""
    speed = prospect.tokens_per_second
    if speed is None:
        return "?"
    rounded = f"{speed:.0f}" if speed >= 10 else f"{speed:.1f}"
    return f"{rounded}+" if prospect.on_gpu else rounded


def _legend(diagnosis: Diagnosis, *, all_columns: bool) -> str:
    shown = shown_prospects(diagnosis.prospects)
    lengths = "at each context length" if all_columns else f"at the context length {_tokens(COMFORTABLE)}"
    sentences = [f"Memory needed {lengths}, and the longest context that fits now."]
    if any(not p.fits_now and p.fits_alone for p in shown):
        sentences.append("Not now: fits when other programs are closed.")
    sentences.append("Tokens per second are estimated from the memory bandwidth.")
    if any(p.on_gpu for p in shown):
        sentences.append("+: faster, on the GPU.")
    return " ".join(sentences)


def recommended(recommendation: Recommendation | None) -> tuple[str, str]:
    """Which model to choose and why, and the command for it."""
    if recommendation is None:
        return "No checkpoint fits this machine, but the built-in model does; start it with", "r1 chat tiny"
    chosen, stored = recommendation.prospect, recommendation.here
    text = f"Recommended: {chosen.reference}, {_reason(recommendation)}"
    if recommendation.better:
        text += f" With more free disk space: {recommendation.better}."
    if stored is not None:
        return (
            f"{text} {'It' if stored == chosen.reference else stored} is on this machine; start it with",
            f"r1 chat {stored}",
        )
    return f"{text} Get it with", f"r1 pull {chosen.reference}"


def _reason(recommendation: Recommendation) -> str:
    chosen = recommendation.prospect
    speed = f"about {_speed(chosen)} tokens/s" if chosen.tokens_per_second else "speed unknown"
    if recommendation.why == "best":
        score = f" (AIME 2024: {chosen.score} %)" if chosen.score else ""
        return f"which scores best{score} among the fast models that fit with {_tokens(COMFORTABLE)} tokens; {speed}."
    if recommendation.why == "slow":
        return f"the fastest model that fits, though slow; {speed}."
    if recommendation.why == "short":
        return f"the model that fits with the longest context, though only {_tokens(chosen.fits_now)} tokens; {speed}."
    return "which fits when other programs are closed; no model fits now."


def votes_in_words(instead: VotesInstead) -> str:
    """The votes that take no longer than one answer of a larger model, and what is published about both."""
    smaller, larger = instead.smaller, instead.larger
    part = f" {instead.votes} votes get part of the gain of {PUBLISHED}." if instead.votes < PUBLISHED else ""
    return (
        f"Estimate: r1 run -m {smaller.reference} --votes {instead.votes} takes no longer than one answer of "
        f"{larger.reference}. Published for AIME 2024 (unquantized): {smaller.name} {smaller.score:.1f} % with one "
        f"answer and {smaller.voted_score:.1f} % with {PUBLISHED} votes, {larger.name} {larger.score:.1f} % with one "
        f"answer.{part}"
    )

"""Shows `r1 bench`: a line for each measurement as it is made, and a bar chart of all of them at the end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from time import monotonic

from r1.console import Console, printable
from r1.engine.bench import LeftOut, Row, Step, Test
from r1.engine.parallel_bench import ParallelPlan, ParallelRow, ParallelStep
from r1.engine.tune import Trial, Trying
from r1.machine.cores import Threads
from r1.markdown.wrap import wrap
from r1.render.bars import bar, can_show
from r1.render.style import Style
from r1_quantize import units

_MAX_BAR_COLUMNS = 60  # longer bars are no easier to compare
_LABEL_COLUMNS = 13  # of the label before a fact
_NOISY = 0.1  # standard deviation as a share of the mean; an idle machine stays below it
_INTERVAL_S = 0.1  # between two updates of the status line


@dataclass(frozen=True, slots=True)
class Subject:
    """The model measured, of `size` bytes, and where and how it computes.

    Each of `sequences` sequences holds up to `context` tokens, all together up to `cells`.
    """

    model: str
    path: str
    size: int
    device: str
    processor: str
    threads: Threads
    gpu_layers: int
    kv_type: str
    context: int
    chunk: int
    sequences: int
    cells: int


@dataclass(slots=True)
class BenchView:
    """Results on stdout, and a status line on a terminal's stderr. `silent`: the status line only."""

    console: Console
    silent: bool = False
    _style: Style = field(init=False)
    _is_ascii: bool = field(init=False)
    _updated_at: float = field(default=0.0, init=False)
    _rows: list[Row | ParallelRow] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        width = shutil.get_terminal_size().columns if self.console.stdout_is_terminal else 10_000
        self._style = Style(width, self.console.stdout_is_terminal and not self.console.is_plain)
        self._is_ascii = not can_show(getattr(self.console.stdout, "encoding", None))

    def subject(self, subject: Subject) -> None:
        """The model, the device and the cache."""
        decode, prefill = subject.threads.decode, subject.threads.prefill
        threads = units.count(prefill, "thread")
        if decode != prefill:
            threads += f" to prefill, {decode} to decode"
        self._fact("model", f"{subject.model}, {units.size(subject.size)}")
        self._fact("on", f"{subject.device}, {threads}")
        many = f" for {subject.sequences} sequences" if subject.sequences > 1 else ""
        self._fact("cache", f"{subject.kv_type}, {subject.cells} tokens{many}")

    def ready(self, load_s: float, first_token_s: float, prompt_tokens: int) -> None:
        """How long loading took, and the first token."""
        self._fact("load", _seconds(load_s))
        self._fact("first token", f"{_seconds(first_token_s)}, with a prompt of {prompt_tokens} tokens")

    def header(self) -> None:
        """Of the table of depths."""
        self._header("test     depth      tok/s")

    def parallel_header(self, plan: ParallelPlan) -> None:
        """What is measured, and the header of the table of numbers of sequences."""
        prompts = "one prompt for all" if plan.is_shared else "a prompt for each"
        prefill = [f"{prompts}, {plan.prompt} tokens"] if plan.prompt else []
        decode = [f"{plan.gen} tokens of each"] if plan.gen else []
        self._fact("sequences", "; then ".join(prefill + decode))
        self._header(f"{'test':<7}{'seqs':>5}  {'each':>7}  {'total':>7} tok/s")

    def row(self, row: Row | ParallelRow, repetitions: int) -> None:
        """One measurement; says so if it has fewer runs than `repetitions`."""
        self._rows.append(row)
        done = len(row.seconds)
        cut = f" ({done} of {repetitions} runs)" if done < repetitions else ""
        self._line((_parallel_columns(row) if isinstance(row, ParallelRow) else _columns(row)) + cut)

    def left_out(self, event: LeftOut) -> None:
        """A skipped depth, and the option that measures it anyway."""
        needed = units.duration(event.seconds)
        self._line(
            f"depth {event.depth} skipped: filling the cache takes {needed} (to measure: --depths {event.depth})"
        )

    def end(self, peak: int) -> None:
        """Bar charts, on a terminal only, and the peak memory in bytes."""
        if not self._rows:  # interrupted before the first one ended
            self._line("nothing measured yet")
        if self.console.stdout_is_terminal:
            self._chart("prefill, tok/s by depth", self._rates("prefill", Row))
            self._chart("decode, tok/s by depth", self._rates("decode", Row))
            self._chart("decode, total tok/s by sequences", self._rates("decode", ParallelRow))
        self._line("")
        self._fact("memory", f"{units.size(peak)} at peak")
        spread = max((row.stdev / row.mean for row in self._rows), default=0.0)
        if spread > _NOISY:
            self._fact("noise", f"up to {100 * spread:.0f} %; close other programs and measure again")

    def step(self, step: Step | ParallelStep) -> None:
        """The current activity, in the status line."""
        self.status(_activity(step))

    def loading(self, share: float) -> None:
        self.status(f"loading {share:.0%}")

    def status(self, text: str) -> None:
        """Updates the status line; does nothing where stderr is not a terminal that can erase it."""
        if not self.console.has_style or monotonic() - self._updated_at < _INTERVAL_S:
            return
        self._updated_at = monotonic()
        self.console.rewrite(text[: shutil.get_terminal_size().columns - 1])

    def clear(self) -> None:
        """Erases the status line."""
        self.console.rewrite("")

    def tuning(self, model: str) -> None:
        """The model, and the table's header."""
        self._fact("model", model)
        self._header("test     threads      tok/s  against the default")

    def trying(self, event: Trying) -> None:
        self.status(f"{event.test} with {units.count(event.threads, 'thread')}")

    def trial(self, trial: Trial) -> None:
        """One candidate, with the median, smallest and largest of its ratios."""
        ratios = (
            f"{trial.ratio:.2f} ({min(trial.ratios):.2f} to {max(trial.ratios):.2f})" if trial.ratios else "default"
        )
        better = ", better" if trial.is_better else ""
        self._line(f"{trial.test:<7}{trial.threads:>9}  {trial.mean:>9.2f}  {ratios}{better}")

    def tuned(self, best: Threads, saved_in: str | None) -> None:
        """The result; `saved_in` None: the default is the fastest."""
        best_text = (
            f"prefill with {units.count(best.prefill, 'thread')}, decode with {units.count(best.decode, 'thread')}"
        )
        self._line("")
        self._fact("best", f"{best_text}; saved in {saved_in}" if saved_in else f"{best_text}, as by default")

    def _rates(self, test: Test, kind: type[Row | ParallelRow]) -> list[tuple[int, float]]:
        """Of the rows of one kind, the depth or the number of sequences, and the tokens per second."""
        rows = [row for row in self._rows if row.test == test and isinstance(row, kind)]
        return [(row.depth if isinstance(row, Row) else row.sequences, row.mean) for row in rows]

    def _chart(self, title: str, rates: list[tuple[int, float]]) -> None:
        """A bar for each rate, with the number that it belongs to."""
        if len(rates) < 2:
            return
        fastest = max(rate for _, rate in rates)
        columns = max(min(self._style.width - 20, _MAX_BAR_COLUMNS), 4)
        self._header(title)
        for label, rate in rates:
            self._line(f"{label:>7}  {bar(rate / fastest, columns, is_ascii=self._is_ascii)} {rate:.2f}")

    def _header(self, text: str) -> None:
        self._line("")
        self._line(text, "2")

    def _fact(self, label: str, text: str) -> None:
        lines = wrap(text, max(self._style.width - _LABEL_COLUMNS - 1, 8))
        for number, line in enumerate(lines):
            self._line(f"{'' if number else label:<{_LABEL_COLUMNS}}{line}")

    def _line(self, text: str, codes: str = "") -> None:
        """Raises BrokenPipeError when the reader of stdout has closed it."""
        if self.silent:
            return
        self.clear()
        text = printable(text)
        text = text.replace("±", "+-") if self._is_ascii else text
        self.console.stdout.write((self._style.styled(text, codes) if codes else text) + "\n")
        self.console.stdout.flush()


def _columns(row: Row) -> str:
    return f"{row.test:<7}{row.depth:>7}  {row.mean:>9.2f} ± {row.stdev:.2f}"


def _parallel_columns(row: ParallelRow) -> str:
    rates = f"{_rate(row.per_sequence):>7}  {_rate(row.mean):>7} ± {_rate(row.stdev)}"
    return f"{row.test:<7}{row.sequences:>5}  {rates}"


def _activity(step: Step | ParallelStep) -> str:
    if isinstance(step, ParallelStep):
        return f"{step.test}, {units.count(step.sequences, 'sequence')}: {step.done} of {step.total} runs"
    if step.doing == "filling":
        return f"filling the cache: {step.done} of {step.total} tokens"
    return f"{step.doing} at depth {step.depth}: {step.done} of {step.total} runs"


def _rate(rate: float) -> str:
    """Tokens per second with four digits, so that tables with several of them stay narrow."""
    return f"{rate:.{2 if rate < 100 else 1 if rate < 1000 else 0}f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"

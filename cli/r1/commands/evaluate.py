"""`r1 eval`: asks a model many problems, several times each, and says how many it gets right."""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from r1 import __version__
from r1.commands.run import load
from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.engine.request import Request
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.evaluation import Evaluation, SampleToDraw, samples_to_draw
from r1.evaluate.figures import Figures, by_problem, figures, published_for
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge
from r1.evaluate.problems import (
    BUILT_IN,
    CHOICE_INSTRUCTION,
    INSTRUCTION,
    BadLine,
    Problem,
    builtin,
    builtin_file,
    read_problems,
)
from r1.evaluate.report import Layout, Subject, report_lines, report_object
from r1.evaluate.sample_log import SampleLog, SampleRecord
from r1.evaluate.standing import Standing
from r1.evaluate.symbolic import Verifier
from r1.interrupt import Interrupt, Interrupted
from r1.library import find_model, open_store
from r1.loaded_model import LoadedModel
from r1.render.bars import can_show
from r1.render.lines_progress import LinesProgress
from r1.settings import Settings
from r1_quantize import units
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.store.model import StoredModel

DEFAULT_SEED = 0
"""Of an evaluation: two of the same problems ask with the same seeds."""

_MOST_BYTES = 256 << 20  # of a file of problems
_NAMED_BAD_LINES = 5
_COMPARED = (
    *("temp", "top_p", "max_tokens", "think_budget", "effort", "reserve", "loop_guard", "system", "ctx", "kv_type"),
)
"""The settings that decide what a sample is, besides its seed."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What to ask, and what becomes of it. One of `file` (`-`: stdin) and `builtin` names the problems.

    `instruction` is added to each question: None for the usual one, empty for none.
    """

    file: str | None = None
    builtin: str | None = None
    k: int = 1
    instruction: str | None = None
    limit: int | None = None
    shuffle: int | None = None
    output: Path | None = None
    skip_bad: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class _Problems:
    """The problems to ask, out of `usable`, the lines that are none, and the digest of the whole file."""

    name: str
    chosen: list[Problem]
    usable: int
    bad: list[BadLine]
    digest: str


def evaluate(console: Console, options: EvalOptions, settings: Settings) -> ExitStatus:
    """Draws the samples that `output` does not have yet, and prints the figures; a signal prints those so far.

    USAGE if lines were no problems, or too long to ask, unless they are to be skipped. Raises UsageError for unusable
    options, as `SampleLog.open`, `find_model` and `LoadedModel`, and NotEnoughSpace when the disk is full.
    """
    settings = replace(settings, seed=DEFAULT_SEED if settings.seed is None else settings.seed)
    with Interrupt() as interrupt:
        try:
            with interrupt.raising():
                problems = _problems(console, options)
                _name_bad_lines(console, problems.bad)
                model = find_model(console, settings.model)
                log = _log(console, options, settings, model, problems)
            with log, closing(Equivalence(Verifier.if_installed())) as equivalence:
                run = _Run(console, options, settings, model, problems, log, equivalence)
                run.draw(interrupt)
                unasked = run.report()
        except (LoadCancelled, Interrupted):
            return interrupt.status
        if interrupt():
            return interrupt.status
    return ExitStatus.USAGE if (problems.bad or unasked) and not options.skip_bad else ExitStatus.OK


@dataclass(slots=True)
class _Run:
    """One evaluation of a model."""

    console: Console
    options: EvalOptions
    settings: Settings
    model: StoredModel
    problems: _Problems
    log: SampleLog
    equivalence: Equivalence
    judge: Judge = field(init=False)
    records: list[SampleRecord] = field(init=False)

    def __post_init__(self) -> None:
        self.judge = Judge(final_answer, self.equivalence.same)
        self.records = list(self.log.earlier)

    def draw(self, interrupt: Interrupt) -> None:
        """Draws the samples that are missing. Raises as `evaluate`."""
        chosen, k = self.problems.chosen, self.options.k
        done = [record.key for record in self.records]
        samples = samples_to_draw(chosen, k, self.settings.seed or 0, done)
        earlier = by_problem(chosen, self.records, k)
        here, total = sum(map(len, earlier.values())), k * len(chosen)
        if here == total:
            return
        if k > 1 and self.settings.temp == 0:
            self.console.note("at temperature 0 all samples of a problem are the same; raise --temp, or leave -k out")
        standing = Standing.of(self.judge, k, earlier)
        progress = LinesProgress(
            self.console,
            total - here,
            done=lambda done: f"{here + done:,} of {total:,} sample{'' if total == 1 else 's'}",
            more=lambda: standing.wording,
        )
        with load(self.console, self.settings, interrupt, self.model) as loaded:
            listener = _Progress(progress, standing, {problem.line: problem for problem in chosen})
            evaluation = Evaluation(loaded, self._requests(loaded), self.judge, self.log, listener)
            progress.show()
            try:
                evaluation.run(samples, interrupt)
            finally:
                progress.hide()
                self.records += evaluation.records

    def _requests(self, loaded: LoadedModel) -> Callable[[SampleToDraw], Request]:
        def request(sample: SampleToDraw) -> Request:
            prompt = sample.problem.prompt(_instruction(self.options, sample.problem))
            return loaded.request(prompt, settings=replace(loaded.settings, seed=sample.seed))

        return request

    def report(self) -> bool:
        """Prints the figures over all samples. Returns whether some could not be drawn, because they are too long."""
        found = self._figures()
        self._print(found)
        failed = next((record for record in self.records if record.error is not None), None)
        if found.failed and failed is not None:
            others = f"; {units.count(found.failed, 'sample')} could not be drawn" if found.failed > 1 else ""
            self.console.warn(f"line {failed.line}: {failed.error}{others}")
        return found.failed > 0

    def _print(self, found: Figures) -> None:
        subject = Subject(
            model=self.model.reference,
            name=self.problems.name,
            problems=self.problems.usable,
            settings=_in_words(self.settings),
            instruction=_instruction(self.options, *self.problems.chosen[:1]),
            bad_lines=self.problems.bad,
        )
        if self.options.as_json:
            self.console.json(report_object(subject, found, _compared(self.settings)))
            return
        is_terminal = self.console.stdout_is_terminal
        columns = shutil.get_terminal_size().columns if is_terminal else None
        is_ascii = not can_show(getattr(self.console.stdout, "encoding", None))
        self.console.out("".join(f"{line}\n" for line in report_lines(subject, found, Layout(columns, is_ascii))))

    def _figures(self) -> Figures:
        checkpoint = open_store(self.console.environ).catalogue.get(self.model.name) if self.model.quant else None
        published = published_for(self.problems.chosen, checkpoint)
        return figures(self.problems.chosen, self.records, self.options.k, self.judge, published=published)


@dataclass(slots=True)
class _Progress:
    """Passes on what happens: to the status line, and to what is known of the undecided problems."""

    lines: LinesProgress
    standing: Standing
    problems: dict[int, Problem]

    def began(self, sample: SampleToDraw) -> None:
        self.lines.begin(1)
        self.standing.begin(sample.problem)

    def ended(self, record: SampleRecord) -> None:
        self.lines.finish(1)
        self.standing.end(self.problems[record.line], record)

    def generated(self, tokens: int) -> None:
        self.lines.add_tokens(tokens)


def _problems(console: Console, options: EvalOptions) -> _Problems:
    """Raises UsageError if there are none, or the file cannot be read."""
    name, content = _content(console, options)
    found = [*read_problems(io.BytesIO(content))]
    usable = [each for each in found if isinstance(each, Problem)]
    bad = [each for each in found if isinstance(each, BadLine)]
    if not usable:
        why = f"; {bad[0].reason}" if bad else "; each line is a JSON object with a question and its answer"
        raise UsageError(f"{name} has no problems{why}")
    chosen = list(usable)
    if options.shuffle is not None:
        random.Random(options.shuffle).shuffle(chosen)
    import hashlib  # here, because light commands import this module's neighbours

    return _Problems(name, chosen[: options.limit], len(usable), bad, hashlib.sha256(content).hexdigest())


def _content(console: Console, options: EvalOptions) -> tuple[str, bytes]:
    """The name and the content of the file. Raises UsageError."""
    if (options.file is None) == (options.builtin is None):
        raise UsageError("give either a FILE of problems (`-`: stdin) or --builtin tiny")
    if options.builtin is not None:
        builtin(options.builtin)
        return f"{options.builtin}, built in", builtin_file(options.builtin).read_bytes()
    if options.file == "-":
        if console.stdin is None:
            raise UsageError("the problems are to come from stdin, and stdin is closed or not readable")
        return "stdin", _read("stdin", console.stdin)
    path = Path(options.file or "")
    try:
        with path.open("rb") as file:
            return str(path), _read(str(path), file)
    except OSError as exc:
        hint = f"; for the built-in problems: --builtin {options.file}" if options.file in BUILT_IN else ""
        raise UsageError(f"{path}: cannot be read ({exc.strerror}){hint}") from exc


def _read(name: str, file: BinaryIO) -> bytes:
    try:
        content = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise UsageError(f"{name} cannot be read ({exc.strerror})") from exc
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{name} has more than {units.size(_MOST_BYTES)}; give a part of it")
    return content


def _name_bad_lines(console: Console, bad: list[BadLine]) -> None:
    for line in bad[:_NAMED_BAD_LINES]:
        console.warn(line.reason)
    if len(bad) > _NAMED_BAD_LINES:
        console.warn(f"{units.count(len(bad) - _NAMED_BAD_LINES, 'other line')} cannot be used either")


def _instruction(options: EvalOptions, *problems: Problem) -> str | None:
    """What is added to a question; not the usual one if the question asks for a box itself.

    The built-in problems are for a model that was not trained on instructions.
    """
    if options.instruction is not None:
        return options.instruction or None
    if options.builtin is not None or any("\\boxed" in problem.question for problem in problems):
        return None
    return CHOICE_INSTRUCTION if any(problem.choices for problem in problems) else INSTRUCTION


def _kind_of_instruction(options: EvalOptions) -> str | None:
    """The instruction that was given, or that it is the usual one, which may differ from problem to problem."""
    if options.instruction is not None:
        return options.instruction or None
    return None if options.builtin is not None else "the usual one"


def _log(
    console: Console, options: EvalOptions, settings: Settings, model: StoredModel, problems: _Problems
) -> SampleLog:
    """The file of samples, and lines about what it has. Raises as `SampleLog.open`."""
    if options.output is None:
        return SampleLog.none()
    facts = {
        "r1": __version__,
        "model": model.reference,
        "model_file": _file_facts(model),
        "problem_file": f"sha256:{problems.digest}",
        "instruction": _kind_of_instruction(options),
        **_compared(settings),
    }
    log = SampleLog.open(options.output, facts)
    if log.renewed:
        console.warn(f"{options.output}: {log.renewed}; starting over")
    elif log.earlier:
        console.note(f"{units.count(len(log.earlier), 'sample')} in {options.output} before")
    if log.damaged:
        console.warn(f"{options.output}: {units.count(log.damaged, 'line')} could not be read and will be drawn again")
    return log


def _file_facts(model: StoredModel) -> str:
    if model.manifest is not None:
        return f"sha256:{model.manifest.sha256}"
    return f"{model.size} bytes of {model.modified:.0f}"


def _compared(settings: Settings) -> dict[str, Any]:
    every = asdict(settings)
    return {**{name: every[name] for name in _COMPARED}, "seed": settings.seed}


def _in_words(settings: Settings) -> str:
    parts = [f"temperature {settings.temp:g}", f"top-p {settings.top_p:g}", f"at most {settings.max_tokens:,} tokens"]
    budget = settings.thinking_params().budget
    if budget is not None:
        parts.append(f"{budget:,} of them for thinking")
    return ", ".join([*parts, f"seed {settings.seed}"])

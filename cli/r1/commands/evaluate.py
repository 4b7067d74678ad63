"""`r1 eval`: asks a model many problems, several times each, and says how many it gets right."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from r1.commands.models import Models, find_models
from r1.commands.run import load
from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.engine.request import Request
from r1.evaluate.conditions import Instructions, compared, facts, in_words
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.evaluation import Evaluation, SampleToDraw, samples_to_draw
from r1.evaluate.figures import Figures, by_problem, figures, published_for
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge
from r1.evaluate.problem_set import ProblemSet, Source
from r1.evaluate.problems import BadLine, Problem
from r1.evaluate.report import Layout, Subject, report_lines, report_object
from r1.evaluate.sample_log import Cache, SampleLog, SampleRecord
from r1.evaluate.standing import Standing
from r1.evaluate.symbolic import Verifier
from r1.interrupt import AnswerNow, Interrupt, Interrupted
from r1.library import open_store
from r1.loaded_model import LoadedModel
from r1.render.bars import can_show
from r1.render.lines_progress import LinesProgress
from r1.render.status_line import StatusLine
from r1.settings import Settings
from r1_quantize import units
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.store.model import StoredModel

DEFAULT_SEED = 0
"""Of an evaluation: two of the same problems ask with the same seeds."""

_NAMED_BAD_LINES = 5


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What to ask, `k` times each, what is added to each question, and what becomes of the samples."""

    source: Source
    instructions: Instructions = field(default_factory=Instructions)
    k: int = 1
    output: Path | None = None
    skip_bad: bool = False
    as_json: bool = False


def evaluate(console: Console, options: EvalOptions, settings: Settings) -> ExitStatus:
    """Draws the samples that `output` does not have yet, and prints the figures; a signal prints those so far.

    USAGE if lines were no problems, or too long to ask, unless they are to be skipped. Raises UsageError for unusable
    options, as `SampleLog.open`, `find_model` and `LoadedModel`, and NotEnoughSpace when the disk is full.
    """
    settings = replace(settings, seed=DEFAULT_SEED if settings.seed is None else settings.seed)
    with Interrupt() as interrupt, AnswerNow() as answer_now:
        try:
            with interrupt.raising():
                problems = ProblemSet.read(console, options.source)
                _name_bad_lines(console, problems.bad)
                models = find_models(console, settings)
                log = _open_log(console, options, settings, models.answering, problems)
            with log, closing(Equivalence(Verifier.if_installed(), interrupt)) as equivalence:
                run = _Run(console, options, settings, models, problems, log, equivalence)
                run.draw(interrupt, answer_now)
                run.report()
        except (LoadCancelled, Interrupted):
            return interrupt.status
        if interrupt():
            return interrupt.status
    return ExitStatus.USAGE if run.bad_lines and not options.skip_bad else ExitStatus.OK


@dataclass(slots=True)
class _Run:
    """One evaluation of a model. `too_long` are problems that could not be asked."""

    console: Console
    options: EvalOptions
    settings: Settings
    models: Models
    problems: ProblemSet
    log: SampleLog
    equivalence: Equivalence
    judge: Judge = field(init=False)
    records: list[SampleRecord] = field(default_factory=list)
    too_long: list[BadLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.judge = Judge(final_answer, self.equivalence.same, self.equivalence.begin)

    @property
    def bad_lines(self) -> list[BadLine]:
        """The lines of the file that say nothing about the model."""
        return sorted([*self.problems.bad, *self.too_long], key=lambda bad: bad.line)

    def draw(self, interrupt: Interrupt, answer_now: AnswerNow) -> None:
        """Draws the samples that are missing. Raises as `evaluate`."""
        chosen, k = self.problems.chosen, self.options.k
        self.records = self._judged_again()
        earlier = by_problem(chosen, self.records, k)
        here, total = sum(map(len, earlier.values())), k * len(chosen)
        if here == total:
            return
        self._say_what_is_unusual()
        samples = samples_to_draw(chosen, k, self.settings.seed or 0, [record.key for record in self.records])
        with load(self.console, self.settings, interrupt, self.models) as loaded:
            self._settle_context(loaded)
            listener = _Progress(self.console, Standing(k, earlier), chosen, here, total)
            evaluation = Evaluation(loaded, self._requests(loaded, answer_now), self.judge, self.log, listener)
            listener.lines.show()
            try:
                evaluation.run(samples, interrupt)
            finally:
                listener.lines.hide()
                self.records += evaluation.records
                self.too_long += evaluation.too_long.values()
        _name_bad_lines(self.console, self.too_long)

    def report(self) -> None:
        """Prints the figures over all samples but those of questions that are too long."""
        left_out = {bad.line for bad in self.too_long}
        asked = [problem for problem in self.problems.chosen if problem.line not in left_out]
        model = self.models.answering
        checkpoint = open_store(self.console.environ).catalogue.get(model.name) if model.quant else None
        published = published_for(asked, checkpoint)
        with _comparing(self.console, len(asked), "problem") as compared:
            found = figures(asked, self.records, self.options.k, self.judge, published=published, compared=compared)
        self._print(found, self._subject(asked))

    def _judged_again(self) -> list[SampleRecord]:
        """The earlier samples; those whose answers were compared as texts are judged again."""
        problems = {problem.line: problem for problem in self.problems.chosen}
        judged = []
        with _comparing(self.console, len(self.log.earlier), "sample") as compared:
            for number, record in enumerate(self.log.earlier):
                compared(number)
                known = record.line in problems
                judged.append(self.judge.judge_again(problems[record.line], record) if known else record)
        return judged

    def _say_what_is_unusual(self) -> None:
        if self.options.k > 1 and self.settings.temp == 0:
            self.console.note("at temperature 0 all samples of a problem are the same; raise --temp, or leave -k out")
        if self.log.damaged:
            damaged = units.count(self.log.damaged, "line")
            self.console.warn(f"{self.options.output}: {damaged} could not be read; what is missing is drawn again")

    def _settle_context(self, loaded: LoadedModel) -> None:
        """Makes the context: as earlier samples had it, although there may be more or less memory now."""
        loaded.configure(loaded.settings)
        made, before = Cache(loaded.plan.context, loaded.plan.kv_type), self.log.cache
        if before is None:
            self.log.cache = made
        elif before != made:
            had = f"{before.tokens:,} tokens in {before.kv_type.upper()}"
            self.console.note(f"the context is made as for the samples before: {had}")
            loaded.configure(replace(loaded.settings, ctx=before.tokens, kv_type=before.kv_type))

    def _requests(self, loaded: LoadedModel, answer_now: AnswerNow) -> Callable[[SampleToDraw], Request]:
        def request(sample: SampleToDraw) -> Request:
            prompt = sample.problem.prompt(self.options.instructions.of(sample.problem))
            settings = replace(loaded.settings, seed=sample.seed)
            return loaded.request(prompt, settings=settings, answer_now=answer_now.from_now())

        return request

    def _subject(self, asked: Sequence[Problem]) -> Subject:
        return Subject(
            model=self.models.answering.reference,
            name=self.problems.name,
            problems=self.problems.usable,
            settings=in_words(self.settings, self.log.cache),
            instructions=self.options.instructions.counted(asked),
            bad_lines=self.bad_lines,
            cache=self.log.cache,
            has_math=Verifier.if_installed() is not None,
            has_compared_all=not self.equivalence.has_skipped,
        )

    def _print(self, found: Figures, subject: Subject) -> None:
        if self.options.as_json:
            self.console.json(report_object(subject, found, compared(self.settings)))
            return
        is_terminal = self.console.stdout_is_terminal
        columns = shutil.get_terminal_size().columns if is_terminal else None
        is_ascii = not can_show(getattr(self.console.stdout, "encoding", None))
        self.console.out("".join(f"{line}\n" for line in report_lines(subject, found, Layout(columns, is_ascii))))


class _Progress:
    """Passes on what happens: to the status line, and to what is known of the undecided problems."""

    def __init__(
        self, console: Console, standing: Standing, problems: Sequence[Problem], here: int, total: int
    ) -> None:
        """`here` are the samples of `total` that there are."""
        self._standing = standing
        self._problems = {problem.line: problem for problem in problems}
        self._here = here
        self._total = total
        self.lines = LinesProgress(console, total - here, done=self._done, more=lambda: standing.wording)

    def began(self, sample: SampleToDraw) -> None:
        self.lines.begin(1)
        self._standing.begin(sample.problem)

    def ended(self, record: SampleRecord) -> None:
        self.lines.finish(1)
        self._standing.end(self._problems[record.line], record)

    def left_out(self, sample: SampleToDraw) -> None:
        self.lines.skip(1)
        self._total -= 1
        self._standing.drop(sample.problem)

    def generated(self, tokens: int) -> None:
        self.lines.add_tokens(tokens)

    def _done(self, done: int) -> str:
        return f"{self._here + done:,} of {units.count(self._total, 'sample')}"


@contextmanager
def _comparing(console: Console, total: int, noun: str) -> Iterator[Callable[[int], None]]:
    """Shows a status line. Call the function that it yields with how many of `total` are done."""
    done = 0

    def compared(number: int) -> None:
        nonlocal done
        done = number

    status = StatusLine(console)
    status.begin(lambda: [f"comparing answers · {done:,} of {units.count(total, noun)}", "comparing answers"])
    try:
        yield compared
    finally:
        status.end()


def _name_bad_lines(console: Console, bad: Sequence[BadLine]) -> None:
    for line in bad[:_NAMED_BAD_LINES]:
        console.warn(line.reason)
    if len(bad) > _NAMED_BAD_LINES:
        console.warn(f"{units.count(len(bad) - _NAMED_BAD_LINES, 'other line')} cannot be used either")


def _open_log(
    console: Console, options: EvalOptions, settings: Settings, model: StoredModel, problems: ProblemSet
) -> SampleLog:
    """The file of samples, and lines about what it has. Raises as `SampleLog.open`."""
    if options.output is None:
        return SampleLog.none()
    if str(options.output) == "-":
        raise UsageError("--output - is no file to go on from; give it a name, and use --json for figures on stdout")
    log = SampleLog.open(options.output, facts(model, problems.digest, options.instructions, settings))
    if log.renewed:
        console.warn(f"{options.output}: {log.renewed}; starting over")
    elif log.earlier:
        here = sum(map(len, by_problem(problems.chosen, log.earlier, options.k).values()))
        total = options.k * len(problems.chosen)
        if here == total:
            console.note(f"{options.output} has all {total:,} samples already")
        else:
            console.note(f"{options.output} has {here:,} of the {total:,} samples already; going on from there")
    return log

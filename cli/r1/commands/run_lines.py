"""`r1 run --jsonl`: answers one prompt per line of stdin, several at once, with a JSON object each on stdout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from r1.commands.models import find_models
from r1.commands.run import load, status_of
from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.evaluate.vote import vote_options
from r1.interrupt import AnswerNow, Interrupt, Interrupted
from r1.jsonl import earlier_answers
from r1.jsonl.answering import Answering, Reporting
from r1.jsonl.asking import Asked, Asking
from r1.jsonl.earlier_answers import EarlierAnswers
from r1.jsonl.line_reader import LineReader
from r1.jsonl.results import Result, Results
from r1.loaded_model import LoadedModel
from r1.prompt_input import PromptLine, PromptOptions, read_lines
from r1.prompt_limit import limit_of
from r1.render.lines_progress import LinesProgress
from r1.render.outcome import FormCheck
from r1.render.plain import PlainView
from r1.render.reply_object import reply_object
from r1.render.reply_text import Reply
from r1.render.status_line import StatusLine
from r1.settings import Settings, require_some_text
from r1.streams import regular_file
from r1_quantize import units
from r1_quantize.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from r1.forms.form import Form


@dataclass(frozen=True, slots=True)
class LineOptions:
    """`unordered`: results are printed as they end. `resume`: lines with a complete answer in this file are skipped.

    `form` is that of the answers; a line may have another one.
    """

    unordered: bool = False
    resume: Path | None = None
    form: Form | None = None


def run_lines(console: Console, prompt: PromptOptions, options: LineOptions, settings: Settings) -> ExitStatus:
    """Answers the lines of stdin; a line that cannot be answered gets an object with its error.

    The status is that of the first error, else INCOMPLETE if an answer is, else OK. A signal ends the replies under
    way, and prints them. Raises as `find_model`, `LoadedModel`, `read_lines` and `earlier_answers.read`, and UsageError
    if stdin and stdout are the same file.
    """
    require_some_text(settings, has_form=options.form is not None)
    settings = _one_at_a_time_with_a_seed(settings)
    file = regular_file(console.stdin)
    _require_another_file(console, file)
    progress = LinesProgress(console, None if file is None else _bytes_left(console, file))
    results = Results(console, progress, in_order=not options.unordered)
    with Interrupt() as interrupt, AnswerNow() as answer_now:
        try:
            with interrupt.raising():
                models = find_models(console, settings)
                model = models.answering
                earlier = _read_earlier(console, options, settings)
                lines = read_lines(console, prompt, partial(limit_of, model.path, settings.ctx))
            with closing(LineReader(_without(earlier, lines, progress), interrupt)) as reader:
                if file is not None and earlier.found and not reader.has_line():
                    reader.raise_error()  # there is none: everything was answered before
                else:
                    with load(console, settings, interrupt, models) as loaded:
                        asking = Asking(loaded.settings, options.form, answer_now)
                        reporting = _reporting(console, loaded, interrupt, model.reference)
                        answering = Answering(loaded, reader, results, progress, asking, reporting)
                        answering.run(interrupt, waits=file is not None)
        except (LoadCancelled, Interrupted):
            return interrupt.status
        if options.resume is not None:
            _say_what_was_skipped(console, earlier, results.complete)
        return interrupt.status if interrupt() else results.sum_up()


def _one_at_a_time_with_a_seed(settings: Settings) -> Settings:
    """Several at once change the order in which attention adds up its cells, and so can change the text of a seed.

    A vote has the engine for itself, and its samples always come in the same order.
    """
    is_free = settings.seed is None or settings.parallel is not None or vote_options(settings) is not None
    return settings if is_free else replace(settings, parallel=1)


def _read_earlier(console: Console, options: LineOptions, settings: Settings) -> EarlierAnswers:
    if options.resume is None:
        return EarlierAnswers.none()
    wording = f"reading {options.resume}"
    status = StatusLine(console)
    status.begin(lambda: [wording])
    try:
        return earlier_answers.read(console, options.resume, "thinking" if settings.thinking == "only" else "answer")
    finally:
        status.end()


def _without(earlier: EarlierAnswers, lines: Iterator[PromptLine], progress: LinesProgress) -> Iterator[PromptLine]:
    """The lines that have no complete answer yet."""
    for line in lines:
        if earlier.has(line):
            progress.skip(line.size)
        else:
            yield line


def _reporting(console: Console, loaded: LoadedModel, interrupt: Interrupt, name: str) -> Reporting:
    def result(asked: Asked, reply: Reply, seed: int, load_s: float) -> Result:
        check = FormCheck.of(reply.answer, reply.finished.reason, asked.form)
        fields = reply_object(reply, name, seed, loaded.plan, load_s, valid=check.valid)
        return Result(fields, status_of(asked.settings, reply, check, interrupt))

    def view(asked: Asked) -> PlainView:
        budget = asked.settings.thinking_params().budget
        return PlainView(console, "stderr", show_answer=False, budget=budget)

    return Reporting(result, view if loaded.settings.thinking == "show" else None)


def _say_what_was_skipped(console: Console, earlier: EarlierAnswers, complete: int) -> None:
    were = "1 line was" if earlier.skipped == 1 else f"{earlier.skipped:,} lines were"
    console.note(f"{were} answered before; {complete:,} answered now")
    if earlier.changed:
        console.warn(
            f"{units.count(earlier.changed, 'skipped line')} had another prompt when answered; "
            "give a changed prompt another id to have it answered"
        )


def _require_another_file(console: Console, stdin: os.stat_result | None) -> None:
    """Raises UsageError if stdout is the file that the prompts come from: each result would be read as a prompt."""
    stdout = regular_file(console.stdout)
    if stdin is not None and stdout is not None and os.path.samestat(stdin, stdout):
        raise UsageError("stdin and stdout are the same file, but results are no prompts; write them to another file")


def _bytes_left(console: Console, file: os.stat_result) -> int:
    """The rest of `file`, which is stdin; another program may have read its beginning."""
    return max(file.st_size - (console.stdin.tell() if console.stdin else 0), 0)

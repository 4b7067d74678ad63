"""`r1 run`: answers one prompt, or one per line of stdin, on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from r1.console import Console
from r1.engine.events import Finished, Timings, Usage
from r1.engine.model import LoadCancelled
from r1.interrupt import Interrupt, Interrupted
from r1.library import find_model
from r1.loaded_model import Listener, LoadedModel
from r1.prompt_input import PromptLine, PromptOptions, read_lines, read_prompt, require_prompt
from r1.prompt_limit import LimitOf, limit_of
from r1.render.outcome import command_line_remedies, exit_status, why_incomplete
from r1.render.plain import LoadingLine, PlainView, Reply, TraceTo, follow
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, R1Error
from r1_quantize.store.model import StoredModel

OutputFormat = Literal["text", "json", "jsonl"]

_MIN_BYTES_PER_TOKEN = 3  # in all but unusual texts
_MAX_TEMPLATE_TOKENS = 64


def run(console: Console, options: PromptOptions, output: OutputFormat, settings: Settings) -> ExitStatus:
    """Answers the prompt; OK only if every answer is complete. Raises as `find_model` and `LoadedModel`."""
    name = settings.model
    with Interrupt() as interrupt:
        try:
            with interrupt.raising():
                if output != "jsonl":
                    require_prompt(console, options)
                model = find_model(console, name)
                name = model.reference
                limit = partial(limit_of, model.path, settings.ctx)
                prompt = None if output == "jsonl" else read_prompt(console, options, limit)
            with _load(console, settings, interrupt, model, prompt) as loaded:
                if console.stderr_is_terminal and settings.device == "auto":
                    _print_hints(console)
                runner = _Runner(console, settings, loaded, interrupt, name, output)
                return runner.answer_lines(options, limit) if prompt is None else runner.answer(prompt)
        except (LoadCancelled, Interrupted):
            if output == "json":
                console.json(_report_unanswered(name, settings.seed), one_line=True)
            return interrupt.status


def _load(
    console: Console, settings: Settings, interrupt: Interrupt, model: StoredModel, prompt: str | None
) -> LoadedModel:
    loading = LoadingLine(console, model.reference)
    listener = Listener(loading, lambda note: (console.warn if note.grave else console.note)(note.text))
    tokens = len(prompt.encode()) // _MIN_BYTES_PER_TOKEN + _MAX_TEMPLATE_TOKENS if prompt else 0
    try:
        return LoadedModel(model.path, settings, interrupt.stop, listener, name=model.reference, prompt_tokens=tokens)
    finally:
        loading.end()


def _print_hints(console: Console) -> None:
    from r1.hints import unused_gpus

    for hint in unused_gpus(console.environ):
        console.note(hint)


@dataclass(frozen=True, slots=True)
class _Runner:
    """Everything that stays the same from one prompt to the next. `name` is the model's."""

    console: Console
    settings: Settings
    loaded: LoadedModel
    interrupt: Interrupt
    name: str
    output: OutputFormat

    def answer(self, prompt: str) -> ExitStatus:
        """Answers one prompt, as text or as one JSON object."""
        reply, report = self._ask(prompt)
        if self.output == "json":
            self.console.json(report, one_line=True)
        status = self._status(reply)
        if status is ExitStatus.INCOMPLETE:
            self.console.warn(self._why_incomplete(reply))
        return status

    def answer_lines(self, options: PromptOptions, limit: LimitOf) -> ExitStatus:
        """Prints one JSON object per line of stdin, in order, as soon as it is ready; for a bad line, an error object.

        A signal ends it after the current line's object.
        """
        statuses: list[ExitStatus] = []
        for line in self._lines(options, limit):
            result, status = self._answer_line(line)
            self.console.json({**line.fields, **result}, one_line=True)
            if result.get("finish_reason") == "interrupted":
                return status
            statuses.append(status)
        return self._sum_up(statuses)

    def _lines(self, options: PromptOptions, limit: LimitOf) -> Iterator[PromptLine]:
        """The lines of stdin; a signal while waiting for one raises Interrupted."""
        lines = read_lines(self.console, options, limit)
        while True:
            with self.interrupt.raising():
                line = next(lines, None)
            if line is None:
                return
            yield line

    def _answer_line(self, line: PromptLine) -> tuple[dict[str, Any], ExitStatus]:
        if line.prompt is None:
            return {"error": line.error}, ExitStatus.USAGE
        try:
            reply, report = self._ask(line.prompt)
        except R1Error as exc:  # the prompt does not fit the context, or the context does not fit in memory
            return {"error": f"line {line.number}: {exc}"}, exc.exit_status
        return report, self._status(reply)

    def _sum_up(self, statuses: list[ExitStatus]) -> ExitStatus:
        """Warns about lines that failed and answers that were cut off; the first failure determines the status."""
        cut = statuses.count(ExitStatus.INCOMPLETE)
        errors = [status for status in statuses if status not in {ExitStatus.OK, ExitStatus.INCOMPLETE}]
        if errors:
            self.console.warn(f"{len(errors)} of {len(statuses)} lines failed; see `error` in their objects")
        if cut:
            self.console.warn(f"{cut} of {len(statuses)} answers are incomplete; see `finish_reason` in their objects")
        return errors[0] if errors else ExitStatus.INCOMPLETE if cut else ExitStatus.OK

    def _ask(self, prompt: str) -> tuple[Reply, dict[str, Any]]:
        """Prints the reply if the output is text; returns it and its JSON object."""
        only_thinking = self.settings.thinking == "only"
        pending = self.loaded.ask(prompt, stop_after_thinking=only_thinking)
        view = PlainView(self.console, self._trace_to(), show_answer=self.output == "text" and not only_thinking)
        reply = follow(pending.events, view)
        return reply, _report(reply, self.name, pending.seed, self._context(), pending.load_s)

    def _context(self) -> dict[str, Any]:
        """What else the text depends on: the same seed gives the same text only if these are the same, too."""
        plan = self.loaded.plan
        return {"tokens": plan.context, "kv_type": plan.kv_type, "gpu_layers": plan.gpu_layers}

    def _trace_to(self) -> TraceTo:
        default = "show" if self.output == "text" and self.console.stderr_is_terminal else "hide"
        thinking = self.settings.thinking or default
        if thinking == "only":
            return "stdout" if self.output == "text" else "nowhere"
        return "stderr" if thinking == "show" else "nowhere"

    def _status(self, reply: Reply) -> ExitStatus:
        printed = reply.thinking if self.settings.thinking == "only" else reply.answer
        return exit_status(reply.finished.reason, printed, self.interrupt.status)

    def _why_incomplete(self, reply: Reply) -> str:
        length = self.loaded.context_length
        return why_incomplete(
            reply.finished.reason,
            answered=bool(reply.answer),
            max_tokens=self.settings.max_tokens,
            context=length,
            remedies=command_line_remedies(can_grow=length < self.loaded.model.context_length),
        )


def _report(
    reply: Reply, model: str | None, seed: int | None, context: dict[str, Any] | None, load_s: float
) -> dict[str, Any]:
    """The JSON object of a reply."""
    timings = {"load_s": load_s, **asdict(reply.finished.timings)}
    return {
        "answer": reply.answer,
        "thinking": reply.thinking,
        "finish_reason": reply.finished.reason,
        "model": model,
        "seed": seed,
        "context": context,
        "usage": asdict(reply.finished.usage),
        "timings": {name: round(value, 4) for name, value in timings.items()},
    }


def _report_unanswered(model: str | None, seed: int | None) -> dict[str, Any]:
    """The JSON object of a reply that was interrupted before the model was loaded."""
    finished = Finished("interrupted", Usage(0, 0, 0), Timings(0.0, 0.0, 0.0, 0.0))
    return _report(Reply(finished, thinking="", answer=""), model, seed, context=None, load_s=0.0)

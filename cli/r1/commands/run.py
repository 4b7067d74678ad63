"""`r1 run`: one prompt, or one a line, answered on stdout.

Knows: what of a turn goes to which stream, and the exit code that follows. Does not know: how a turn is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.interrupt import Interrupt
from r1.library import find_model
from r1.loaded_model import Listener, LoadedModel
from r1.render.plain import LoadingLine, PlainView, Reply, TraceTo, follow
from r1.request import Asked, Line, read_lines, read_prompt, require_something
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, R1Error

Form = Literal["text", "json", "jsonl"]

_BYTES_A_TOKEN = 3  # or more, in all but unusual texts
_TEMPLATE = 64  # tokens, and some to spare


def run(console: Console, asked: Asked, form: Form, settings: Settings) -> ExitStatus:
    """Answers what was asked; the status says whether every answer is whole."""
    if settings.system is not None:
        console.warn("R1 was not trained with a system prompt; instructions belong in the prompt itself")
    if form != "jsonl":
        require_something(console, asked)
    model = find_model(console, settings.model)
    prompt = None if form == "jsonl" else read_prompt(console, asked)
    with Interrupt() as interrupted:
        loading = LoadingLine(console, model.reference)
        listener = Listener(loading, lambda note: (console.warn if note.grave else console.note)(note.text))
        size = len(prompt.encode()) // _BYTES_A_TOKEN + _TEMPLATE if prompt else 0
        try:
            try:
                session = LoadedModel(
                    model.path, settings, interrupted.stop, listener, name=model.reference, prompt=size
                )
            finally:
                loading.end()
            with session:
                if console.stderr_is_terminal and settings.device == "auto":
                    _hint(console)
                runner = _Runner(console, settings, session, interrupted, model.reference, form)
                return runner.answer(prompt) if prompt is not None else runner.answer_lines(asked)
        except LoadCancelled:
            return ExitStatus.INTERRUPTED


def _hint(console: Console) -> None:
    from r1.hints import unused_gpus

    for hint in unused_gpus(console.environ):
        console.note(hint)


@dataclass(slots=True)
class _Runner:
    """Everything that stays the same from one prompt to the next."""

    console: Console
    settings: Settings
    session: LoadedModel
    interrupt: Interrupt
    model: str
    form: Form

    def answer(self, prompt: str) -> ExitStatus:
        """One prompt, as text or as one JSON object."""
        reply, report = self._ask(prompt)
        if self.form == "json":
            self.console.out(_json_line(report))
        status = self._status(reply)
        if status is ExitStatus.INCOMPLETE:
            self.console.warn(self._what_is_missing(reply))
        return status

    def answer_lines(self, asked: Asked) -> ExitStatus:
        """One JSON object a line, in order, each flushed as it ends; a bad line becomes an error object."""
        statuses: list[ExitStatus] = []
        for line in self._lines(asked):
            result, status = self._answer_line(line)
            self.console.out(_json_line({**line.fields, **result}))
            if status is ExitStatus.INTERRUPTED:
                return status
            statuses.append(status)
        return self._sum_up(statuses)

    def _lines(self, asked: Asked) -> Iterator[Line]:
        """The lines of stdin; Ctrl-C ends the wait for one."""
        lines = read_lines(self.console, asked)
        while True:
            with self.interrupt.raising():
                line = next(lines, None)
            if line is None:
                return
            yield line

    def _answer_line(self, line: Line) -> tuple[dict[str, Any], ExitStatus]:
        if line.prompt is None:
            return {"error": line.error}, ExitStatus.USAGE
        try:
            reply, report = self._ask(line.prompt)
        except R1Error as exc:  # a prompt that does not fit the context, a context that does not fit the memory
            return {"error": f"line {line.number}: {exc}"}, exc.exit_status
        return report, self._status(reply)

    def _sum_up(self, statuses: list[ExitStatus]) -> ExitStatus:
        """What went wrong, in a line each, and the status it comes to: an error before an answer that was cut."""
        cut = statuses.count(ExitStatus.INCOMPLETE)
        errors = [status for status in statuses if status not in {ExitStatus.OK, ExitStatus.INCOMPLETE}]
        if errors:
            self.console.warn(f"{len(errors)} of {len(statuses)} lines were not answered; their objects have an error")
        if cut:
            self.console.warn(f"{cut} of {len(statuses)} answers are not whole; finish_reason says which")
        return errors[0] if errors else ExitStatus.INCOMPLETE if cut else ExitStatus.OK

    def _ask(self, prompt: str) -> tuple[Reply, dict[str, Any]]:
        only_thinking = self.settings.thinking == "only"
        turn = self.session.ask(prompt, stop_after_thinking=only_thinking)
        view = PlainView(self.console, self._trace_to(), show_answer=self.form == "text" and not only_thinking)
        reply = follow(turn.events, view)
        report = {
            "answer": reply.answer,
            "thinking": reply.thinking,
            "finish_reason": reply.finished.reason,
            "model": self.model,
            "seed": turn.seed,
            "context": self._context(),
            "usage": asdict(reply.finished.usage),
            "timings": _rounded({"load_s": turn.load_s, **asdict(reply.finished.timings)}),
        }
        return reply, report

    def _context(self) -> dict[str, Any]:
        """What else the text follows from: the same seed gives the same text where these are the same."""
        plan = self.session.plan
        return {"tokens": plan.context, "kv_type": plan.kv_type, "gpu_layers": plan.gpu_layers}

    def _trace_to(self) -> TraceTo:
        for_people = self.form == "text" and self.console.stderr_is_terminal
        wish = self.settings.thinking or ("show" if for_people else "hide")
        if wish == "only":
            return "stdout" if self.form == "text" else "nowhere"
        return "stderr" if wish == "show" else "nowhere"

    def _status(self, reply: Reply) -> ExitStatus:
        if reply.finished.reason == "interrupted":
            return ExitStatus.INTERRUPTED
        said = reply.thinking if self.settings.thinking == "only" else reply.answer
        return ExitStatus.OK if reply.finished.reason == "stop" and said else ExitStatus.INCOMPLETE

    def _what_is_missing(self, reply: Reply) -> str:
        if reply.finished.reason == "stop":
            return "the model ended its turn without an answer; ask again, or with another --seed"
        what = "the answer is not whole" if reply.answer else "no answer yet, it was still thinking"
        if reply.finished.reason == "length":
            return f"{what}: the limit of {self.settings.max_tokens} tokens was reached (--max-tokens)"
        length, trained = self.session.context_length, self.session.model.context_length
        remedy = "--ctx" if length < trained else "this model was trained for no more"
        return f"{what}: the context of {length} tokens is full ({remedy})"


def _json_line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(timings: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in timings.items()}

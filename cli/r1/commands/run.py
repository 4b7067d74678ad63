"""`r1 run`: answers one prompt on stdout."""

from __future__ import annotations

from functools import partial

from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.fit.fitted_model import Listener, Workload
from r1.interrupt import Interrupt, Interrupted
from r1.library import find_model
from r1.loaded_model import LoadedModel
from r1.prompt_input import PromptOptions, read_prompt, require_prompt
from r1.prompt_limit import limit_of
from r1.render.outcome import command_line_remedies, exit_status, why_incomplete
from r1.render.plain import LoadingLine, PlainView, Reply, TraceTo, follow
from r1.render.reply_object import reply_object, unanswered_object
from r1.settings import Settings
from r1_quantize.errors import ExitStatus
from r1_quantize.store.model import StoredModel

_MIN_BYTES_PER_TOKEN = 3  # in all but unusual texts
_MAX_TEMPLATE_TOKENS = 64


def run(console: Console, options: PromptOptions, settings: Settings, *, as_json: bool = False) -> ExitStatus:
    """Answers the prompt; OK only if the answer is complete. Raises as `find_model` and `LoadedModel`."""
    name = settings.model
    with Interrupt() as interrupt:
        try:
            with interrupt.raising():
                require_prompt(console, options)
                model = find_model(console, name)
                name = model.reference
                prompt = read_prompt(console, options, partial(limit_of, model.path, settings.ctx))
            with load(console, settings, interrupt, model, prompt) as loaded:
                return _answer(console, loaded, interrupt, prompt, name if as_json else None)
        except (LoadCancelled, Interrupted):
            if as_json:
                console.json(unanswered_object(name, settings.seed), one_line=True)
            return interrupt.status


def load(
    console: Console, settings: Settings, interrupt: Interrupt, model: StoredModel, prompt: str | None = None
) -> LoadedModel:
    """Loads the model, and says so in a status line. `prompt` is the only one; None if many will follow.

    Raises as `LoadedModel`.
    """
    loading = LoadingLine(console, model.reference)
    listener = Listener(loading, lambda note: (console.warn if note.grave else console.note)(note.text))
    tokens = len(prompt.encode()) // _MIN_BYTES_PER_TOKEN + _MAX_TEMPLATE_TOKENS if prompt else 0
    try:
        workload = Workload(tokens, is_parallel=prompt is None)
        loaded = LoadedModel(model.path, settings, interrupt.stop, listener, name=model.reference, workload=workload)
    finally:
        loading.end()
    if console.stderr_is_terminal and settings.device == "auto":
        _print_hints(console)
    return loaded


def status_of(settings: Settings, reply: Reply, interrupt: Interrupt) -> ExitStatus:
    """The exit status of one reply: OK if it is complete and has what was to be printed."""
    printed = reply.thinking if settings.thinking == "only" else reply.answer
    return exit_status(reply.finished.reason, printed, interrupt.status)


def _print_hints(console: Console) -> None:
    from r1.hints import unused_gpus

    for hint in unused_gpus(console.environ):
        console.note(hint)


def _answer(
    console: Console, loaded: LoadedModel, interrupt: Interrupt, prompt: str, json_for: str | None
) -> ExitStatus:
    """Answers as text, or as one JSON object that names the model `json_for`."""
    settings = loaded.settings
    only_thinking = settings.thinking == "only"
    pending = loaded.ask(prompt, stop_after_thinking=only_thinking)
    trace_to = _trace_to(console, settings, as_json=json_for is not None)
    reply = follow(pending.events, PlainView(console, trace_to, show_answer=json_for is None and not only_thinking))
    if json_for is not None:
        console.json(reply_object(reply, json_for, pending.seed, loaded.plan, pending.load_s), one_line=True)
    status = status_of(settings, reply, interrupt)
    if status is ExitStatus.INCOMPLETE:
        console.warn(_why_incomplete(loaded, reply))
    return status


def _trace_to(console: Console, settings: Settings, *, as_json: bool) -> TraceTo:
    thinking = settings.thinking or ("hide" if as_json or not console.stderr_is_terminal else "show")
    if thinking == "only":
        return "nowhere" if as_json else "stdout"
    return "stderr" if thinking == "show" else "nowhere"


def _why_incomplete(loaded: LoadedModel, reply: Reply) -> str:
    length = loaded.context_length
    return why_incomplete(
        reply.finished.reason,
        answered=bool(reply.answer),
        max_tokens=loaded.settings.max_tokens,
        context=length,
        remedies=command_line_remedies(can_grow=length < loaded.model.context_length),
    )

"""`r1 run`: answers one prompt on stdout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from r1.commands.models import Models, find_models
from r1.console import Console
from r1.engine.model import LoadCancelled
from r1.engine.request import Request
from r1.engine.sequence import Segments
from r1.fit.fitted_model import Listener, Workload
from r1.interrupt import AnswerNow, Interrupt, Interrupted
from r1.loaded_model import LoadedModel
from r1.prompt_input import PromptOptions, read_prompt, require_prompt
from r1.prompt_limit import limit_of
from r1.render.outcome import (
    FormCheck,
    Limits,
    command_line_remedies,
    exit_status,
    how_thinking_ended,
    why_incomplete,
)
from r1.render.plain import LoadingLine, PlainView, TraceTo, follow
from r1.render.reply_object import reply_object, unanswered_object
from r1.render.reply_text import Reply
from r1.render.status_line import StatusLine
from r1.settings import Settings, require_some_text
from r1_quantize.errors import ExitStatus

if TYPE_CHECKING:
    from r1.evaluate.vote import VoteOptions
    from r1.forms.form import Form
    from r1.kv_store.kv_folder import KvFolder

_MIN_BYTES_PER_TOKEN = 3  # in all but unusual texts
_MAX_TEMPLATE_TOKENS = 64
_MIN_KEPT_TOKENS = 500  # a shorter prompt is not looked for among the KV caches on disk


def run(
    console: Console, options: PromptOptions, settings: Settings, *, form: Form | None = None, as_json: bool = False
) -> ExitStatus:
    """Answers the prompt, in the `form` if one is asked for; OK only if the answer is complete.

    Raises as `require_some_text`, `find_model` and `LoadedModel`, and UsageError for votes that cannot be held.
    """
    name = settings.model
    require_some_text(settings, has_form=form is not None)
    votes = _votes(settings)
    if not options.files:  # a question, or what comes through a pipe, leaves nothing on the disk
        settings = replace(settings, cache_size=0)
    with Interrupt() as interrupt, AnswerNow() as answer_now:
        times_hurried = answer_now.times_from_now()
        try:
            with interrupt.raising():
                require_prompt(console, options)
                models = find_models(console, settings)
                name = models.answering.reference
                prompt = read_prompt(console, options, partial(limit_of, models.answering.path, settings.ctx))
            with load(console, settings, interrupt, models, prompt, samples=votes.count if votes else 1) as loaded:
                asked = _Asked(prompt, form, times_hurried, name if as_json else None, votes)
                return _answer(console, loaded, interrupt, asked)
        except (LoadCancelled, Interrupted):
            if as_json:
                console.json(unanswered_object(name, settings.seed), one_line=True)
            return interrupt.status


def _votes(settings: Settings) -> VoteOptions | None:
    if not settings.votes:
        return None
    from r1.evaluate.vote import vote_options  # here, because most prompts have one reply

    return vote_options(settings)


def load(
    console: Console,
    settings: Settings,
    interrupt: Interrupt,
    models: Models,
    prompt: str | None = None,
    *,
    samples: int = 1,
) -> LoadedModel:
    """Loads the models, and says so in a status line. `prompt` is the only one, with at most so many `samples`, which
    share it; None if many will follow. What is kept of a long one need not be prefilled. Raises as `LoadedModel`.
    """
    model, draft = models
    loading = LoadingLine(console, model.reference)
    listener = Listener(loading, lambda note: (console.warn if note.grave else console.note)(note.text))
    tokens = len(prompt.encode()) // _MIN_BYTES_PER_TOKEN + _MAX_TEMPLATE_TOKENS if prompt else 0
    try:
        most = None if prompt is None else samples
        workload = Workload(tokens, is_parallel=most != 1, most=most, shares_prompt=prompt is not None)
        loaded = LoadedModel(
            model.path,
            settings,
            interrupt.stop,
            listener,
            name=model.reference,
            workload=workload,
            kv_folder=_kv_folder(console, settings) if tokens >= _MIN_KEPT_TOKENS else None,
            draft=draft,
        )
    finally:
        loading.end()
    if console.stderr_is_terminal and settings.device == "auto":
        _print_hints(console)
    return loaded


def _kv_folder(console: Console, settings: Settings) -> KvFolder | None:
    from r1.kv_store.kv_folder import folder_in  # here, because most prompts are short

    return folder_in(console.environ, settings.cache_size)


def status_of(settings: Settings, reply: Reply, check: FormCheck, interrupt: Interrupt) -> ExitStatus:
    """The exit status of one reply: OK if it is complete and has what was to be printed."""
    return exit_status(reply.finished.reason, _printed(settings, reply), interrupt.status, valid=check.valid)


def _printed(settings: Settings, reply: Reply) -> str:
    return reply.thinking if settings.thinking == "only" else reply.answer


def _print_hints(console: Console) -> None:
    from r1.hints import unused_gpus

    for hint in unused_gpus(console.environ):
        console.note(hint)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of the model. `times_hurried` counts how often the user wanted the answer at once since then.

    `json_for`: the name of the model in the JSON object that is printed; None: text. `votes`: several samples vote on
    the answer.
    """

    prompt: str
    form: Form | None
    times_hurried: Callable[[], int]
    json_for: str | None
    votes: VoteOptions | None

    def answer_now(self) -> bool:
        """Whether the only reply is to end its thinking."""
        return self.times_hurried() > 0


@dataclass(frozen=True, slots=True)
class _Generated:
    """A reply, its seed, and the seconds it took to get ready. `fields` are further keys of the JSON object.

    `prompt` is what was prefilled for it.

    `problem`: why no answer won a vote. `remarks` are for people, `warnings` for scripts, too.
    """

    reply: Reply
    seed: int
    load_s: float
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prompt: Segments = ()


def _answer(console: Console, loaded: LoadedModel, interrupt: Interrupt, asked: _Asked) -> ExitStatus:
    """Answers as text, or as one JSON object."""
    settings = loaded.settings
    generate = _generate if asked.votes is None else _generate_by_vote
    generated = generate(console, loaded, interrupt, asked)
    reply = generated.reply
    check = FormCheck.of(reply.answer, reply.finished.reason, asked.form)
    if asked.json_for is not None:
        report = reply_object(reply, asked.json_for, generated.seed, loaded.plan, generated.load_s, valid=check.valid)
        console.json({**report, **generated.fields}, one_line=True)
    for remark in generated.remarks:
        console.note(remark)
    limits = _limits(loaded)
    line = how_thinking_ended(reply.finished, limits) if _printed(settings, reply) else None
    for warning in filter(None, [*generated.warnings, line]):  # also for a script: the answer may be worse for it
        if not console.quiet:
            console.warn(warning)
    status = status_of(settings, reply, check, interrupt)
    why = None
    if status is ExitStatus.INCOMPLETE and not (generated.problem and reply.finished.reason == "stop"):
        why = check.problem or _why_incomplete(reply, limits, only_thinking=settings.thinking == "only")
    if problem := " · ".join(filter(None, [generated.problem, why])):
        console.warn(problem)
    if reply.finished.reason != "interrupted":
        trouble = loaded.keep(generated.prompt, prefill_tps=reply.finished.timings.prefill_tps)
        if trouble:
            console.note(f"the KV cache was not kept on disk: {trouble}")
    return ExitStatus.INCOMPLETE if status is ExitStatus.OK and generated.problem else status


def _generate(console: Console, loaded: LoadedModel, _: Interrupt, asked: _Asked) -> _Generated:
    """One reply, shown as it comes."""
    settings, as_json = loaded.settings, asked.json_for is not None
    only_thinking = settings.thinking == "only"
    pending = loaded.ask(asked.prompt, form=asked.form, answer_now=asked.answer_now, stop_after_thinking=only_thinking)
    view = PlainView(
        console,
        _trace_to(console, settings, as_json=as_json),
        show_answer=not (as_json or only_thinking),
        budget=settings.thinking_params().budget,
    )
    return _Generated(follow(pending.events, view), pending.seed, pending.load_s, prompt=pending.prompt)


def _generate_by_vote(console: Console, loaded: LoadedModel, interrupt: Interrupt, asked: _Asked) -> _Generated:
    """The reply that a vote came to. Its thinking is shown only where that was asked for."""
    from r1.evaluate.polling import Polling
    from r1.evaluate.vote_report import tally_wordings

    prompt: Segments = ()

    def request(seed: int, answer_now: Callable[[], bool]) -> Request:
        nonlocal prompt
        settings = replace(loaded.settings, seed=seed)
        made = loaded.request(asked.prompt, settings=settings, form=asked.form, answer_now=answer_now)
        prompt = made.prompt  # all samples have the same
        return made

    assert asked.votes is not None
    status = StatusLine(console)
    with Polling(loaded, interrupt) as polling:
        voting = polling.voting(asked.votes, loaded.settings.seed, asked.form, request, asked.times_hurried)
        status.begin(lambda: tally_wordings(voting))
        try:
            voting.run(interrupt)
        finally:
            status.end()
        voted = polling.voted(voting)
    if loaded.settings.thinking == "show" and voted.reply.thinking:
        console.err(f"{voted.reply.thinking}\n", dim=True)
    if asked.json_for is None and voted.reply.answer:
        console.out(f"{voted.reply.answer}\n")
    outcome = (voted.fields, voted.problem, voted.remarks, voted.warnings)
    return _Generated(voted.reply, voted.seed, voted.load_s, *outcome, prompt)


def _trace_to(console: Console, settings: Settings, *, as_json: bool) -> TraceTo:
    thinking = settings.thinking or ("hide" if as_json or not console.stderr_is_terminal else "show")
    if thinking == "only":
        return "nowhere" if as_json else "stdout"
    return "stderr" if thinking == "show" else "nowhere"


def _why_incomplete(reply: Reply, limits: Limits, *, only_thinking: bool) -> str:
    thought = reply.finished.thinking_end is not None
    answered = bool(reply.answer)
    return why_incomplete(
        reply.finished.reason, limits, answered=answered, thought=thought, only_thinking=only_thinking
    )


def _limits(loaded: LoadedModel) -> Limits:
    settings, context = loaded.settings, loaded.context_length
    remedies = command_line_remedies(can_grow=context < loaded.model.context_length)
    return Limits(settings.thinking_params().budget, settings.max_tokens, context, remedies, settings.reserve)

"""`r1 serve`: answers over HTTP, for the tools that a person already uses."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from r1.commands.models import find_draft
from r1.console import Console
from r1.engine.llama import Stop
from r1.engine.prompt import Turn
from r1.fit.fitted_model import Listener, Workload
from r1.fit.planner import DraftFile
from r1.kv_store.kv_folder import KvFolder, folder_in
from r1.library import find_model, open_store, require_runnable
from r1.loaded_model import LoadedModel
from r1.serve.engine_thread import EngineThread
from r1.serve.errors import ApiError
from r1.serve.model_host import ModelHost
from r1.serve.served_models import ServedModels
from r1.serve.service import Service
from r1.serve.web.access import access_of
from r1.serve.web.app import application
from r1.serve.web.journal import Journal, JournalOptions
from r1.serve.web.metrics import Metrics
from r1.serve.web.server import Ending, address_of, bind, serve
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, UsageError


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of the command line. `pinned` is the only model to serve; None: all. `keep_alive_s` None: a model
    stays loaded until another one is asked for.
    """

    pinned: str | None = None
    host: str = "127.0.0.1"
    port: int = 8017
    queue: int = 64
    keep_alive_s: float | None = 300.0
    grace_s: float = 30.0
    api_key: str | None = None
    api_key_file: Path | None = None
    no_auth: bool = False
    allow_origins: tuple[str, ...] = ()
    log_prompts: bool = False
    keeps_cache: bool = False
    as_json: bool = False


_TIME = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)?")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(text: str, name: str) -> float | None:
    """The seconds of a time such as `90s`, `5m` or `1h`; a bare number is seconds, and `off` None. Raises UsageError,
    which begins with `name`.
    """
    if text.strip().lower() in {"off", "never", "-1"}:
        return None
    match = _TIME.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"{name}: {text!r:.60} is no time; it is a number of seconds, or such as 5m, 1h or off")
    return int(match[1]) * _UNITS_S[match[2] or "s"]


def serve_models(console: Console, options: ServeOptions, settings: Settings) -> ExitStatus:
    """Serves until a signal comes. Raises UsageError for an address that cannot be used, as `access_of` and as
    `find_model`.
    """
    access = access_of(options, console.environ)
    if access.warning is not None:
        console.warn(access.warning)
    pinned = None if options.pinned is None else find_model(console, options.pinned)
    draft = find_draft(console, settings, is_required=pinned is not None)
    models = ServedModels(console.environ, settings.model, pinned)
    stop = Stop()
    bound = bind(options.host, options.port)
    kv_folder = folder_in(console.environ, settings.cache_size) if options.keeps_cache else None
    load = partial(_load, console, models, settings, stop, kv_folder=kv_folder, draft=draft)
    host = ModelHost(load, None if pinned else options.keep_alive_s, console.warn)
    engine = EngineThread(host, stop, settings.parallel or 1)
    service = Service(engine, models, settings, options.queue)

    def end() -> None:
        service.is_ending = True
        engine.refuse_waiting(ApiError(503, "the server is ending", retry_after_s=5))

    name = None if pinned is None else models.full_name(None)
    journal = Journal(console, JournalOptions(options.as_json, options.log_prompts), Metrics())
    engine.start()
    try:
        if name is not None:
            with engine.lease(name):  # fails now, not at the first request
                pass
            engine.warm(name, [Turn("", "", "")])  # makes the KV cache, and reads every weight once
        journal.listening(address_of(bound), name, needs_key=bool(access.keys))
        ending = Ending(options.grace_s, end, stop.set, lambda: journal.ending(service.active, options.grace_s))
        number = serve(application(service, journal, access), bound, ending)
    finally:
        engine.close()
        bound.close()
    return ExitStatus(128 + number)


def _load(  # noqa: PLR0913
    console: Console,
    models: ServedModels,
    settings: Settings,
    stop: Stop,
    name: str,
    *,
    kv_folder: KvFolder | None,
    draft: DraftFile | None,
) -> LoadedModel:
    model = models.get(name)
    workload = Workload(is_parallel=True)
    listener = Listener(note=lambda note: (console.warn if note.grave else console.note)(note.text))
    with model.named_in_errors():
        require_runnable(open_store(console.environ), model.stored)
        loaded = LoadedModel(
            model.stored.path,
            settings,
            stop,
            listener,
            name=name,
            workload=workload,
            kv_folder=kv_folder,
            draft=draft,
        )
    if loaded.sequences == 1:  # planned once: a context that grows with a conversation would lose its cache each time
        loaded.configure(replace(settings, ctx=loaded.plan.context))
    return loaded

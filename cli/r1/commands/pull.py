"""`r1 pull`: a model from the hub → a GGUF in the store."""

from __future__ import annotations

from dataclasses import replace

from r1.commands.download import Download
from r1.commands.update import Update
from r1.console import Console
from r1.conversion import QuantizeOptions, Result, convert, print_result
from r1.library import LocalSource, open_store
from r1.render.progress_line import Report
from r1_quantize.builtin import refuse_foreign
from r1_quantize.catalog import as_quant, check_name
from r1_quantize.errors import ExitStatus, UsageError
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import Request, request_for, request_from_manifest
from r1_quantize.recipe import recipe_for
from r1_quantize.store.store import Store


def run(
    console: Console,
    reference: str | None,
    options: PullOptions,
    report: Report,
    *,
    prebuilt: bool,
    force: bool = False,
) -> ExitStatus:
    """Downloads a model unless it is here already, or prints the plan only. Raises as `r1_quantize.hub.pull`."""
    store = open_store(console.environ)
    if reference is None:
        _check_without_model(options)
        return Update(console, store, report).all(options)
    request = _request(store, reference, options.name, prebuilt=prebuilt)
    _check(request, options)
    if request.checkpoint and request.checkpoint.folder is not None:
        _make_builtin(console, store, request, options, report)
        return ExitStatus.OK
    download = Download(console, store, request, report, force=force)
    if options.update:
        Update(console, store, report).one(download, options)
    else:
        download.run(options)
    return ExitStatus.OK


def _check_without_model(options: PullOptions) -> None:
    """Raises UsageError for options that are for one model."""
    if not options.update:
        raise UsageError("no MODEL given; `r1 list` shows the models to pull")
    for_one = [*(["--name"] if options.name is not None else []), *options.for_quantizing]
    if for_one:
        raise UsageError(f"{for_one[0]} is for one model; name the MODEL to pull, too")


def _check(request: Request, options: PullOptions) -> None:
    """Raises UsageError for options that do not apply to this model."""
    given = " and ".join(options.for_quantizing)
    if request.prebuilt and given:
        raise UsageError(f"--prebuilt gets a GGUF that is downloaded unchanged; leave --prebuilt or {given} out")
    if request.file and given:
        raise UsageError(f"{request.file} is downloaded unchanged; leave {given} out")
    if not (request.checkpoint and request.checkpoint.folder is not None):
        return
    if request.prebuilt:
        raise UsageError(f"{request.name} is built in, so there is no GGUF to download; leave --prebuilt out")
    if given:
        raise UsageError(f"{request.name} is built in and always made in the same way; leave {given} out")


def _request(store: Store, reference: str, name: str | None, *, prebuilt: bool) -> Request:
    if name is None and not prebuilt and (request := _request_of_stored(store, reference)):
        return request
    catalogued, _, quant = reference.partition(":")
    checkpoint = store.catalogue.get(catalogued)
    if checkpoint and checkpoint.folder is not None:
        own_name = check_name(name or catalogued, store.catalogue, checkpoint, reference)
        quant = recipe_for(quant or checkpoint.default_quant).name
        return Request(own_name, quant, "", checkpoint, prebuilt=prebuilt)
    return request_for(reference, store.catalogue, prebuilt=prebuilt, name=name)


def _request_of_stored(store: Store, reference: str) -> Request | None:
    """The request for a model that is here under a name of its own, in any type; None for any other reference.

    Raises UsageError for a model that did not come from the hub.
    """
    name, _, quant = reference.partition(":")
    if name in store.catalogue:
        return None
    wanted, models = as_quant(quant), (model for model in store.models() if model.name == name)
    model = max(models, key=lambda model: (model.quant == wanted, model.modified), default=None)
    if model is None:
        return None
    manifest = model.manifest
    request = request_from_manifest(name, model.quant or "", manifest, store.catalogue) if manifest else None
    if request is None:
        raise UsageError(f"{model.reference} is here, but did not come from the hub, so it cannot be pulled")
    return request if wanted in {"", model.quant} else replace(request, quant=wanted, file=None)


def _make_builtin(console: Console, store: Store, request: Request, options: PullOptions, report: Report) -> None:
    """Quantizes the built-in checkpoint, which needs no hub, and says so."""
    checkpoint, model = request.checkpoint, store.stored(request.name, request.quant)
    assert checkpoint is not None
    assert checkpoint.folder is not None
    path = store.path(request.name, request.quant)
    if request.name == checkpoint.name:
        refuse_foreign(store, checkpoint, request.quant)
    if options.dry_run:
        _print_builtin_plan(console, request, str(path), report, is_here=bool(model and model.is_complete))
        return
    if report == "lines":
        console.note(f"{request.reference} is built in, so nothing is downloaded; its file is {path}")
    if model and model.is_complete:
        result = Result(model.reference, model.path, model.size, event="present", missing_tokens=model.missing_tokens)
        print_result(console, report, result)
    else:
        source = LocalSource(checkpoint.folder, request.name, checkpoint)
        convert(
            console,
            store,
            source,
            request.quant,
            report,
            options=QuantizeOptions(threads=options.threads, force=True),
        )


def _print_builtin_plan(console: Console, request: Request, path: str, report: Report, *, is_here: bool) -> None:
    if report == "json":
        facts = {"reference": request.reference, "built_in": True, "bytes_to_fetch": 0, "path": path, "here": is_here}
        console.json({"event": "plan", **facts}, one_line=True)
        return
    state = path if is_here else f"{path}, not made yet"
    rows = {"from": "r1 itself: it is built in", "download": "nothing", "file": state}
    lines = [request.reference, *(f"  {label:<8} {text}" for label, text in rows.items())]
    console.out("\n".join(lines) + "\n")

"""The command line: every command with its options.

A command's module is imported when the command is called, so that `r1 --help` and shell completion stay fast.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from r1 import __version__, examples, options, shells
from r1.console import Console, keep_libraries_quiet
from r1.dispatch import PromptCommand, RootGroup, note_model_name, require_no_prompt
from r1.help import Command, Group
from r1_quantize.errors import UsageError

if TYPE_CHECKING:
    from r1.forms.form import Form
    from r1.render.progress_line import Report
    from r1.settings import Settings

app = typer.Typer(
    name="r1",
    cls=RootGroup,
    add_completion=False,  # `r1.shells` has better scripts
    subcommand_metavar="[COMMAND | PROMPT…]",
    help="DeepSeek-R1's distilled models on your own machine: offline, in a terminal. Without a command, "
    '`r1` opens the chat, and answers `r1 "PROMPT"` or a pipe as `r1 run` does. It takes the options of both: see '
    "`r1 chat --help` and `r1 run --help`.",
    epilog=examples.ROOT,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
history_app = typer.Typer(cls=Group, subcommand_metavar="[COMMAND]", no_args_is_help=False, rich_markup_mode=None)

Flags = Mapping[str, Any]
"""The options that several commands or settings share, by name; None or False: not given."""


def _version(context: typer.Context, requested: bool) -> None:
    if requested and not context.resilient_parsing:
        typer.echo(f"r1 {__version__}")
        raise typer.Exit


_SHELLS = "bash, zsh, fish or powershell"


def _show_completion(context: typer.Context, shell: str | None) -> None:
    if shell is not None and not context.resilient_parsing:
        typer.echo(shells.script(shell), nl=False)
        raise typer.Exit


def _install_completion(context: typer.Context, shell: str | None) -> None:
    if shell is not None and not context.resilient_parsing:
        typer.echo(f"completion installed in {shells.install(shell, os.environ)}; it works in a new shell")
        raise typer.Exit


def _one_model(argument: str | None, option: object) -> str | None:
    """The model named as an argument or with -m. Raises UsageError if the two differ."""
    named = option if isinstance(option, str) else None
    if argument is not None and named is not None and argument != named:
        raise UsageError(f"{argument} and -m {named} name different models; leave one of them out")
    return named if argument is None else argument


def _required_model(argument: str | None, option: str | None, missing: str) -> str:
    model = _one_model(argument, option)
    if model is None:
        raise UsageError(missing)
    return model


_NO_MODEL = "no MODEL given; `r1 list` shows the models on this machine"


def _settings(console: Console, flags: Flags) -> Settings:
    """The settings for a command that generates text; warns about a system prompt."""
    from r1 import settings

    loaded = settings.load(flags, console.environ)
    if loaded.system is not None:
        console.warn(settings.SYSTEM_PROMPT_WARNING)
    return loaded


def _report(*, as_json: bool, quiet: bool) -> Report:
    return "json" if as_json else "nothing" if quiet else "lines"


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    _install: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            metavar="[SHELL]",
            autocompletion=shells.names,
            callback=_install_completion,
            is_eager=True,
            help=f"Set up completion for {_SHELLS}. (default: the present shell)",
        ),
    ] = None,
    _show: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            metavar="[SHELL]",
            autocompletion=shells.names,
            callback=_show_completion,
            is_eager=True,
            help="Print the script that --install-completion installs.",
        ),
    ] = None,
) -> None:
    """The options of `r1` itself; `RootGroup` finds the command of a line without one."""


@app.command(cls=Command, epilog=examples.CHAT)
@options.with_settings(
    options.SAMPLING,
    options.VOTES,
    {"thinking": options.ThinkingInChat},
    options.THINKING,
    options.MODEL_AND_MACHINE,
    options.SPECULATION,
)
def chat(
    flags: Flags,
    name: options.ModelToRun = None,
    continue_: options.Continue = False,
    chat_id: options.ChatToContinue = None,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
) -> int:
    """Chat in the terminal, as `r1` alone does. Shows or hides the thinking, and keeps every chat in the history."""
    from r1.commands.chat import ChatOptions, chat

    require_no_prompt(name)
    model = _one_model(name, flags["model"])
    chat_options = ChatOptions(model_given=model is not None, resume_last=continue_, session=chat_id, plain=plain)
    keep_libraries_quiet()  # warnings of a GPU driver would appear in the middle of the screen
    console = Console.of_process(quiet=quiet)
    return chat(console, chat_options, _settings(console, {**flags, "model": model}))


@app.command(cls=PromptCommand, epilog=examples.RUN)
@options.with_settings(
    {"json": options.Json},
    options.SAMPLING,
    options.VOTES,
    {"thinking": options.Thinking},
    options.THINKING,
    options.FORM,
    options.MANY,
    options.MODEL_AND_MACHINE,
    options.SPECULATION,
)
def run(
    flags: Flags,
    prompt: options.Prompt = None,
    file: options.Files = None,
    no_stdin: options.NoStdin = False,
    quiet: options.Quiet = False,
) -> int:
    """Answer one prompt, from the command line or stdin. Prints the answer, and only the answer, on stdout."""
    from r1.prompt_input import PromptOptions

    _require_one_kind_of_output(flags)
    form = _form(flags)
    keep_libraries_quiet()
    console = Console.of_process(quiet=quiet)
    settings = _settings(console, flags)
    _require_votes(flags, settings)
    if flags["model"] is None:
        note_model_name(console, prompt or ())
    prompt_options = PromptOptions(words=tuple(prompt or ()), files=tuple(file or ()), use_stdin=not no_stdin)
    if flags["jsonl"]:
        from r1.commands.run_lines import LineOptions, run_lines

        lines = LineOptions(unordered=flags["unordered"], resume=flags["resume"], form=form)
        return run_lines(console, prompt_options, lines, settings)
    from r1.commands.run import run

    return run(console, prompt_options, settings, form=form, as_json=flags["json"])


def _require_votes(flags: Flags, settings: Settings) -> None:
    """Raises UsageError for options of a vote where there is none. With --jsonl, a line may have its own votes."""
    from r1.settings import without_votes

    lonely = without_votes([name for name, value in flags.items() if value is not None], settings)
    if lonely and not flags["jsonl"]:
        raise UsageError(f"--{lonely} needs --votes; add --votes K, or leave it out")


def _require_one_kind_of_output(flags: Flags) -> None:
    """Raises UsageError for options that are for many prompts where there is one, or the other way round."""
    if flags["json"] and flags["jsonl"]:
        raise UsageError("--json is for one prompt and --jsonl for many; leave one of them out")
    misplaced = next((name for name in ("parallel", "unordered", "resume") if flags[name]), None)
    if misplaced and not flags["jsonl"] and not (misplaced == "parallel" and flags["votes"]):
        raise UsageError(f"--{misplaced} is for the many prompts of --jsonl; add --jsonl, or leave it out")


def _form(flags: Flags) -> Form | None:
    """The form of the answer, if one is asked for. Raises UsageError if it is wrong, or if there are several."""
    given = {name: flags[name] for name in options.FORM if flags[name] is not None}
    if not given:
        return None
    names = [f"--{name}" for name in given]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} each give the answer a form; leave all but one out")
    from r1.forms.form import FormOptions

    try:
        return FormOptions(**given).compile()
    except UsageError as exc:
        raise UsageError(f"{names[0]}: {exc}") from exc


@app.command(cls=Command, epilog=examples.SERVE)
@options.with_settings(
    {"parallel": options.ServedAtOnce, "temp": options.Temp, "top_p": options.TopP, "max_tokens": options.MaxTokens},
    options.THINKING,
    {**options.MODEL_AND_MACHINE, "model": options.OnlyModel},
    options.SPECULATION,
)
def serve(
    flags: Flags,
    name: options.OnlyModelName = None,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8017,
    queue: options.Queue = 64,
    keep_alive: options.KeepAlive = "5m",
    grace: options.Grace = 30,
    api_key: options.ApiKey = None,
    api_key_file: options.ApiKeyFile = None,
    no_auth: options.NoAuth = False,
    allow_origin: options.AllowOrigins = None,
    log_prompts: options.LogPrompts = False,
    keep_cache: options.KeepCache = False,
    as_json: options.AsLog = False,
    quiet: options.Quiet = False,
) -> int:
    """Serve the models over HTTP, for editors, web pages and scripts: the APIs of OpenAI, Anthropic and Ollama."""
    from r1.commands.serve import ServeOptions, seconds_of, serve_models

    keep_libraries_quiet()
    console = Console.of_process(quiet=quiet)
    serve_options = ServeOptions(
        pinned=_one_model(name, flags["model"]),
        host=host,
        port=port,
        queue=queue,
        keep_alive_s=seconds_of(keep_alive, "--keep-alive"),
        grace_s=grace,
        api_key=api_key,
        api_key_file=api_key_file,
        no_auth=no_auth,
        allow_origins=tuple(allow_origin or ()),
        log_prompts=log_prompts,
        keeps_cache=keep_cache,
        as_json=as_json,
    )
    return serve_models(console, serve_options, _settings(console, flags))


@app.command(cls=Command, epilog=examples.PULL)
def pull(
    model: options.ModelToPull = None,
    model_option: options.ModelToPullOption = None,
    dry_run: options.DryRun = False,
    prebuilt: options.Prebuilt = False,
    keep_checkpoint: options.KeepCheckpoint = False,
    update: options.Update = False,
    name: options.Name = None,
    force: options.ForcePull = False,
    imatrix: options.Imatrix = None,
    tensor_type: options.TensorTypes = None,
    pretokenizer: options.Pretokenizer = None,
    threads: options.QuantizeThreads = None,
    as_json: options.AsEvents = False,
    quiet: options.Quiet = False,
) -> int:
    """Download a model from the hub and quantize it on the way. Run it again to resume."""
    from r1.commands import pull
    from r1_quantize.hub.pull_options import PullOptions

    keep_libraries_quiet()
    pull_options = PullOptions(
        dry_run=dry_run,
        keep_checkpoint=keep_checkpoint,
        update=update,
        name=name,
        threads=threads,
        imatrix=imatrix,
        tensor_types=tuple(tensor_type or ()),
        pretokenizer=pretokenizer,
    )
    report = _report(as_json=as_json, quiet=quiet)
    reference = _one_model(model, model_option)
    return pull.run(Console.of_process(quiet=quiet), reference, pull_options, report, prebuilt=prebuilt, force=force)


@app.command(cls=Command, epilog=examples.QUANTIZE)
def quantize(
    source: options.Source = None,
    source_option: options.SourceOption = None,
    quant: options.Quant = None,
    output: options.Output = None,
    name: options.Name = None,
    force: options.ForceQuantize = False,
    list_types: options.ListTypes = False,
    imatrix: options.Imatrix = None,
    tensor_type: options.TensorTypes = None,
    pretokenizer: options.Pretokenizer = None,
    allow_requantize: options.AllowRequantize = False,
    threads: options.QuantizeThreads = None,
    as_json: options.AsEvents = False,
    quiet: options.Quiet = False,
) -> int:
    """Quantize a checkpoint or a GGUF on this disk to a GGUF. Run it again to resume."""
    source = _required_model(
        source, source_option, "no SOURCE given; it is a checkpoint folder, a .gguf or a model's name"
    )
    keep_libraries_quiet()
    console = Console.of_process(quiet=quiet)
    if list_types:
        from r1.commands.list_types import list_types as print_types

        return print_types(console, source, as_json=as_json)
    from r1.commands import quantize
    from r1.conversion import QuantizeOptions

    quantize_options = QuantizeOptions(
        imatrix=imatrix,
        tensor_types=tuple(tensor_type or ()),
        pretokenizer=pretokenizer,
        allow_requantize=allow_requantize,
        threads=threads,
        force=force,
    )
    destination = quantize.Destination(output, name)
    return quantize.run(console, source, quant, destination, quantize_options, _report(as_json=as_json, quiet=quiet))


@app.command("list", cls=Command, epilog=examples.LIST)
def list_(as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """List the models on this machine and the ones you can pull."""
    from r1.commands.list_models import list_models

    return list_models(Console.of_process(quiet=quiet), as_json=as_json)


@app.command(cls=Command, epilog=examples.DOCTOR)
def doctor(as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """Examine this machine: which models run, how fast, which one to choose, and what to improve."""
    from r1.commands.doctor import doctor

    keep_libraries_quiet()
    return doctor(Console.of_process(quiet=quiet), as_json=as_json)


@app.command(cls=Command, epilog=examples.SHOW)
def show(
    model: options.NamedModel = None,
    model_option: options.NamedModelOption = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Describe a model file: its tensors, context length, tokens and origin."""
    from r1.commands.show import show

    reference = _required_model(model, model_option, _NO_MODEL)
    return show(Console.of_process(quiet=quiet), reference, as_json=as_json)


@app.command(cls=Command, epilog=examples.VERIFY)
def verify(
    model: options.NamedModel = None,
    model_option: options.NamedModelOption = None,
    repair: options.Repair = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Check a model file from end to end: its structure, values and digest."""
    from r1.commands.verify import verify

    reference = _required_model(model, model_option, _NO_MODEL)
    keep_libraries_quiet()
    return verify(Console.of_process(quiet=quiet), reference, repairing=repair, as_json=as_json)


@app.command(cls=Command, epilog=examples.BENCH)
@options.with_settings(options.MODEL_AND_MACHINE)
def bench(
    flags: Flags,
    name: options.ModelToRun = None,
    depths: options.Depths = None,
    parallel: options.NumbersOfSequences = None,
    shared: options.Shared = False,
    prompt: options.BenchPrompt = None,
    gen: options.BenchGen = None,
    repetitions: options.Repetitions = 3,
    tune: options.Tune = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Measure prefill and decode speed of a model on this machine, with a short and a long context."""
    from r1 import settings
    from r1.commands.bench import BenchOptions, bench, read_depths, read_parallel

    if tune and flags["threads"] is not None:
        raise UsageError("--tune looks for the best number of threads and --threads sets one; leave one of them out")
    model = _one_model(name, flags["model"])
    keep_libraries_quiet()
    console = Console.of_process(quiet=quiet)
    bench_options = BenchOptions(
        prompt=prompt,
        gen=gen,
        repetitions=repetitions,
        depths=read_depths(depths) if depths is not None else None,
        parallel=read_parallel(parallel) if parallel is not None else None,
        is_shared=shared,
        tune=tune,
        as_json=as_json,
    )
    return bench(console, bench_options, settings.load({**flags, "model": model}, console.environ))


@app.command("eval", cls=Command, epilog=examples.EVAL)
@options.with_settings(
    {**options.SAMPLING, "seed": options.SeedOfAll},
    options.THINKING,
    {**options.MODEL_AND_MACHINE, "parallel": options.RepliesAtOnce},
    options.SPECULATION,
)
def evaluate(
    flags: Flags,
    problems: options.Problems = None,
    builtin: options.Builtin = None,
    k: options.SamplesOfEach = 1,
    instruct: options.Instruct = None,
    no_instruct: options.NoInstruct = False,
    limit: options.Limit = None,
    shuffle: options.Shuffle = None,
    output: options.Samples = None,
    skip_bad: options.SkipBad = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Ask a model problems with known answers, several times each: how many it gets right, alone and by vote."""
    from r1.commands.evaluate import EvalOptions, evaluate
    from r1.evaluate.conditions import Instructions
    from r1.evaluate.problem_set import Source

    if instruct is not None and no_instruct:
        raise UsageError("--instruct adds to each question and --no-instruct adds nothing; leave one of them out")
    keep_libraries_quiet()
    console = Console.of_process(quiet=quiet)
    eval_options = EvalOptions(
        Source(problems, builtin, limit, shuffle),
        Instructions("" if no_instruct else instruct, is_bare=builtin is not None),
        k=k,
        output=output,
        skip_bad=skip_bad,
        as_json=as_json,
    )
    return evaluate(console, eval_options, _settings(console, flags))


@app.command("rm", cls=Command, epilog=examples.REMOVE)
def remove(
    models: options.ModelsToRemove = None,
    models_option: options.ModelsToRemoveOption = None,
    cache: options.Cache = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Remove models, kept checkpoints, the files of an interrupted pull, or kept KV caches."""
    from r1.commands.remove import remove, remove_cache

    references = [*(models or ()), *(models_option or ())]
    if cache:
        status = remove_cache(Console.of_process(quiet=quiet), yes=yes, as_json=as_json)
        if not references:
            return status
    if not references or not all(references):  # an empty name is a script's variable that is not set
        raise UsageError(_NO_MODEL)
    return remove(Console.of_process(quiet=quiet), references, yes=yes, as_json=as_json)


@history_app.callback(invoke_without_command=True, epilog=examples.HISTORY)
def _history(context: typer.Context, as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """List, search, show, export and delete past chats."""
    return list_chats(as_json, quiet) if context.invoked_subcommand is None else 0


@history_app.command("list", cls=Command, epilog=examples.HISTORY_LIST)
def list_chats(as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """List past chats, newest first."""
    from r1.commands.history import list_chats

    return list_chats(Console.of_process(quiet=quiet), as_json=as_json)


@history_app.command("search", cls=Command, epilog=examples.HISTORY_SEARCH)
def search_chats(words: options.Words, as_json: options.AsJson = False, quiet: options.Quiet = False) -> int:
    """Search questions, answers, thinking, attached files and titles."""
    from r1.commands.history import search

    return search(Console.of_process(quiet=quiet), words, as_json=as_json)


@history_app.command("show", cls=Command, epilog=examples.HISTORY_SHOW)
def show_chat(
    chat: options.Chat,
    thinking: options.WithThinking = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Print a chat as plain text."""
    from r1.commands.history import show

    return show(Console.of_process(quiet=quiet), chat, thinking=thinking, as_json=as_json)


@history_app.command("export", cls=Command, epilog=examples.HISTORY_EXPORT)
def export_chat(
    chat: options.Chat,
    file: options.ExportTo,
    thinking: options.WithThinking = False,
    force: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> int:
    """Export a chat to a Markdown or JSON file."""
    from r1.commands.history import export

    return export(Console.of_process(quiet=quiet), chat, file, thinking=thinking, force=force)


@history_app.command("delete", cls=Command, epilog=examples.HISTORY_DELETE)
def delete_chats(
    chats: options.Chats = None,
    everything: options.All = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Delete chats for good and erase them from the file."""
    from r1.commands.history import delete

    return delete(Console.of_process(quiet=quiet), chats or (), everything=everything, yes=yes, as_json=as_json)


app.add_typer(history_app, name="history")

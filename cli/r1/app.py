"""The Typer app: arguments in, one call out, and the only place that turns errors into a line and an exit code.

Knows: the command line. Does not know: how anything is done; a command's module is imported when it is called.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from r1 import __version__, examples, options
from r1.console import Console, abandon, keep_libraries_quiet, printable
from r1.history_app import history_app
from r1_quantize.errors import ExitStatus, R1Error, UsageError

if TYPE_CHECKING:
    from r1.commands.chat import ChatOptions

app = typer.Typer(
    name="r1",
    help="DeepSeek-R1's distilled models on your own machine: offline, in a terminal.",
    epilog="Everything but `r1 pull` works without a network. Settings can also come from R1_* variables "
    "and config.toml.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run_app(application: Callable[..., object]) -> int:  # noqa: PLR0911 — one return an outcome
    """Runs the app on `sys.argv`; whatever goes wrong becomes one line on stderr and the status it stands for."""
    if sys.stdout is None:  # closed before we started: nobody will read a word
        return ExitStatus.CLOSED_PIPE
    try:
        status = application(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as exc:
        said = exc.format_message().rstrip(".")  # nothing when `r1` alone has just printed its help
        return _complain(f"{said} (see {_help_for(exc)})", ExitStatus.USAGE) if said else ExitStatus.OK
    except (KeyboardInterrupt, typer.Abort):
        return ExitStatus.INTERRUPTED
    except BrokenPipeError:
        return _reader_went_away()
    except SystemExit as exc:  # how Typer leaves after shell completion, and what it makes of a closed pipe
        if isinstance(exc.__context__, BrokenPipeError):
            return _reader_went_away()
        return int(exc.code or 0)
    except R1Error as exc:
        return _complain(str(exc), exc.exit_status)
    except OSError as exc:
        if exc.errno not in {errno.ENOSPC, errno.EDQUOT}:
            return _unforeseen(exc)
        abandon(sys.stdout)
        where = f"on the disk of {exc.filename}" if exc.filename else "where stdout goes"
        return _complain(f"no room left {where}; free some and run it again", ExitStatus.NO_SPACE)
    except Exception as exc:
        return _unforeseen(exc)
    return int(status) if isinstance(status, int) else ExitStatus.OK


def _help_for(exc: typer.TyperException) -> str:
    """The help of the command that was used wrongly."""
    context, names = getattr(exc, "ctx", None), list[str]()
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["r1", *names, "--help"])


def _complain(message: str, status: ExitStatus) -> ExitStatus:
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"r1: {printable(' '.join(message.split()))}\n")
            sys.stderr.flush()
        except OSError:
            abandon(sys.stderr)
    return status


def _unforeseen(exc: Exception) -> ExitStatus:
    from r1_quantize.errors import debugging

    if debugging():
        traceback.print_exception(exc)
    what = f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
    return _complain(f"unforeseen: {what} (R1_DEBUG=1 shows where)", ExitStatus.UNFORESEEN)


def _reader_went_away() -> ExitStatus:
    abandon(sys.stdout)
    return ExitStatus.CLOSED_PIPE


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"r1 {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> int | None:
    if context.invoked_subcommand is None:
        return _chat({}, None)
    return None


@app.command(epilog=examples.CHAT)
def chat(
    model: options.ToChatWith = None,
    go_on: options.Continue = False,
    session: options.ToTakeUp = None,
    thinking: options.ThinkingInChat = None,
    plain: options.Plain = False,
    temp: options.Temp = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    max_tokens: options.MaxTokens = None,
    system: options.System = None,
    ctx: options.Ctx = None,
    kv_type: options.KvType = None,
    threads: options.Threads = None,
    device: options.Device = None,
    gpu_layers: options.GpuLayers = None,
    rpc: options.Rpc = None,
    force: options.Anyway = False,
) -> int:
    """Chat in the terminal, as `r1` alone does: thinking you can watch or fold, and nothing that was said is lost."""
    flags = dict(locals())  # a setting has the same name everywhere
    from r1.commands.chat import ChatOptions

    return _chat(flags, ChatOptions(model is not None, go_on, session, plain))


def _chat(flags: Mapping[str, object], wish: ChatOptions | None) -> int:
    from r1 import settings
    from r1.commands import chat

    keep_libraries_quiet()  # what a driver complains of would stand in the middle of the screen
    console = Console.of_process()
    chosen = settings.load(flags, console.environ)
    if chosen.system is not None:
        console.warn("R1 was not trained with a system prompt; instructions belong in the prompt itself")
    return chat.chat(console, wish or chat.ChatOptions(), chosen)


@app.command(epilog=examples.RUN)
def run(
    prompt: options.Prompt = None,
    file: options.Files = None,
    no_stdin: options.NoStdin = False,
    thinking: options.Thinking = None,
    json: options.Json = False,
    jsonl: options.Jsonl = False,
    temp: options.Temp = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    max_tokens: options.MaxTokens = None,
    system: options.System = None,
    model: options.Model = None,
    ctx: options.Ctx = None,
    kv_type: options.KvType = None,
    threads: options.Threads = None,
    device: options.Device = None,
    gpu_layers: options.GpuLayers = None,
    rpc: options.Rpc = None,
    force: options.Anyway = False,
) -> int:
    """Answer one prompt, from the command line or from stdin: the answer on stdout and nothing else."""
    flags = dict(locals())
    from r1 import settings
    from r1.commands.run import run
    from r1.request import Asked

    if json and jsonl:
        raise UsageError("--json is for one prompt and --jsonl for many; leave one of them out")
    keep_libraries_quiet()
    console = Console.of_process()
    chosen = settings.load(flags, console.environ)
    asked = Asked(tuple(prompt or ()), tuple(file or ()), use_stdin=not no_stdin)
    return run(console, asked, "json" if json else "jsonl" if jsonl else "text", chosen)


@app.command(epilog=examples.PULL)
def pull(
    model: options.ToPull = None,
    dry_run: options.DryRun = False,
    prebuilt: options.Prebuilt = False,
    keep_checkpoint: options.KeepCheckpoint = False,
    update: options.Update = False,
    force: options.PullAnyway = False,
    threads: options.QuantizeThreads = None,
    as_json: options.AsEvents = False,
    quiet: options.Quiet = False,
) -> int:
    """Download a model from the hub, quantizing it on the way. Whatever stops it, running it again resumes."""
    from r1.commands import pull
    from r1.commands.quantize import report_of
    from r1_quantize.hub.pull import PullOptions

    keep_libraries_quiet()
    chosen = PullOptions(dry_run, keep_checkpoint, update, threads)
    report = report_of(as_json=as_json, quiet=quiet)
    return pull.run(Console.of_process(), model, chosen, report, prebuilt=prebuilt, anyway=force)


@app.command(epilog=examples.QUANTIZE)
def quantize(
    source: options.Source,
    quant: options.Quant = None,
    output: options.Output = None,
    list_types: options.ListTypes = False,
    imatrix: options.Imatrix = None,
    tensor_type: options.TensorTypes = None,
    pretokenizer: options.Pretokenizer = None,
    allow_requantize: options.AllowRequantize = False,
    threads: options.QuantizeThreads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Turn a checkpoint or a GGUF on this disk into a GGUF, in one pass. An interrupted run is taken up again."""
    keep_libraries_quiet()
    console = Console.of_process()
    if list_types:
        from r1.commands.list_types import list_types as list_the_types

        return list_the_types(console, source, as_json=as_json)
    from r1.commands import quantize

    chosen = quantize.QuantizeOptions(imatrix, tuple(tensor_type or ()), pretokenizer, allow_requantize, threads)
    report = quantize.report_of(as_json=as_json, quiet=quiet)
    return quantize.run(console, source, quant, output, chosen, report)


@app.command("list", epilog=examples.LIST)
def list_(as_json: options.AsJson = False) -> int:
    """What is on this machine, and what can be had."""
    from r1.commands.list_models import list_models

    return list_models(Console.of_process(), as_json=as_json)


@app.command(epilog=examples.DOCTOR)
def doctor(as_json: options.AsJson = False) -> int:
    """What this machine is, which models run on it and how fast, which one to take, and what could be better."""
    from r1.commands.doctor import doctor

    keep_libraries_quiet()
    return doctor(Console.of_process(), as_json=as_json)


@app.command(epilog=examples.SHOW)
def show(model: options.Reference, as_json: options.AsJson = False) -> int:
    """What a model file is: its tensors, its context, its tokens, where it came from."""
    from r1.commands.show import show

    return show(Console.of_process(), model, as_json=as_json)


@app.command(epilog=examples.VERIFY)
def verify(model: options.Reference, repair: options.Repair = False, as_json: options.AsJson = False) -> int:
    """Read a model file to its end and say whether it is what it should be."""
    from r1.commands.verify import verify

    keep_libraries_quiet()
    return verify(Console.of_process(), model, repairing=repair, as_json=as_json)


@app.command(epilog=examples.BENCH)
def bench(
    model: options.Model = None,
    depths: options.Depths = None,
    prompt: options.BenchPrompt = 512,
    gen: options.BenchGen = 128,
    repetitions: options.Repetitions = 3,
    tune: options.Tune = False,
    as_json: options.AsJson = False,
    ctx: options.Ctx = None,
    kv_type: options.KvType = None,
    threads: options.Threads = None,
    device: options.Device = None,
    gpu_layers: options.GpuLayers = None,
    rpc: options.Rpc = None,
    force: options.Anyway = False,
) -> int:
    """How fast a model is on this machine: prefill and decode, with little and with much in the cache."""
    flags = dict(locals())
    from r1 import settings
    from r1.commands.bench import BenchOptions, bench, read_depths

    if tune and threads is not None:
        raise UsageError("--tune looks for the best number of threads, and --threads names one; leave one of them out")
    keep_libraries_quiet()
    console = Console.of_process()
    wanted = BenchOptions(prompt, gen, repetitions, read_depths(depths) if depths is not None else None, tune, as_json)
    return bench(console, wanted, settings.load(flags, console.environ))


@app.command("rm", epilog=examples.REMOVE)
def remove(models: options.ToRemove, yes: options.Yes = False, as_json: options.AsJson = False) -> int:
    """Remove models, what an interrupted pull has left, or a kept checkpoint."""
    from r1.commands.remove import remove

    return remove(Console.of_process(), models, yes=yes, as_json=as_json)


app.add_typer(history_app, name="history")

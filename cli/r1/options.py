"""The options and arguments of the command line, each declared once for every command that takes it.

Most default to None, which means "not given" and lets the environment and config.toml decide (`r1.settings`).
Imports only a light module of ours at the start, because shell completion and `--help` import this module.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from r1 import completion


def with_settings(*groups: dict[str, Any]) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Adds the options of `groups` to a command, which gets their values as one mapping: its parameter `flags`.

    Typer reads a command's options from its signature, so the decorated function has one that lists them all. An
    option that was not given is None, or False for a switch.
    """
    declared = {name: annotation for group in groups for name, annotation in group.items()}

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @wraps(command)
        def call(**arguments: object) -> int:
            flags = {name: arguments.pop(name) for name in declared}
            return command(flags=flags, **arguments)

        signature = inspect.signature(command, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "flags"]
        added = [_parameter(name, annotation) for name, annotation in declared.items()]
        call.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        return call

    return decorate


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    is_switch = get_args(annotation)[0] is bool
    default = False if is_switch else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(*names: str, panel: str | None = None, help: str, **more: Any) -> Any:  # noqa: A002 — Typer's word
    return typer.Option(*names, help=help, show_default=False, rich_help_panel=panel, **more)


def _argument(metavar: str, help: str, **more: Any) -> Any:  # noqa: A002
    return typer.Argument(metavar=metavar, help=help, show_default=False, **more)


_ANSWER, _THINKING, _FORM, _MANY = "The answer", "The thinking", "The form of the answer", "Many prompts"
_MODEL, _MACHINE = "The model", "The machine"
_SERVER, _ACCESS = "The server", "Who may use it"
_REFERENCE = "NAME, NAME:QUANT or the path of a .gguf."
_REFERENCE_OR_DEFAULT = f"{_REFERENCE} (default: R1_MODEL, config.toml, the model pulled last, tiny)"

# Settings: options that are also environment variables and keys of config.toml. `r1.settings` reads their numbers, so
# that the same text is right or wrong in all three places.

Thinking = Annotated[
    Literal["show", "hide", "only"] | None,
    _option(
        "--thinking",
        panel=_THINKING,
        case_sensitive=False,
        help="show: print the thinking on stderr. hide: think, but print only the answer. only: print the thinking on "
        "stdout and stop before the answer. (default: show if stderr is a terminal, else hide)",
    ),
]
ThinkingInChat = Annotated[
    Literal["show", "hide"] | None,
    _option(
        "--thinking",
        panel=_THINKING,
        case_sensitive=False,
        help="Show or hide the thinking. (default: as in the last chat; Ctrl-T toggles it)",
    ),
]
ThinkBudget = Annotated[
    str | None,
    _option(
        "--think-budget",
        panel=_THINKING,
        metavar="N|off",
        help="Answer after at most N tokens of thinking; 0 answers without any. (default: off)",
        autocompletion=completion.off,
    ),
]
Effort = Annotated[
    str | None,
    _option(
        "--effort",
        panel=_THINKING,
        metavar="none|low|medium|high|max",
        help="A budget by name: none (no thinking), low (1024 tokens), medium (4096), high (16384), max (no limit). "
        "(default: max)",
        autocompletion=completion.efforts,
    ),
]
Reserve = Annotated[
    str | None,
    _option(
        "--reserve",
        panel=_THINKING,
        metavar="N",
        help="End the thinking while there is still room for N tokens of answer, in the context and in --max-tokens. "
        "0: the thinking may take everything. (default: a quarter of the room, at most 2048)",
    ),
]
LoopGuard = Annotated[
    str | None,
    _option(
        "--loop-guard",
        panel=_THINKING,
        metavar="on|off",
        help="When the thinking goes round in circles, go back and think on differently, or end it; when an answer "
        "does, stop it. (default: on)",
        autocompletion=completion.on_or_off,
    ),
]
Temp = Annotated[
    str | None,
    _option(
        "--temp", panel=_ANSWER, metavar="N", help="Temperature; 0 always takes the most likely token. (default: 0.6)"
    ),
]
TopP = Annotated[
    str | None, _option("--top-p", panel=_ANSWER, metavar="N", help="Nucleus sampling threshold. (default: 0.95)")
]
Seed = Annotated[
    str | None,
    _option("--seed", panel=_ANSWER, metavar="N", help="The same seed gives the same text. (default: random)"),
]
MaxTokens = Annotated[
    str | None,
    _option(
        "--max-tokens",
        panel=_ANSWER,
        metavar="N",
        help="Limit of generated tokens, thinking included. (default: 32768)",
    ),
]
System = Annotated[str | None, _option("--system", panel=_ANSWER, help="A system prompt; R1 was not trained with one.")]
Model = Annotated[
    str | None,
    _option(
        "--model", "-m", metavar="MODEL", panel=_MODEL, help=_REFERENCE_OR_DEFAULT, autocompletion=completion.models
    ),
]
Ctx = Annotated[
    str | None,
    _option(
        "--ctx",
        panel=_MODEL,
        metavar="N",
        help="Context length in tokens, prompt and reply together. (default: enough for the reply, if memory allows)",
    ),
]
KvType = Annotated[
    str | None,
    _option(
        "--kv-type",
        panel=_MODEL,
        metavar="TYPE",
        help="Type of the KV cache: f16, q8_0, q4_0, … (default: f16, or q8_0 where f16 does not fit)",
        autocompletion=completion.kv_types,
    ),
]
Threads = Annotated[
    str | None,
    _option(
        "--threads",
        panel=_MACHINE,
        metavar="N",
        help="Number of threads. (default: what r1 bench --tune found, or the fast cores that others leave)",
    ),
]
Device = Annotated[
    str | None,
    _option(
        "--device",
        panel=_MACHINE,
        metavar="auto|cpu|gpu|NAME,…",
        help="Where to compute; r1 doctor lists the names. (default: auto, a GPU if there is one)",
        autocompletion=completion.devices,
    ),
]
GpuLayers = Annotated[
    str | None,
    _option("--gpu-layers", panel=_MACHINE, metavar="N", help="Layers on the GPU. (default: as many as fit)"),
]
Rpc = Annotated[
    str | None,
    _option("--rpc", panel=_MACHINE, metavar="HOST:PORT,…", help="Also compute on these llama.cpp RPC servers."),
]
Speculate = Annotated[
    str | None,
    _option(
        "--speculate",
        panel=_MODEL,
        metavar="auto|off|lookup|draft",
        help="Guess tokens ahead and check them in one pass, which changes only the speed. lookup: from what was said "
        "before. draft: with the model of --draft. (default: auto, both if --draft is given)",
        autocompletion=completion.ways_to_speculate,
    ),
]
Draft = Annotated[
    str | None,
    _option(
        "--draft",
        panel=_MODEL,
        metavar="MODEL",
        help="A small model that guesses for a large one with the same vocabulary, such as qwen-1.5b for qwen-32b.",
        autocompletion=completion.models,
    ),
]
ForceLoad = Annotated[
    bool, _option("--force", panel=_MACHINE, help="Load the model even if it does not fit in memory.")
]

Votes = Annotated[
    str | None,
    _option(
        "--votes",
        panel=_ANSWER,
        metavar="K",
        help="Ask up to K times, and give the answer that comes most often. Ends as soon as that is certain enough.",
    ),
]
First = Annotated[
    str | None,
    _option("--first", panel=_ANSWER, metavar="M", help="With --votes: end when the first M replies are finished."),
]
Confidence = Annotated[
    str | None,
    _option(
        "--confidence",
        panel=_ANSWER,
        metavar="P",
        help="With --votes: how certain the winner has to be for an early end; 1: no further vote could change it. "
        "(default: 0.95)",
    ),
]

VOTES = {"votes": Votes, "first": First, "confidence": Confidence}
THINKING = {"think_budget": ThinkBudget, "effort": Effort, "reserve": Reserve, "loop_guard": LoopGuard}
SAMPLING = {"temp": Temp, "top_p": TopP, "seed": Seed, "max_tokens": MaxTokens, "system": System}
MODEL_AND_MACHINE = {
    "model": Model,
    "ctx": Ctx,
    "kv_type": KvType,
    "threads": Threads,
    "device": Device,
    "gpu_layers": GpuLayers,
    "rpc": Rpc,
    "force": ForceLoad,
}
SPECULATION = {"speculate": Speculate, "draft": Draft}

# run

Schema = Annotated[
    str | None,
    _option(
        "--schema",
        panel=_FORM,
        metavar="FILE|JSON",
        help="Answer with JSON that is valid under this JSON Schema.",
        autocompletion=completion.files,
    ),
]
Choices = Annotated[
    str | None,
    _option(
        "--choices",
        panel=_FORM,
        metavar="A,B…",
        help="Answer with exactly one of these texts; a JSON list if one has a comma.",
    ),
]
Regex = Annotated[
    str | None,
    _option("--regex", panel=_FORM, metavar="RE", help="Answer with text that matches this regular expression."),
]
Grammar = Annotated[
    Path | None,
    _option(
        "--grammar",
        panel=_FORM,
        metavar="FILE",
        help="Answer with text of this grammar, in llama.cpp's GBNF, with a rule `root`.",
        autocompletion=completion.files,
    ),
]
FORM = {"schema": Schema, "choices": Choices, "regex": Regex, "grammar": Grammar}
"""They shape an answer. At most one of them is given."""

Prompt = Annotated[list[str] | None, _argument("PROMPT…", "The prompt; words are joined. `-` reads stdin.")]
Files = Annotated[
    list[Path] | None,
    _option(
        "--file",
        "-f",
        help="Attach a file, or stdin (`-`), in DeepSeek's template. Repeatable.",
        autocompletion=completion.files,
    ),
]
NoStdin = Annotated[bool, _option("--no-stdin", help="Do not read stdin, even if it is a pipe or the file of a loop.")]
Json = Annotated[
    bool, _option("--json", panel=_ANSWER, help="Print one JSON object: answer, thinking, usage, timings.")
]
Jsonl = Annotated[
    bool,
    _option(
        "--jsonl",
        panel=_MANY,
        help='Each line of stdin is a JSON string or {"prompt": …, "id": …}, with options of its own such as '
        '"effort"; print one JSON object for each.',
    ),
]
Parallel = Annotated[
    str | None,
    _option(
        "--parallel",
        panel=_MANY,
        metavar="N",
        help="Number of prompts answered at once. (default: what pays on this machine; 1 with --seed)",
    ),
]
Unordered = Annotated[
    bool,
    _option(
        "--unordered", panel=_MANY, help="Print each object as soon as it is ready, not in the order of the lines."
    ),
]
Resume = Annotated[
    Path | None,
    _option(
        "--resume",
        panel=_MANY,
        metavar="FILE",
        help="Skip the lines that have a complete answer in FILE, the output of an earlier run.",
        autocompletion=completion.files,
    ),
]

MANY = {"jsonl": Jsonl, "unordered": Unordered, "resume": Resume, "parallel": Parallel}

# chat

ModelToRun = Annotated[str | None, _argument("MODEL", _REFERENCE_OR_DEFAULT, autocompletion=completion.models)]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Continue the last chat.")]
ChatToContinue = Annotated[
    str | None,
    _option(
        "--chat",
        metavar="ID",
        help="Continue the chat with this number; `r1 history` lists them.",
        autocompletion=completion.chats,
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="Plain text, line by line: no colours, no drawing.")]

# serve

OnlyModel = Annotated[
    str | None,
    _option(
        "--model",
        "-m",
        panel=_MODEL,
        metavar="MODEL",
        help="Load this model now, and answer every request with it. (default: each request names its model)",
        autocompletion=completion.models,
    ),
]
OnlyModelName = Annotated[
    str | None, _argument("MODEL", "The same as -m: the only model to serve.", autocompletion=completion.models)
]
ServedAtOnce = Annotated[
    str | None,
    _option(
        "--parallel",
        panel=_SERVER,
        metavar="N",
        help="Number of replies generated at once. (default: what pays on this machine)",
    ),
]
Queue = Annotated[
    int,
    _option(
        "--queue",
        panel=_SERVER,
        min=0,
        max=10_000,
        metavar="N",
        help="Requests that may wait for their turn; further ones are turned away. (default: 64)",
    ),
]
Host = Annotated[
    str,
    _option(
        "--host",
        panel=_SERVER,
        metavar="ADDRESS",
        help="Where to listen. Any but this machine alone needs a key (R1_API_KEY, --api-key-file), or --no-auth. "
        "(default: 127.0.0.1)",
    ),
]
Port = Annotated[
    int,
    _option("--port", panel=_SERVER, min=0, max=65535, metavar="N", help="0: a free one. (default: 8017)"),
]
KeepAlive = Annotated[
    str,
    _option(
        "--keep-alive",
        panel=_SERVER,
        metavar="TIME",
        help="Free the model when nobody has used it for so long, such as 90s, 5m or 1h; `off`: never. With -m it "
        "stays in any case. (default: 5m)",
    ),
]
Grace = Annotated[
    int,
    _option(
        "--grace",
        panel=_SERVER,
        min=0,
        max=86_400,
        metavar="SECONDS",
        help="How long replies under way may go on after Ctrl-C or SIGTERM; a second one ends them. (default: 30)",
    ),
]
ApiKey = Annotated[
    str | None,
    _option(
        "--api-key",
        panel=_ACCESS,
        metavar="KEY",
        help="What clients must send. Other users of this machine can read it here; R1_API_KEY is better.",
    ),
]
ApiKeyFile = Annotated[
    Path | None,
    _option(
        "--api-key-file",
        panel=_ACCESS,
        metavar="FILE",
        help="Keys, one a line, # begins a comment; any of them will do.",
        autocompletion=completion.files,
    ),
]
NoAuth = Annotated[
    bool, _option("--no-auth", panel=_ACCESS, help="Let everyone in who can reach the address, without a key.")
]
AllowOrigins = Annotated[
    list[str] | None,
    _option(
        "--allow-origin",
        panel=_ACCESS,
        metavar="ORIGIN",
        help="Let web pages of this origin in, such as http://localhost:3000; * is every page, and needs a key. "
        "Repeatable.",
    ),
]
LogPrompts = Annotated[bool, _option("--log-prompts", help="Write the prompts into the log, too.")]
KeepCache = Annotated[
    bool,
    _option(
        "--keep-cache",
        help="Keep on disk what was read of conversations, so that they go on at once after a restart.",
    ),
]
AsLog = Annotated[bool, typer.Option("--json", help="Print a JSON object for each request, on stdout.")]

# eval

Problems = Annotated[
    str | None,
    _argument("FILE", "A line of JSON for each problem; `-` is stdin.", autocompletion=completion.files),
]
Builtin = Annotated[
    str | None,
    _option(
        "--builtin",
        metavar="NAME",
        help="Problems that come with r1: tiny, the 400 questions that the model tiny was not trained on.",
        autocompletion=completion.builtin_problems,
    ),
]
SamplesOfEach = Annotated[
    int, _option("--samples", "-k", min=1, max=1024, metavar="N", help="Ask each question N times. (default: 1)")
]
Instruct = Annotated[
    str | None,
    _option(
        "--instruct",
        metavar="TEXT",
        help="What is added to each question. (default: DeepSeek's sentence about step by step and \\boxed{}; none for "
        "--builtin)",
    ),
]
NoInstruct = Annotated[bool, _option("--no-instruct", help="Ask the questions as they are.")]
Limit = Annotated[int | None, _option("--limit", min=1, max=2**31 - 1, metavar="N", help="Only the first N problems.")]
Shuffle = Annotated[
    int | None,
    _option(
        "--shuffle",
        min=0,
        max=2**32 - 1,
        metavar="SEED",
        help="The problems in another order, which depends only on SEED.",
    ),
]
Samples = Annotated[
    Path | None,
    _option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write each reply to FILE as it ends. The same command goes on from there after a kill.",
        autocompletion=completion.files,
    ),
]
SeedOfAll = Annotated[
    str | None,
    _option(
        "--seed", panel=_ANSWER, metavar="N", help="The seeds of all replies are derived from this one. (default: 0)"
    ),
]
RepliesAtOnce = Annotated[
    str | None,
    _option(
        "--parallel",
        panel=_MACHINE,
        metavar="N",
        help="Number of replies generated at once. (default: what pays on this machine)",
    ),
]
SkipBad = Annotated[bool, _option("--skip-bad", help="Exit with 0 although lines of FILE are no problems or too long.")]

# bench

Depths = Annotated[
    str | None,
    _option(
        "--depths",
        "-d",
        metavar="N,N…",
        help="Tokens already in the KV cache when the clock starts. (default: 0,2048,8192, as far as they fit)",
    ),
]
NumbersOfSequences = Annotated[
    str | None,
    _option(
        "--parallel",
        metavar="N,N…",
        help="Measure with so many prompts at once, for example 1,2,4,8,16, instead of at several depths.",
    ),
]
Shared = Annotated[bool, typer.Option("--shared", help="With --parallel, give all sequences the same prompt.")]
BenchPrompt = Annotated[
    int | None,
    _option(
        "--prompt",
        "-p",
        min=0,
        max=2**20,
        metavar="N",
        help="Tokens to prefill; 0 skips it. (default: 512, or 128 with --parallel)",
    ),
]
BenchGen = Annotated[
    int | None,
    _option(
        "--gen",
        "-n",
        min=0,
        max=2**20,
        metavar="N",
        help="Tokens to decode; 0 skips it. (default: 128, or 32 with --parallel)",
    ),
]
Repetitions = Annotated[
    int,
    _option("--repetitions", "-r", min=1, max=1000, metavar="N", help="Runs of each measurement. (default: 3)"),
]
Tune = Annotated[
    bool,
    typer.Option("--tune", help="Find the fastest number of threads for this model, and remember it for later runs."),
]

# pull, quantize, show, verify, rm

NamedModel = Annotated[str | None, _argument("MODEL", _REFERENCE, autocompletion=completion.models)]
ModelToPullOption = Annotated[
    str | None,
    _option("--model", "-m", metavar="MODEL", help="The same as MODEL.", autocompletion=completion.models_to_pull),
]
NamedModelOption = Annotated[
    str | None, _option("--model", "-m", metavar="MODEL", help="The same as MODEL.", autocompletion=completion.models)
]
ModelToPull = Annotated[
    str | None,
    _argument(
        "MODEL",
        "NAME or NAME:QUANT from the catalogue; or hf:OWNER/REPO/FILE.gguf, hf:OWNER/REPO[:QUANT] from the hub.",
        autocompletion=completion.models_to_pull,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan without downloading anything large.")]
Prebuilt = Annotated[bool, typer.Option("--prebuilt", help="Download a ready-made GGUF instead of quantizing.")]
KeepCheckpoint = Annotated[
    bool, typer.Option("--keep-checkpoint", help="Keep the checkpoint, so that other types need no download.")
]
Update = Annotated[
    bool, typer.Option("--update", help="Get the hub's newest commit; without MODEL, for every model from the hub.")
]
ForcePull = Annotated[bool, typer.Option("--force", help="Download it even if this machine cannot run it.")]
Source = Annotated[
    str | None,
    _argument(
        "SOURCE",
        "A checkpoint folder, a .gguf (any part of a split one), or the name of a model on this disk.",
        autocompletion=completion.sources,
    ),
]
SourceOption = Annotated[
    str | None,
    _option("--model", "-m", metavar="SOURCE", help="The same as SOURCE.", autocompletion=completion.sources),
]
Quant = Annotated[
    str | None,
    _option(
        "--type",
        "-t",
        metavar="TYPE",
        help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, … (see --list-types); COPY joins a split GGUF without quantizing. "
        "(default: the catalogue's, else Q4_K_M)",
        autocompletion=completion.quant_types,
    ),
]
ListTypes = Annotated[
    bool, typer.Option("--list-types", help="List the types and the size of SOURCE in each, and quantize nothing.")
]
Imatrix = Annotated[
    Path | None,
    _option(
        "--imatrix",
        help="llama.cpp's importance matrix, a .gguf or .dat; the smallest types need one.",
        autocompletion=completion.files,
    ),
]
TensorTypes = Annotated[
    list[str] | None,
    _option(
        "--tensor-type",
        metavar="PATTERN=TYPE",
        help="Use TYPE for tensors whose name matches PATTERN, a regular expression. Repeatable.",
    ),
]
Pretokenizer = Annotated[
    str | None,
    _option(
        "--pretokenizer",
        metavar="NAME",
        help="llama.cpp's name of the pre-tokenizer, if r1 does not know it.",
        autocompletion=completion.pretokenizers,
    ),
]
AllowRequantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Quantize an already quantized GGUF, at a loss of quality.")
]
QuantizeThreads = Annotated[
    int | None, _option("--threads", min=1, max=256, metavar="N", help="Number of threads. (default: every core)")
]
Output = Annotated[
    Path | None,
    _option(
        "--output",
        "-o",
        help="The file to write. (default: the model's place in R1_HOME)",
        autocompletion=completion.files,
    ),
]
Name = Annotated[
    str | None, _option("--name", metavar="NAME", help="The model's name on this machine. (default: the source's)")
]
ForceQuantize = Annotated[bool, typer.Option("--force", help="Replace an existing file or model.")]
Repair = Annotated[bool, typer.Option("--repair", help="Download and rebuild only the damaged parts.")]
ModelsToRemove = Annotated[
    list[str] | None,
    _argument(
        "MODEL…",
        "NAME:QUANT, NAME if only one type of it is stored, or OWNER/REPO for a checkpoint.",
        autocompletion=completion.removable,
    ),
]
Cache = Annotated[
    bool, typer.Option("--cache", help="Remove the KV caches of chats and attached files; they only save time.")
]
ModelsToRemoveOption = Annotated[
    list[str] | None,
    _option(
        "--model", "-m", metavar="MODEL", help="The same as MODEL. Repeatable.", autocompletion=completion.removable
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
AsEvents = Annotated[bool, typer.Option("--json", help="Print a JSON object per line: plan, progress, result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No notes and no progress; results, warnings and errors stay.")
]

# history

Chat = Annotated[str, _argument("ID", "The number of the chat in r1 history.", autocompletion=completion.chats)]
Chats = Annotated[
    list[str] | None,
    _argument("ID…", "Numbers of chats in r1 history.", autocompletion=completion.chats),
]
Words = Annotated[
    list[str],
    typer.Argument(metavar="WORDS…", help="A turn must contain all of them, in any case and order; quote a phrase."),
]
WithThinking = Annotated[bool, typer.Option("--thinking", "--with-thinking", help="Include the thinking.")]
ExportTo = Annotated[
    Path, _argument("FILE", "A .md or .json file; `-` prints Markdown.", autocompletion=completion.files)
]
Overwrite = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
All = Annotated[bool, typer.Option("--all", help="Every chat.")]

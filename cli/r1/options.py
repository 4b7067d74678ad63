"""The options of the command line, each declared once, for every command that has it.

Most default to None, "not given", so that the environment and config.toml get their say (`settings`).

Knows: names, help texts, how the shell completes them. Does not know: what an option does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _complete_model(incomplete: str) -> list[str]:
    """Names of models for the shell: what is here, then what the catalogue knows."""
    import os

    from r1.library import open_store

    store = open_store(os.environ)
    names = [model.reference for model in store.models()] + list(store.catalogue)
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _complete_stored(incomplete: str) -> list[str]:
    """Names of what can be removed, for the shell."""
    import os

    from r1.library import open_store

    store = open_store(os.environ)
    names = [model.reference for model in store.models()]
    names += [item.reference for item in (*store.unfinished(), *store.checkpoints())]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _complete_type(incomplete: str) -> list[str]:
    """Names of types for the shell."""
    from r1_quantize.recipe import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete.upper())]


def _option(*names: str, panel: str | None = None, help: str, **more: Any) -> Any:  # noqa: A002 — Typer's word
    return typer.Option(*names, help=help, show_default=False, rich_help_panel=panel, **more)


_ANSWER, _MODEL, _MACHINE = "The answer", "The model", "The machine"

Prompt = Annotated[
    list[str] | None,
    typer.Argument(help="The prompt; words are joined. `-` stands for stdin.", show_default=False),
]
Files = Annotated[
    list[Path] | None,
    _option("--file", "-f", help="Attach a file, in DeepSeek's template. Repeatable."),
]
NoStdin = Annotated[bool, _option("--no-stdin", help="Leave stdin unread, even when it is a pipe.")]

Thinking = Annotated[
    Literal["show", "hide", "only"] | None,
    _option(
        "--thinking",
        panel=_ANSWER,
        help="show: the trace goes to stderr. hide: it is thought, not shown. only: the trace goes to stdout and "
        "no answer is made. (default: show when stderr is a terminal, else hide)",
    ),
]
Json = Annotated[bool, _option("--json", panel=_ANSWER, help="One JSON object: answer, thinking, usage, timings.")]
Jsonl = Annotated[
    bool,
    _option(
        "--jsonl",
        panel=_ANSWER,
        help='Each line of stdin is a JSON string or {"prompt": …, "id": …}; one object a line comes back.',
    ),
]
Temp = Annotated[
    float | None,
    _option("--temp", panel=_ANSWER, help="Temperature; 0 always takes the likeliest token. (default: 0.6)"),
]
TopP = Annotated[float | None, _option("--top-p", panel=_ANSWER, help="Nucleus to sample from. (default: 0.95)")]
Seed = Annotated[
    int | None,
    _option("--seed", panel=_ANSWER, help="The same seed gives the same text. (default: a new one each time)"),
]
MaxTokens = Annotated[
    int | None,
    _option("--max-tokens", panel=_ANSWER, help="Tokens to generate at most, thinking included. (default: 32768)"),
]
System = Annotated[
    str | None, _option("--system", panel=_ANSWER, help="A system prompt, which R1 was not trained for.")
]

Model = Annotated[
    str | None,
    _option(
        "--model",
        "-m",
        panel=_MODEL,
        help="NAME, NAME:QUANT or the path of a .gguf. (default: R1_MODEL, config.toml, the model pulled last, tiny)",
        autocompletion=_complete_model,
    ),
]
Ctx = Annotated[
    int | None,
    _option(
        "--ctx",
        panel=_MODEL,
        help="Context in tokens, prompt and reply together. (default: what the reply can need and the memory holds)",
    ),
]
KvType = Annotated[
    str | None,
    _option(
        "--kv-type",
        panel=_MODEL,
        help="What the KV cache is stored as: f16, q8_0, q4_0, … (default: f16, and q8_0 where that does not fit)",
    ),
]

Threads = Annotated[
    int | None,
    _option("--threads", panel=_MACHINE, help="Threads. (default: the fast cores, or what r1 bench --tune found)"),
]
Device = Annotated[
    str | None,
    _option(
        "--device",
        panel=_MACHINE,
        metavar="auto|cpu|gpu|NAME,…",
        help="Where to compute; r1 doctor has the names. (default: auto, a GPU where there is one)",
    ),
]
GpuLayers = Annotated[
    int | None, _option("--gpu-layers", panel=_MACHINE, help="Layers on the GPU. (default: as many as fit)")
]
Rpc = Annotated[
    str | None,
    _option("--rpc", panel=_MACHINE, metavar="HOST:PORT,…", help="Compute on llama.cpp's rpc-servers there, too."),
]
Anyway = Annotated[bool, _option("--force", panel=_MACHINE, help="Load the model even if it does not fit the memory.")]

Depths = Annotated[
    str | None,
    _option(
        "--depths",
        "-d",
        metavar="N,N…",
        help="Tokens that are in the cache when the clock starts. (default: 0,2048,8192, as far as they fit)",
    ),
]
BenchPrompt = Annotated[
    int, typer.Option("--prompt", "-p", min=0, max=2**20, help="Tokens to prefill at once; 0 measures no prefill.")
]
BenchGen = Annotated[
    int, typer.Option("--gen", "-n", min=0, max=2**20, help="Tokens to decode one by one; 0 measures no decode.")
]
Repetitions = Annotated[int, typer.Option("--repetitions", "-r", min=1, max=1000, help="Runs of each measurement.")]
Tune = Annotated[
    bool,
    typer.Option(
        "--tune", help="Find the best number of threads for this model on this machine, and keep it for later runs."
    ),
]

ToChatWith = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="NAME, NAME:QUANT or the path of a .gguf. (default: R1_MODEL, config.toml, the model pulled last, tiny)",
        autocompletion=_complete_model,
        show_default=False,
    ),
]
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Take up the last chat.")]
ToTakeUp = Annotated[
    str | None, _option("--session", metavar="ID", help="Take up a certain chat; `r1 history` lists them.")
]
ThinkingInChat = Annotated[
    Literal["show", "hide"] | None,
    _option("--thinking", panel=_ANSWER, help="Show the thinking, or hide it. (default: as you left it; ctrl-t)"),
]
Plain = Annotated[bool, typer.Option("--plain", help="Plain text, line by line: no colours, no drawing.")]

Reference = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="NAME, NAME:QUANT or the path of a .gguf.", autocompletion=_complete_model),
]
ToPull = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="NAME or NAME:QUANT of the catalogue; or hf:OWNER/REPO/FILE.gguf, hf:OWNER/REPO[:QUANT] on the hub.",
        autocompletion=_complete_model,
        show_default=False,
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would take, and fetch nothing large.")]
Prebuilt = Annotated[
    bool, typer.Option("--prebuilt", help="Take a GGUF that others made, instead of making one of the checkpoint.")
]
KeepCheckpoint = Annotated[
    bool, typer.Option("--keep-checkpoint", help="Keep the checkpoint, so that other types need no download.")
]
Update = Annotated[
    bool, typer.Option("--update", help="Take the hub's newest commit; without MODEL for every model from there.")
]
PullAnyway = Annotated[bool, typer.Option("--force", help="Fetch it even if this machine cannot run it.")]
Repair = Annotated[bool, typer.Option("--repair", help="Fetch and make again what is bad, and nothing else.")]
ToRemove = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL…",
        help="NAME:QUANT, NAME if there is one of it, or OWNER/REPO for a checkpoint.",
        autocompletion=_complete_stored,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsEvents = Annotated[bool, typer.Option("--json", help="A JSON object a line: the plan, what happens, the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="The same facts as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what goes wrong.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A checkpoint's folder, a .gguf (of one in parts, any), or the name of a model on this disk.",
        autocompletion=_complete_model,
    ),
]
Quant = Annotated[
    str | None,
    _option(
        "--type",
        "-t",
        help="Q8_0, Q6_K, Q5_K_M, Q4_K_M, … (--list-types has all); COPY joins a GGUF's parts and changes no type. "
        "(default: the catalogue's, else Q4_K_M)",
        autocompletion=_complete_type,
    ),
]
ListTypes = Annotated[
    bool, typer.Option("--list-types", help="Show what each type would make of SOURCE, and make nothing.")
]
Imatrix = Annotated[
    Path | None,
    _option("--imatrix", help="An importance matrix of llama.cpp's, GGUF or .dat; the smallest types need one."),
]
TensorTypes = Annotated[
    list[str] | None,
    _option(
        "--tensor-type",
        metavar="PATTERN=TYPE",
        help="Another type for tensors whose name has PATTERN, a regular expression, in it. Repeatable.",
    ),
]
Pretokenizer = Annotated[
    str | None,
    _option("--pretokenizer", metavar="NAME", help="llama.cpp's name for how text is cut, if r1 does not know it."),
]
AllowRequantize = Annotated[
    bool, typer.Option("--allow-requantize", help="Quantize what is quantized already, and lose more.")
]
QuantizeThreads = Annotated[int | None, _option("--threads", min=1, max=256, help="Threads. (default: every core)")]
Output = Annotated[
    Path | None, _option("--output", "-o", help="The file to write. (default: the model's place in R1_HOME)")
]

Chat = Annotated[str, typer.Argument(metavar="ID", help="The chat's number, as r1 history lists it.")]
Chats = Annotated[list[str] | None, typer.Argument(metavar="ID…", help="Numbers of chats.", show_default=False)]
Words = Annotated[
    list[str],
    typer.Argument(
        metavar="WORDS…", help="All of them must occur in a turn, in any case and order; quotes make a phrase."
    ),
]
WithThinking = Annotated[bool, typer.Option("--thinking", "--with-thinking", help="With the thinking traces.")]
ExportTo = Annotated[Path, typer.Argument(metavar="FILE", help="A .md or a .json; `-` prints Markdown.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")]
All = Annotated[bool, typer.Option("--all", help="Every chat.")]

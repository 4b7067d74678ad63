"""The settings: flags, then the environment, then config.toml, then DeepSeek's recommendations.

A setting has the same name everywhere: `--top-p`, `R1_TOP_P`, `top_p = 0.95`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from r1.engine.kv_types import KV_TYPES
from r1.engine.sampling import MAX_SEED
from r1_quantize.errors import UsageError

if TYPE_CHECKING:
    from r1.engine.thinking import ThinkingParams

Thinking = Literal["show", "hide", "only"]
Effort = Literal["none", "low", "medium", "high", "max"]
Speculate = Literal["auto", "off", "lookup", "draft"]
Keys = Literal["emacs", "vi"]

_MOST_TOKENS = 2**30
_SHOWN = 60  # characters of a wrong value in a message
_SAME_THING = ("think_budget", "effort")
"""Two ways to say how long to think: a new value of one replaces both."""

SYSTEM_PROMPT_WARNING = "R1 was not trained with a system prompt; put instructions in the prompt itself"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. None: decided later, from the model, the terminal or the machine."""

    model: str | None = None
    thinking: Thinking | None = None
    system: str | None = None
    temp: float = 0.6
    top_p: float = 0.95
    seed: int | None = None
    max_tokens: int = 32_768
    think_budget: int | None = None
    effort: Effort | None = None
    reserve: int | None = None
    loop_guard: bool = True
    votes: int | None = None
    first: int | None = None
    confidence: float = 0.95
    ctx: int | None = None
    parallel: int | None = None
    threads: int | None = None
    device: str = "auto"
    gpu_layers: int | None = None
    rpc: str | None = None
    kv_type: str | None = None
    speculate: Speculate = "auto"
    draft: str | None = None
    force: bool = False
    cache_size: int = 4 * 10**9
    keys: Keys = "emacs"
    draft_from: str = dataclasses.field(default="", compare=False)
    """What a message about the draft model begins with, if it was named in the environment or in `config.toml`."""

    def thinking_params(self) -> ThinkingParams:
        """How long the model may think: `think_budget`, or the tokens of `effort`, and what ends it otherwise."""
        from r1.engine.thinking import EFFORTS, ThinkingParams  # here, because the light commands need neither

        budget = self.think_budget if self.effort is None else EFFORTS[self.effort]
        return ThinkingParams(budget=budget, reserve=self.reserve, guards_loops=self.loop_guard)


NAMES = tuple(field.name for field in dataclasses.fields(Settings) if field.compare)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`parse` converts a value, `allows` checks it, `expected` describes the allowed values."""

    parse: Callable[[Any], Any]
    expected: str
    allows: Callable[[Any], bool] = lambda _: True


def _integer(value: object) -> int:
    if isinstance(value, (bool, float)):
        raise TypeError
    return int(value)  # type: ignore[call-overload, no-any-return]


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise TypeError
    return float(value)  # type: ignore[arg-type]


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def _boolean(value: object) -> bool:
    word = str(value).strip().lower()
    if word not in {*_YES, *_NO}:
        raise ValueError
    return word in _YES


def _budget(value: object) -> int | None:
    is_off = isinstance(value, str) and value.strip().lower() == "off"
    return None if is_off else _integer(value)


_SIZE = re.compile(r"(\d+(?:\.\d+)?) *([kmgt]?)b?", re.IGNORECASE)


def _bytes(value: object) -> int:
    """4 GB, 500MB, a number of bytes, or off."""
    text = str(value).strip()
    if isinstance(value, bool | float) or text.lower() == "off":
        return 0 if text.lower() in {"off", "false"} else -1
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError
    return round(float(match[1]) * 1000.0 ** " kmgt".index(match[2].lower() or " "))


def _prompt(value: object) -> str:
    text = _string(value)
    text.encode("utf-8")  # raises UnicodeEncodeError, a ValueError, if the command line was not UTF-8
    return text


def _from_to(least: int, most: int) -> _Rule:
    return _Rule(_integer, f"a whole number from {least} to {most}", lambda value: least <= value <= most)


def _lower(value: object) -> str:
    """In any case, as llama.cpp and `r1 doctor` print CPU and F16."""
    return _string(value).strip().lower()


def _one_of(choices: tuple[str, ...]) -> _Rule:
    return _Rule(_lower, f"one of {', '.join(choices)}", lambda value: value in choices)


_RULES: dict[str, _Rule] = {
    "model": _Rule(_string, "a model's name or the path of a .gguf", bool),
    "thinking": _one_of(get_args(Thinking)),
    "system": _Rule(_prompt, "text in UTF-8"),
    "temp": _Rule(_number, "a number from 0 to 10 (0: always the most likely token)", lambda value: 0 <= value <= 10),
    "top_p": _Rule(_number, "a number above 0 and at most 1", lambda value: 0 < value <= 1),
    "seed": _Rule(_integer, f"a whole number from 0 to {MAX_SEED}", lambda value: 0 <= value <= MAX_SEED),
    "max_tokens": _from_to(1, _MOST_TOKENS),
    "think_budget": _Rule(
        _budget,
        f"a whole number from 0 to {_MOST_TOKENS} (tokens; 0: no thinking) or off",
        lambda value: value is None or 0 <= value <= _MOST_TOKENS,
    ),
    "effort": _one_of(get_args(Effort)),
    "reserve": _from_to(0, _MOST_TOKENS),
    "loop_guard": _Rule(_boolean, "on or off"),
    "votes": _from_to(1, 1024),
    "first": _from_to(1, 1024),
    "confidence": _Rule(_number, "a number above 0.5 and at most 1", lambda value: 0.5 < value <= 1),
    "ctx": _from_to(64, _MOST_TOKENS),  # less holds no question with its answer
    "parallel": _from_to(1, 64),
    "threads": _from_to(1, 512),  # GGML_MAX_N_THREADS
    "device": _Rule(_lower, "auto, cpu, gpu or a device's name", bool),
    "gpu_layers": _Rule(_integer, "a whole number from 0 to 1000", lambda value: 0 <= value <= 1000),
    "rpc": _Rule(_string, "HOST:PORT,…", bool),
    "kv_type": _one_of(tuple(KV_TYPES)),
    "speculate": _one_of(get_args(Speculate)),
    "draft": _Rule(_string, "a model's name or the path of a .gguf", bool),
    "force": _Rule(_boolean, "true or false"),
    "cache_size": _Rule(_bytes, "a size such as 4GB or 500MB, or off", lambda value: 0 <= value <= 10**15),
    "keys": _one_of(get_args(Keys)),
}


def require_some_text(settings: Settings, *, has_form: bool) -> None:
    """Raises UsageError where only the thinking is to be printed, and there is to be none, or an answer in a form."""
    if settings.thinking != "only":
        return
    if settings.thinking_params().budget == 0:
        raise UsageError("only the thinking is to be printed, and a budget of 0 leaves none; raise the budget")
    if has_form:
        raise UsageError("only the thinking is to be printed, and a form is for the answer; leave one of them out")


def without_votes(given: Collection[str], settings: Settings) -> str | None:
    """The first name in `given` that means something only in a vote, where none is held; None if there is none."""
    names = () if settings.votes is not None else ("first", "confidence")
    return next((name for name in names if name in given), None)


_FLAG = 3  # the strength of what is said on the command line, or for one request


class _Given(NamedTuple):
    """A value as it was given; `strength` is higher for the environment than for config.toml, and highest for flags."""

    strength: int
    file: str  # what a message begins with: `config.toml: `, or nothing
    name: str  # as it is written in that place
    value: object


def load(flags: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """The settings in effect. A flag that is None or False was not given; flags that are not settings are ignored.

    Raises UsageError, which names the flag, variable or key, for an invalid value, and for unknown keys.
    """
    file = config_file()
    config = _read(file) if file else {}
    given: dict[str, _Given] = {}
    for name in NAMES:
        variable = f"R1_{name.upper()}"
        flag = flags.get(name)
        if flag is not None and flag is not False:  # 0 is a value
            given[name] = _Given(_FLAG, "", f"--{name.replace('_', '-')}", flag)
        elif environ.get(variable):
            given[name] = _Given(2, "", variable, environ[variable])
        elif name in config:
            given[name] = _Given(1, f"{file}: ", name, config[name])
    draft = given.get("draft")
    place = f"{draft.file}{draft.name}: " if draft is not None and draft.strength < _FLAG else ""
    return Settings(**_with_settled_draft(_values(given), given), draft_from=place)  # type: ignore[arg-type]


def changed(settings: Settings, name: str, value: object) -> Settings:
    """A copy with one setting changed; None restores its default. Raises UsageError for an invalid value."""
    field = name.replace("-", "_")
    default = next(known.default for known in dataclasses.fields(Settings) if known.name == field)
    chosen = {field: default if value is None else _parsed(name, field, value)}
    return _with(settings, chosen)


def overridden(settings: Settings, values: Mapping[str, object]) -> Settings:
    """A copy with other `values`, for one request. Raises UsageError, which names the key, for an invalid value."""
    given = {name: _Given(_FLAG, "", f'"{name}"', value) for name, value in values.items()}
    return _with(settings, _values(given))


def _with(settings: Settings, chosen: dict[str, object]) -> Settings:
    if any(name in chosen for name in _SAME_THING):
        chosen = {**dict.fromkeys(_SAME_THING), **chosen}
    if chosen.get("speculate") == "draft" and settings.draft is None:
        raise UsageError("there is no draft model; start r1 with --draft MODEL")
    return dataclasses.replace(settings, **chosen)  # type: ignore[arg-type]


def _values(given: Mapping[str, _Given]) -> dict[str, object]:
    """The settings that were given, checked. Of two ways to say the same, the one from the stronger place counts."""
    chosen = dict(given)
    budget, effort = (chosen.get(name) for name in _SAME_THING)
    if budget and effort:
        if budget.strength == effort.strength:
            both = f"{budget.file}{budget.name} and {effort.name}"
            raise UsageError(f"{both} both set how long to think; leave one of them out")
        del chosen["effort" if budget.strength > effort.strength else "think_budget"]
    return {name: _parsed(f"{one.file}{one.name}", name, one.value) for name, one in chosen.items()}


def _with_settled_draft(values: dict[str, object], given: Mapping[str, _Given]) -> dict[str, object]:
    """Of a draft model, and a way to speculate that has no use for one, the one from the stronger place counts.

    Raises UsageError if both are from one place, and where a draft model is wanted and none is named.
    """
    way, draft = values.get("speculate", "auto"), given.get("draft")
    if way == "auto" or (way == "draft") == (draft is not None):
        return values
    speculate = given["speculate"]
    place = f"{speculate.file}{speculate.name} {way}"
    if draft is None:
        raise UsageError(f"{place} needs a draft model; name one with --draft MODEL")
    if draft.strength == speculate.strength:
        raise UsageError(f"{draft.name} has no effect with {place}; leave one of them out")
    unused = "draft" if speculate.strength > draft.strength else "speculate"
    return {name: value for name, value in values.items() if name != unused}


def config_file() -> Path | None:
    """`config.toml` in the platform's folder for configuration; None for a user without a home folder."""
    from platformdirs import user_config_path

    try:
        folder = user_config_path("r1", appauthor=False)
    except RuntimeError:
        return None
    return folder / "config.toml" if folder.is_absolute() else None


def _read(file: Path) -> dict[str, object]:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8-sig")  # Windows programs begin it with a byte order mark
        config = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        remedy = "make it a readable file, or set HOME to your own home folder"
        raise UsageError(f"{file}: {exc.strerror}; {remedy}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{file}: not UTF-8 (byte {exc.start + 1}); save it as UTF-8") from exc
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits, arrays in arrays in arrays
        raise UsageError(f"{file}: cannot be read as TOML: {exc}") from exc
    if unknown := sorted(config.keys() - _RULES.keys()):
        raise UsageError(f"{file}: unknown setting {unknown[0]!r}; known: {', '.join(_RULES)}")
    return config


def _parsed(where: str, name: str, value: object) -> object:
    rule = _RULES[name]
    try:
        parsed = rule.parse(value)
        allowed = rule.allows(parsed)
    except (ValueError, TypeError):
        allowed = False
    if not allowed:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        raise UsageError(f"{where}: {shown} is not {rule.expected}")
    return parsed

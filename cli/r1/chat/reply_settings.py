"""What /set, /budget and /format accept, and how they show what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1.chat.votes import require_different_votes
from r1.chat.worker import Ready
from r1.engine.thinking import EFFORTS
from r1.settings import Settings, changed
from r1_quantize.errors import UsageError
from r1_quantize.files import expanded

if TYPE_CHECKING:
    from r1.forms.form import Form

SETTINGS = ("temp", "top-p", "max-tokens", "reserve", "seed", "ctx", "loop-guard", "speculate")
BUDGETS = (*EFFORTS, "off")
FORMS = ("schema", "choices", "regex", "grammar", "off")

_DEFAULT_WORDS = {"auto", "default", "random"}
_FORMAT_USAGE = "usage: /format schema FILE|JSON, choices A,B, regex RE, grammar FILE or off"


def with_setting(settings: Settings, name: str, value: str, ready: Ready | None) -> Settings:
    """The settings after /set. Raises UsageError for another value."""
    new = changed(settings, name, None if value in _DEFAULT_WORDS else value)
    if name == "ctx" and ready and (new.ctx or 0) > ready.trained:
        raise UsageError(f"ctx: {new.ctx:,} is too long; the model was trained for {ready.trained:,} tokens")
    require_different_votes(new)
    return new


def setting(settings: Settings, name: str, ready: Ready | None) -> str:
    """The value of a setting, as /set shows it."""
    value = getattr(settings, name.replace("-", "_"))
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is not None:
        return str(value)
    if name == "ctx" and ready:
        return f"auto ({ready.ctx:,})"
    return "random" if name == "seed" else "auto"


def with_budget(settings: Settings, word: str) -> Settings:
    """The settings after /budget: a number of tokens, a level of effort, or off. Raises UsageError for another word."""
    level = word.lower()
    if level in EFFORTS:
        return changed(settings, "effort", level)
    tokens = level.replace(",", "")
    if level != "off" and not tokens.isdecimal():
        raise UsageError(f"usage: /budget N, for example /budget 2000; or /budget {', '.join(EFFORTS)} or off")
    try:
        return changed(settings, "think-budget", tokens)
    except UsageError as exc:  # it names the flag
        raise UsageError(str(exc).removeprefix("think-")) from exc


def budget(settings: Settings) -> str:
    """The budget, as /budget shows it."""
    tokens = settings.thinking_params().budget
    if tokens is None:
        return "no budget: the model thinks as long as it needs"
    if not tokens:
        return "budget 0: the model answers without thinking"
    level = f" ({settings.effort})" if settings.effort else ""
    return f"budget {tokens:,} token{'' if tokens == 1 else 's'}{level}"


def form_of(argument: str) -> Form | None:
    """The form that /format names; None for `off`. Raises UsageError for what is no form."""
    from r1.forms.form import FormOptions

    if argument == "off":
        return None
    kind, value = [*argument.split(maxsplit=1), ""][:2]
    match kind if value else "":
        case "schema":
            return FormOptions(schema=_schema(value)).compile()
        case "choices":
            return FormOptions(choices=value).compile()
        case "regex":
            return FormOptions(regex=value).compile()
        case "grammar":
            return FormOptions(grammar=expanded(value)).compile()
    raise UsageError(_FORMAT_USAGE)


def _schema(value: str) -> str:
    """A schema's text, or the path of its file with `~` expanded."""
    return str(expanded(value)) if value.startswith("~") else value


def form(chosen: Form | None) -> str:
    """The form, as /format shows it."""
    return f"format: {chosen.description}; /format off removes it" if chosen else "no format: answers are free text"

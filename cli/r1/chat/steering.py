"""The commands about the model: which one, how it answers, how fast, with how much room.

Knows: what each does to the chat. Does not know: how they are found or shown.
"""

from __future__ import annotations

from dataclasses import replace

from r1.chat.chat import Chat
from r1.chat.command import brief, command, count, turns
from r1_quantize import units
from r1_quantize.errors import UsageError

_SETTABLE = ("temp", "top-p", "max-tokens", "seed", "ctx")


@command("model", "[NAME]", "go on with another model", words=lambda chat: chat.models(), takes_path=True)
def _model(chat: Chat, argument: str) -> None:
    if not argument:
        others = ", ".join(chat.models())
        chat.say(f"this is {chat.reference}; /model NAME goes on with another: {others}")
        return
    chat.load(chat.check(argument))


@command("set", "[NAME VALUE]", "temp, top-p, max-tokens, seed, ctx",
          words=lambda _: _SETTABLE, anytime=True)  # fmt: skip
def _set(chat: Chat, argument: str) -> None:
    from r1.settings import changed

    name, _, value = argument.partition(" ")
    if not name:
        chat.say(", ".join(f"{known} {_setting(chat, known)}" for known in _SETTABLE))
        return
    if name not in _SETTABLE or not value.strip():
        raise UsageError(f"/set {'|'.join(_SETTABLE)} VALUE (or default), for example /set temp 0.5")
    settings = changed(chat.settings, name, None if value.strip() in {"auto", "default", "random"} else value.strip())
    if name == "ctx" and chat.ready and (settings.ctx or 0) > chat.ready.trained:
        raise UsageError(f"ctx: {settings.ctx:,} is too long; this model was trained for {chat.ready.trained:,} tokens")
    chat.change(settings)
    chat.say("ctx auto" if name == "ctx" and settings.ctx is None else f"{name} {_setting(chat, name)}")


@command(
    "system", "[TEXT|off]", "set a system prompt, which R1 was not trained for", words=lambda _: ("off",), anytime=True
)
def _system(chat: Chat, argument: str) -> None:
    if not argument:
        chat.say(f"system prompt: {chat.settings.system or 'none, as DeepSeek advises'}")
        return
    if argument != "off" and not chat.warned_of_system:
        chat.warned_of_system = True
        chat.warn("R1 was not trained with a system prompt; instructions belong in the message itself")
    chat.change(replace(chat.settings, system=None if argument == "off" else argument))
    chat.say("no system prompt" if argument == "off" else "system prompt set; /system off takes it away")


@command("stats", "", "how fast the last turn was, and the memory it takes", anytime=True)
def _stats(chat: Chat, _: str) -> None:
    import psutil

    turn = next((turn for turn in reversed(chat.turns) if turn.timings and turn.usage), None)
    memory = psutil.Process().memory_info().rss
    lines = [f"memory       {units.size(memory)} resident"]
    lines += [f"plan         {chat.ready.plan}"] if chat.ready and chat.ready.plan else []
    if turn is not None and turn.timings and turn.usage:
        timings, usage = turn.timings, turn.usage
        tokens = f"{usage.thinking_tokens:,} thinking + {usage.answer_tokens:,} answer"
        lines = [
            f"prefill      {timings.prefill_tps:.1f} tok/s",
            f"decode       {timings.decode_tps:.1f} tok/s",
            f"first token  {timings.ttft_s:.2f} s",
            f"whole turn   {timings.total_s:.1f} s, {tokens} tokens",
            *lines,
        ]
    chat.say("\n".join(lines))


@command("context", "", "what takes room in the context, and how much is left", anytime=True)
def _context(chat: Chat, _: str) -> None:
    if chat.ready is None:
        raise UsageError("the model is not loaded yet")
    left = max(chat.ready.ctx - chat.used, 0)
    lines = [f"{chat.used:,} of {chat.ready.ctx:,} tokens used, {left:,} left (trained for {chat.ready.trained:,})"]
    lines += [
        f"  {turn.number:>3}  {length:>7,}  {brief(turn.asked.question, 40)}"
        for turn, length in zip(chat.kept_turns, chat.lengths, strict=False)
    ]
    trimmed = len(chat.turns) - len(chat.kept_turns)
    lines += [f"  without {turns(trimmed)} (/trim, or no answer)"] if trimmed else []
    chat.say("\n".join(lines))


@command("trim", "[N]", "leave the N oldest turns out of the context; without N, half of it")
def _trim(chat: Chat, argument: str) -> None:
    kept = chat.kept_turns
    if len(kept) < 2:
        raise UsageError("there is nothing to leave out but the last turn; /clear begins anew")
    most = count(argument, len(kept) - 1) if argument else _half(chat, len(kept))
    chat.trim(kept[:most])
    chat.say(f"the model no longer sees {turns(most)}, of {len(kept)}; the history keeps everything")


def _half(chat: Chat, kept: int) -> int:
    """How many of the oldest turns hold half of the tokens; never all of them."""
    if len(chat.lengths) != kept:  # not counted yet
        return kept // 2
    total = oldest = 0
    for length in chat.lengths[:-1]:
        if total >= sum(chat.lengths) / 2:
            break
        total, oldest = total + length, oldest + 1
    return max(oldest, 1)


def _setting(chat: Chat, name: str) -> str:
    value = getattr(chat.settings, name.replace("-", "_"))
    if name == "ctx" and value is None:
        return f"auto ({chat.ready.ctx:,})" if chat.ready else "auto"
    return "random" if value is None else str(value)

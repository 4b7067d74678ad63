"""The body of Anthropic's requests: messages with content blocks, and how long to think.

Thinking blocks of earlier turns are accepted, with any signature, and R1's template leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn

from r1.serve.fields import Fields
from r1.serve.messages import Message, dialogue_of
from r1.serve.question import MOST_STOP_TEXTS, Question
from r1.serve.reply_fields import MOST_TOKENS, own_form_in, sampling_in, schema_form_of
from r1.serve.votes import votes_in

if TYPE_CHECKING:
    from r1.forms.form import Form

Shown = Literal["no", "empty", "yes"]
"""How the answer has the thinking: not at all, as a block without text, or as it is."""

_THINKING = ("enabled", "adaptive", "disabled", "between_tools")
_NO_THINKING = {"disabled", "between_tools"}  # the second one thinks between calls of tools, and there are none
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
"""Anthropic's words, and r1's."""

_NO_TOOLS = "not supported: R1 was not trained to call tools"
_TOOL_FIELDS = ("tools", "mcp_servers")


@dataclass(frozen=True, slots=True)
class MessageRequest:
    """What the body of `POST /v1/messages` says."""

    question: Question
    shown: Shown
    is_streamed: bool


def message_request_in(fields: Fields) -> MessageRequest:
    """Raises ApiError, which names the field."""
    if "max_tokens" not in fields:
        fields.refuse("max_tokens", "is missing; it is the most tokens that the reply may have, thinking included")
    question = question_in(fields)
    return MessageRequest(question, _shown_in(fields), bool(fields.flag("stream")))


def question_in(fields: Fields) -> Question:
    """What is asked; also the body of `count_tokens`. Raises ApiError, which names the field.

    `top_k` is ignored: clients send it unasked, and R1's replies are drawn by temperature and top-p.
    """
    _refuse_tools(fields)
    fields.integer("top_k", 0, MOST_TOKENS)
    return Question(
        model=fields.text("model"),
        dialogue=dialogue_of(_messages_in(fields)),
        changed={**sampling_in(fields, "max_tokens"), **_thinking_in(fields)},
        form=_form_in(fields),
        stop_texts=fields.texts("stop_sequences", MOST_STOP_TEXTS),
        votes=votes_in(fields),
    )


def _refuse_tools(fields: Fields) -> None:
    """Raises ApiError if the client offers tools that the model may use."""
    choice = fields.object("tool_choice")
    if choice is not None and choice.text("type") == "none":
        return
    for name in _TOOL_FIELDS:
        if fields.values.get(name):
            fields.refuse(name, f"are {_NO_TOOLS}")


# Messages


def _messages_in(fields: Fields) -> Iterator[Message]:
    """`system` as the first one."""
    if "messages" not in fields:
        fields.refuse("messages", "is missing")
    if "system" in fields:
        yield Message("system", "system", _Content.of(fields, "system").text)
    for item in fields.objects("messages"):
        role = item.required_text("role")
        content = _Content.of(item, "content")
        yield Message(item.path, role, content.text, content.thinking)


@dataclass(frozen=True, slots=True)
class _Content:
    """The texts of a message's blocks, with an empty line between them."""

    text: str
    thinking: str = ""

    @classmethod
    def of(cls, fields: Fields, name: str) -> _Content:
        """A string is as good as one text block. Raises ApiError for blocks that R1 cannot read."""
        if not isinstance(fields.values.get(name), list):
            return cls(fields.text(name) or "")
        texts: dict[str, list[str]] = {"text": [], "thinking": []}
        for block in fields.objects(name):
            kind = block.required_text("type")
            if kind in texts:
                texts[kind].append(block.text(kind) or "")
            elif kind != "redacted_thinking":
                _refuse_block(block, kind)
        return cls(*("\n\n".join(filter(None, each)) for each in texts.values()))


def _refuse_block(block: Fields, kind: str) -> NoReturn:
    if "tool" in kind:
        block.refuse("type", f"is {kind!r:.40}, and tools are {_NO_TOOLS}")
    block.refuse("type", f"is {kind!r:.40}, and R1 reads only text")


# Thinking and form


def _thinking_in(fields: Fields) -> dict[str, object]:
    """How long to think. A budget is more exact than an effort, and counts if both are given."""
    thinking = fields.object("thinking")
    kind = None if thinking is None else _kind_of(thinking)
    effort = _effort_in(fields)
    budget = None if thinking is None else thinking.integer("budget_tokens", 0, MOST_TOKENS)
    if kind in _NO_THINKING:
        return {"effort": "none"}
    if budget is not None:
        return {"think_budget": budget}
    return {} if effort is None else {"effort": effort}


def _shown_in(fields: Fields) -> Shown:
    """A client that does not speak of thinking does not expect a thinking block, and often reads the first block only.
    So R1 thinks, and the block is left out.
    """
    thinking = fields.object("thinking")
    if thinking is None:
        return "no"
    display = thinking.one_of("display", ("summarized", "omitted"))
    if _kind_of(thinking) in _NO_THINKING:
        return "no"
    return "empty" if display == "omitted" else "yes"


def _kind_of(thinking: Fields) -> str:
    thinking.required_text("type")
    kind = thinking.one_of("type", _THINKING)
    assert kind is not None, "it is required"
    return kind


def _effort_in(fields: Fields) -> str | None:
    config = fields.object("output_config")
    effort = None if config is None else config.one_of("effort", tuple(_EFFORTS))
    return None if effort is None else _EFFORTS[effort]


def _form_in(fields: Fields) -> Form | None:
    """The form of `output_config.format`, of `output_format`, its name in older clients, or of one of r1's own fields.
    Raises ApiError.
    """
    config = fields.object("output_config")
    wanted = (config and config.object("format")) or fields.object("output_format")
    own = own_form_in(fields)
    if wanted is None:
        return own
    if own is not None:
        fields.refuse("output_config", "has a format for the answer, and another one is given, too; leave one out")
    wanted.required_text("type")
    wanted.one_of("type", ("json_schema",))
    if not isinstance(wanted.values.get("schema"), dict | bool):
        wanted.refuse("schema", "is missing; it is a JSON schema")
    return schema_form_of(wanted.values["schema"], wanted.name("schema"))

"""The bodies of OpenAI's routes."""

from __future__ import annotations

from typing import Any

from r1.serve.messages import MOST_MESSAGES
from r1.serve.question import MOST_REPLIES, MOST_TOP_LOGPROBS
from r1.serve.reply_fields import MOST_TOKENS
from r1.serve.web.openapi.schemas import (
    Schema,
    anything,
    body,
    constant,
    empty,
    fields,
    flag,
    nothing,
    number,
    objects,
    one_of,
    ref,
    text,
    whole,
)
from r1.serve.web.openapi.shared import MODEL, OWN_FORMS, SAMPLING, STOP_TEXTS, STREAMED, VOTING

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES = ("auto", "concise", "detailed", "none")
_MOST_LOGPROBS = 5
_NO_TOOLS = "Not supported: R1 was not trained to call tools. Ignored if `tool_choice` is `none`."


def _limit(what: str) -> Schema:
    """Of tokens; -1 is none."""
    return {**whole(-1, MOST_TOKENS, what), "not": constant(0)}


def _budget(what: str = "The most tokens of thinking; -1 is no limit.") -> Schema:
    return whole(-1, MOST_TOKENS, what)


_LIMIT = "The most tokens of the reply, thinking included; -1 is none."
_STREAM_OPTIONS = fields({"include_usage": flag("Whether a last chunk has the usage.")})
_REASONING = {
    "effort": one_of(_EFFORTS, "How long to think, in words."),
    "max_tokens": _budget(),
    "enabled": flag("false: no thinking."),
}
_COMMON = {
    "model": MODEL,
    "stream": STREAMED,
    **SAMPLING,
    "stop": STOP_TEXTS,
    "tools": empty(_NO_TOOLS),
    "functions": empty(_NO_TOOLS),
    "tool_choice": anything("`none`: tools are ignored."),
    "frequency_penalty": number(-2, 2, "Has no effect."),
    "presence_penalty": number(-2, 2, "Has no effect."),
    "logit_bias": empty("Not supported; `choices`, `regex` and `grammar` say what an answer may be."),
    "modalities": {
        "anyOf": [
            constant("text"),
            {"type": ["array", "null"], "items": constant("text"), "maxItems": 2},
        ]
    },
}
_THINKING = {
    "think_budget": _budget("r1's own: the most tokens of thinking; -1 is no limit. Counts more than an effort."),
    "thinking_budget_tokens": _budget("The same, in llama-server's words."),
    "reasoning_budget_tokens": _budget("The same, in llama-server's words."),
    "reasoning_effort": one_of(_EFFORTS, "How long to think, in words."),
    "thinking": fields(
        {"type": text("`disabled`: no thinking."), "budget_tokens": _budget()},
        "As DeepSeek's and other servers have it.",
    ),
    "chat_template_kwargs": fields(
        {"enable_thinking": flag("false: no thinking."), "thinking": flag("false: no thinking.")}, "As vLLM has it."
    ),
}

_PART: Schema = {
    "oneOf": [
        body({"type": {"enum": ["text", "input_text", "output_text"]}, "text": text()}, ["type"]),
        body({"type": constant("refusal"), "refusal": text()}, ["type"]),
    ]
}
_CONTENT: Schema = {"anyOf": [text(), objects(ref("OpenAITextPart"))]}
_SCHEMA: Schema = {"type": ["object", "boolean"], "description": "A JSON Schema for the answer."}

_RESPONSE_FORMAT: Schema = {
    "oneOf": [
        {"type": "null"},
        body({"type": {"enum": ["text", None]}}),
        body({"type": constant("json_object")}, ["type"]),
        body(
            {"type": constant("json_schema"), "json_schema": body({"name": text(), "schema": _SCHEMA}, ["schema"])},
            ["type", "json_schema"],
        ),
    ]
}
_TEXT_FORMAT: Schema = {
    "oneOf": [
        {"type": "null"},
        body({"type": {"enum": ["text", None]}}),
        body({"type": constant("json_object")}, ["type"]),
        body({"type": constant("json_schema"), "name": text(), "schema": _SCHEMA}, ["type", "schema"]),
    ]
}

_MESSAGE = body(
    {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": _CONTENT,
        "reasoning_content": text("What an assistant thought. Left out of later turns, as R1 was trained."),
        "reasoning": text("The same, under another name."),
        "tool_calls": empty("Not supported: R1 was not trained to call tools."),
    },
    ["role"],
)

_CHAT = body(
    {
        "messages": {
            "type": "array",
            "items": ref("OpenAIMessage"),
            "minItems": 1,
            "maxItems": MOST_MESSAGES,
            "description": "Messages of the system go in front of the user's that follow. An assistant's at the end is "
            "the beginning of the answer.",
        },
        **_COMMON,
        "max_completion_tokens": _limit(_LIMIT),
        "max_tokens": _limit("The same, by its earlier name."),
        "n": whole(1, MOST_REPLIES, "How many replies."),
        "logprobs": flag("Whether to list the tokens' log-probabilities."),
        "top_logprobs": whole(0, MOST_TOP_LOGPROBS, "How many of the likeliest tokens; needs `logprobs`."),
        "stream_options": _STREAM_OPTIONS,
        "response_format": _RESPONSE_FORMAT,
        **OWN_FORMS,
        **_THINKING,
        "reasoning": fields(
            {**_REASONING, "exclude": flag("true: the answer is without the thinking.")}, "As OpenRouter has it."
        ),
        "include_reasoning": flag("false: the answer is without the thinking."),
        **VOTING,
    },
    ["messages"],
)

_FOR_CHAT = nothing("Only for /v1/chat/completions: a text that is continued has no form.")

_COMPLETIONS = body(
    {
        "prompt": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_REPLIES},
            ],
            "description": "Goes on as it stands. No ids of tokens.",
        },
        **_COMMON,
        "max_tokens": _limit("The most tokens, 16 if nothing is said; -1 is no limit."),
        "n": whole(1, MOST_REPLIES, "How many continuations of each text; at most 128 in all."),
        "best_of": whole(1, 1, "More than one is not supported."),
        "echo": flag("Whether the prompt comes first."),
        "suffix": {"enum": [None, ""], "description": "Not supported: R1 was not trained to fill in the middle."},
        "logprobs": whole(
            0, _MOST_LOGPROBS, "How many of the likeliest tokens to list at each place; not with `echo`."
        ),
        "stream_options": _STREAM_OPTIONS,
        "response_format": _FOR_CHAT,
        "choices": _FOR_CHAT,
        "regex": _FOR_CHAT,
        "grammar": _FOR_CHAT,
    },
    ["prompt"],
)

_ITEM: Schema = {
    "oneOf": [
        body(
            {"type": {"enum": ["message", "", None]}, "role": _MESSAGE["properties"]["role"], "content": _CONTENT},
            ["role"],
        ),
        body({"type": constant("reasoning")}, ["type"]),
    ]
}
_NOT_STORED = "Not supported: nothing is stored here."

_RESPONSES = body(
    {
        "input": {"anyOf": [{"type": "string"}, {"type": "array", "items": ref("OpenAIInputItem"), "minItems": 1}]},
        "instructions": text("Goes in front of the first message."),
        **_COMMON,
        "max_output_tokens": _limit(_LIMIT),
        "text": fields({"format": _TEXT_FORMAT}),
        **OWN_FORMS,
        **_THINKING,
        "reasoning": fields(
            {
                **_REASONING,
                "summary": one_of(_SUMMARIES, "The thinking then comes as a summary, as it is."),
                "generate_summary": one_of(_SUMMARIES, "The same, by its earlier name."),
            }
        ),
        "top_logprobs": whole(0, MOST_TOP_LOGPROBS, "How many of the likeliest tokens to list at each place."),
        "include": anything("A list; `message.output_text.logprobs` in it: the tokens' log-probabilities are listed."),
        "metadata": {
            "type": ["object", "null"],
            "additionalProperties": {"type": "string"},
            "description": "Comes back in the response.",
        },
        "truncation": one_of(("auto", "disabled"), "Has no effect: too long an input is refused."),
        "user": text("Comes back in the response."),
        "parallel_tool_calls": flag("Comes back in the response."),
        "background": {"enum": [None, False], "description": _NOT_STORED},
        "previous_response_id": nothing(_NOT_STORED),
        "conversation": nothing(_NOT_STORED),
        "prompt": nothing(_NOT_STORED),
        **VOTING,
    },
    ["input"],
)

SCHEMAS: dict[str, Any] = {
    "OpenAITextPart": _PART,
    "OpenAIMessage": _MESSAGE,
    "OpenAIInputItem": _ITEM,
    "OpenAIChatRequest": _CHAT,
    "OpenAICompletionRequest": _COMPLETIONS,
    "OpenAIResponseRequest": _RESPONSES,
}

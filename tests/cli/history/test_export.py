"""`r1.history.export`: documents that no text in them can break."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from r1.engine.events import Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.export import code, contained, escaped, fenced, to_json, to_markdown, to_text
from r1.history.history import Asked, SessionInfo, StoredTurn
from tests.fakes.chats import TIMINGS, USAGE, asked

NOON = datetime(2025, 1, 20, 12, 0, 5).timestamp()
INFO = SessionInfo(3, "Wood", "tiny:Q8_0", 2, NOON, NOON + 60.125)
QUESTION = asked("Does it float?", ("a.txt", "x"))
FIRST = StoredTurn(7, 1, QUESTION, "Hm.\n\nIt does.", "Yes.", "stop", 12.0, USAGE, TIMINGS, 0.5, NOON, False)
SECOND = StoredTurn(8, 2, asked("And why?"), "Be", "", None, None, None, None, None, NOON + 60, True)


class TestMarkdown:
    """Title, settings, questions and answers, with the thinking folded away."""

    def test_a_chat_as_markdown(self) -> None:
        local = datetime.fromtimestamp(NOON).astimezone().isoformat(timespec="seconds")
        assert to_markdown(INFO, [FIRST, SECOND], with_thinking=True) == (
            "# Wood\n\n"
            f"`tiny:Q8_0` · {local}\n\n"
            "Model `tiny:Q8_0`, temperature 0.6, top-p 0.95, at most 512 tokens in a context of 2048\n\n"
            "## You, 12:00\n\nAttached: `a.txt`\n\nDoes it float?\n\n"
            "## R1\n\n"
            "<details>\n<summary>Thought for 12 s</summary>\n\n```text\nHm.\n\nIt does.\n```\n\n</details>\n\n"
            "Yes.\n\n"
            "## You, 12:01\n\nAnd why?\n\n"
            "## R1\n\n"
            "<details>\n<summary>Unfinished</summary>\n\n```text\nBe\n```\n\n</details>\n\n"
            "*(cut off in the middle; this is what there is)*\n\n"
            "*(no longer in the model's context)*\n"
        )

    def test_without_thinking_there_is_none(self) -> None:
        text = to_markdown(INFO, [FIRST], with_thinking=False)
        assert "details" not in text
        assert "It does" not in text

    def test_settings_are_said_again_when_they_change(self) -> None:
        changed = replace(FIRST, asked=replace(FIRST.asked, model="qwen-7b:Q4_K_M", system="Be kind.\n# Now"))
        text = to_markdown(INFO, [FIRST, FIRST, changed, changed], with_thinking=False)
        assert text.count("Model `") == 2
        assert text.count("System prompt:\n\n> Be kind.\n> ### Now\n") == 1

    def test_thinking_full_of_fences_and_tags_stays_in_its_place(self) -> None:
        thinking = "```py\nx\n````\n</details>\n# You\n`````"
        text = to_markdown(INFO, [replace(FIRST, thinking=thinking)], with_thinking=True)
        assert f"\n\n``````text\n{thinking}\n``````\n\n</details>\n" in text

    @pytest.mark.parametrize(
        ("text", "safe"),
        [
            ("# One\n## You\n###### Six", "### One\n#### You\n###### Six"),
            ("#hashtag\n    # code", "#hashtag\n    # code"),
            ("```sh\n# comment\n</details>\n```\n# Real", "```sh\n# comment\n</details>\n```\n### Real"),
            ("~~~\n```\n# c\n~~~\n# h", "~~~\n```\n# c\n~~~\n### h"),
            ("cut in ```` code:\n````py\nx = 1\n```", "cut in ```` code:\n````py\nx = 1\n```\n````"),
            ("Title\n===\nOther\n---\n\n---", "Title\n\n===\nOther\n\n---\n\n---"),
            ("a < b, <https://x.org> </details> <!-- x", "a < b, <https://x.org> &lt;/details> &lt;!-- x"),
            ("use `<div>` and ``a ` <b>`` or `</details>`", "use `<div>` and ``a ` <b>`` or `&lt;/details>`"),
            ("` </details> `", "` &lt;/details> `"),
            ("<DETAILS open>", "&lt;DETAILS open>"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 2 |"),
            ("\n  indented\n\n", "  indented"),
        ],
    )
    def test_foreign_markdown_cannot_break_out(self, text: str, safe: str) -> None:
        assert contained(text) == safe

    def test_names_and_titles_are_one_safe_line(self) -> None:
        assert code("a`b\n.txt") == "`` a`b .txt ``"
        assert escaped("<b> `x` <i>") == "&lt;b> `x` &lt;i>"
        assert fenced("plain") == "```text\nplain\n```"


class TestText:
    """A transcript for a terminal: our own lines are short, what was said is as it was said."""

    def test_a_chat_as_text(self) -> None:
        text = to_text(INFO, [FIRST, SECOND], with_thinking=False)
        assert text == (
            "Wood\nchat 3 · 2025-01-20 12:00\n\n"
            "-- tiny:Q8_0 --\n\n"
            "[1] You, 12:00\n[file: a.txt]\nDoes it float?\n\n"
            "[1] R1\nYes.\n\n"
            "[2] You, 12:01\nAnd why?\n\n"
            "(cut off in the middle; this is what\nthere is)\n\n"
            "(no longer in the model's context)\n"
        )
        assert max(map(len, text.splitlines())) <= 40

    def test_thinking_is_told_apart(self) -> None:
        text = to_text(INFO, [FIRST], with_thinking=True)
        assert "[1] R1 thinking: thought for 12 s\nHm.\n\nIt does.\n\n[1] R1\nYes.\n" in text


def rebuilt(facts: dict[str, Any]) -> StoredTurn:
    """A turn from its JSON, by the keys that are documented."""
    files = tuple(Attachment(file["name"], file["content"]) for file in facts["files"])
    settings = {key: facts[key] for key in ("model", "system", "seed", "temp", "top_p", "max_tokens", "ctx")}
    same = {key: facts[key] for key in ("id", "number", "thinking", "answer", "finish_reason", "thinking_s", "load_s")}
    return StoredTurn(
        **same,
        asked=Asked(facts["question"], files, **settings),
        usage=Usage(**facts["usage"]) if facts["usage"] else None,
        timings=Timings(**facts["timings"]) if facts["timings"] else None,
        started=datetime.fromisoformat(facts["started"]).timestamp(),
        trimmed=facts["trimmed"],
    )


class TestJson:
    """Everything, under names that stay."""

    def test_everything_comes_back(self) -> None:
        facts = json.loads(to_json(INFO, [FIRST, SECOND], with_thinking=True))
        assert (facts["format"], facts["version"]) == ("r1-chat", 1)
        assert [rebuilt(turn) for turn in facts["turns"]] == [FIRST, SECOND]
        session = facts["session"]
        times = {key: datetime.fromisoformat(session[key]).timestamp() for key in ("started", "updated")}
        assert SessionInfo(**{**session, **times}) == INFO

    def test_thinking_is_left_out_when_it_is_not_wanted(self) -> None:
        facts = json.loads(to_json(INFO, [FIRST], with_thinking=False))
        assert "thinking" not in facts["turns"][0]
        assert not re.search("It does", json.dumps(facts))

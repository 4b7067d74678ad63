"""`r1.history.export`: documents whose structure no text can break."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from r1.engine.events import FinishReason, ThinkingEnd, Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.export import embed, escape_tags, export, fence, inline_code, to_json, to_markdown, to_text
from r1.history.history import History, Question, SessionInfo, StoredTurn
from r1_quantize.errors import UsageError
from tests.fakes.chats import TIMINGS, USAGE, asked, say

NOON = datetime(2025, 1, 20, 12, 0, 5).timestamp()
INFO = SessionInfo(id=3, title="Wood", model="tiny:Q8_0", turns=2, started=NOON, updated=NOON + 60.125)
QUESTION = asked("Does it float?", ("a.txt", "x"))
FIRST = StoredTurn(
    id=7,
    number=1,
    asked=QUESTION,
    thinking="Hm.\n\nIt does.",
    answer="Yes.",
    finish_reason="stop",
    thinking_s=12.0,
    usage=USAGE,
    timings=TIMINGS,
    load_s=0.5,
    started=NOON,
    trimmed=False,
)
SECOND = StoredTurn(
    id=8,
    number=2,
    asked=asked("And why?"),
    thinking="Be",
    answer="",
    finish_reason=None,
    thinking_s=None,
    usage=None,
    timings=None,
    load_s=None,
    started=NOON + 60,
    trimmed=True,
)


class TestMarkdown:
    """Title, settings, questions and answers, with the thinking folded."""

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
            "*(this reply was cut off)*\n\n"
            "*(no longer in the model's context)*\n"
        )

    def test_without_thinking_there_is_none(self) -> None:
        text = to_markdown(INFO, [FIRST], with_thinking=False)
        assert "details" not in text
        assert "It does" not in text

    def test_settings_are_repeated_when_they_change(self) -> None:
        changed = replace(FIRST, asked=replace(FIRST.asked, model="qwen-7b:Q4_K_M", system="Be kind.\n# Now"))
        text = to_markdown(INFO, [FIRST, FIRST, changed, changed], with_thinking=False)
        assert text.count("Model `") == 2
        assert text.count("System prompt:\n\n> Be kind.\n> ### Now\n") == 1

    def test_thinking_full_of_fences_and_tags_stays_inside_its_block(self) -> None:
        thinking = "```py\nx\n````\n</details>\n# You\n`````"
        text = to_markdown(INFO, [replace(FIRST, thinking=thinking)], with_thinking=True)
        assert f"\n\n``````text\n{thinking}\n``````\n\n</details>\n" in text

    def test_an_answer_that_had_to_have_a_form_is_unchanged(self) -> None:
        answer = '{"a*b*c": "# x", "ticks": "```"}'
        turn = replace(FIRST, answer=answer, asked=replace(FIRST.asked, form="schema person.json"))
        text = to_markdown(INFO, [turn], with_thinking=False)
        assert f"## R1\n\n````text\n{answer}\n````\n" in text
        assert "in a context of 2048, answers in the form `schema person.json`\n" in text

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
        assert embed(text) == safe

    def test_names_and_titles_are_one_safe_line(self) -> None:
        assert inline_code("a`b\n.txt") == "`` a`b .txt ``"
        assert escape_tags("<b> `x` <i>") == "&lt;b> `x` &lt;i>"
        assert fence("plain") == "```text\nplain\n```"


class TestText:
    """A transcript for a terminal: our own lines are short, questions and answers unchanged."""

    def test_a_chat_as_text(self) -> None:
        text = to_text(INFO, [FIRST, SECOND], with_thinking=False)
        assert text == (
            "Wood\nchat 3 · 2025-01-20 12:00\n\n"
            "-- tiny:Q8_0 --\n\n"
            "[1] You, 12:00\n[file: a.txt]\nDoes it float?\n\n"
            "[1] R1\nYes.\n\n"
            "[2] You, 12:01\nAnd why?\n\n"
            "(this reply was cut off)\n\n"
            "(no longer in the model's context)\n"
        )
        assert max(map(len, text.splitlines())) <= 40

    @pytest.mark.parametrize("reason", [None, "length", "context", "loop", "interrupted"])
    def test_remarks_fit_40_columns(self, reason: FinishReason | None) -> None:
        text = to_text(INFO, [replace(FIRST, finish_reason=reason, trimmed=True)], with_thinking=False)
        remarks = [line for line in text.splitlines() if line.startswith("(")]
        assert len(remarks) == 2
        assert all(len(line) <= 40 for line in remarks)

    @pytest.mark.parametrize(
        ("end", "words"),
        [
            ("natural", ""),
            (None, ""),
            ("budget", ", stopped at the budget"),
            ("loop", ", went round in circles"),
            ("user", ", stopped by you"),
            ("eos", ", the model was made to answer"),
            ("limit", ", stopped to leave room to answer"),
        ],
    )
    def test_thinking_that_was_ended_says_by_what(self, end: ThinkingEnd | None, words: str) -> None:
        turn = replace(FIRST, thinking_end=end)
        assert f"[1] R1 thinking: thought for 12 s{words}\nHm." in to_text(INFO, [turn], with_thinking=True)
        assert f"<summary>Thought for 12 s{words}</summary>" in to_markdown(INFO, [turn], with_thinking=True)

    def test_thinking_has_a_heading_of_its_own(self) -> None:
        text = to_text(INFO, [FIRST], with_thinking=True)
        assert "[1] R1 thinking: thought for 12 s\nHm.\n\nIt does.\n\n[1] R1\nYes.\n" in text


def rebuilt(facts: dict[str, Any]) -> StoredTurn:
    """A turn from its JSON, by the keys that are documented."""
    files = tuple(Attachment(file["name"], file["content"]) for file in facts["files"])
    settings = {key: facts[key] for key in ("model", "system", "seed", "temp", "top_p", "max_tokens", "ctx", "form")}
    same = {key: facts[key] for key in ("id", "number", "thinking", "answer", "finish_reason", "thinking_s", "load_s")}
    return StoredTurn(
        **same,
        asked=Question(question=facts["question"], files=files, **settings),
        usage=Usage(**facts["usage"]) if facts["usage"] else None,
        timings=Timings(**facts["timings"]) if facts["timings"] else None,
        started=datetime.fromisoformat(facts["started"]).timestamp(),
        trimmed=facts["trimmed"],
        thinking_end=facts["thinking_end"],
    )


class TestJson:
    """The complete chat, under keys that stay."""

    def test_a_chat_can_be_rebuilt_from_it(self) -> None:
        first = replace(FIRST, thinking_end="loop", asked=replace(FIRST.asked, form="regex [0-9]+"))
        facts = json.loads(to_json(INFO, [first, SECOND], with_thinking=True))
        assert (facts["format"], facts["version"]) == ("r1-chat", 2)
        assert [rebuilt(turn) for turn in facts["turns"]] == [first, SECOND]
        session = facts["chat"]
        times = {key: datetime.fromisoformat(session[key]).timestamp() for key in ("started", "updated")}
        assert SessionInfo(**{**session, **times}) == INFO

    def test_thinking_is_left_out_unless_requested(self) -> None:
        facts = json.loads(to_json(INFO, [FIRST], with_thinking=False))
        assert "thinking" not in facts["turns"][0]
        assert not re.search("It does", json.dumps(facts))


class TestFile:
    """The target's suffix decides the format; other files are never touched."""

    @pytest.fixture
    def history(self, tmp_path: Path) -> Iterator[History]:
        with History.open(tmp_path / "history.db") as history:
            say(history, None, "why?")
            yield history

    def test_the_suffix_decides_the_format(self, history: History, tmp_path: Path) -> None:
        for name in ("a.md", "b.MARKDOWN", "c.json"):
            export(history, 1, tmp_path / name, with_thinking=False)
        assert (tmp_path / "a.md").read_text(encoding="utf-8") == (tmp_path / "b.MARKDOWN").read_text(encoding="utf-8")
        assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))["chat"]["title"] == "why?"

    @pytest.mark.parametrize("name", ["a.txt", "a", "a.md.html"])
    def test_other_suffixes_are_refused(self, history: History, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=r"export only to \.md or \.json"):
            export(history, 1, tmp_path / name, with_thinking=False)

    def test_an_existing_file_is_replaced_only_with_force(self, history: History, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("mine", encoding="utf-8")
        with pytest.raises(UsageError, match=r"a\.md already exists; choose another name"):
            export(history, 1, tmp_path / "a.md", with_thinking=False)
        assert (tmp_path / "a.md").read_text(encoding="utf-8") == "mine"
        export(history, 1, tmp_path / "a.md", with_thinking=False, force=True)
        assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("# why?")

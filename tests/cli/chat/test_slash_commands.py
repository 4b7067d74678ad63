"""`r1.chat.slash_commands`: what each command does, with the real model and a view that only records."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import pytest

from r1.chat.registry import command_help
from r1.chat.slash_commands import COMMANDS
from r1.engine.thinking import EFFORTS
from r1.history.history import History
from r1.render.style import Style
from r1.settings import Settings
from tests.cli.chat.conftest import LETTERS, SETTINGS, SUM, SUM_ANSWER, OpenTalk
from tests.fakes.chats import asked, say
from tests.fakes.views import Talk


class TestCommands:
    """Each slash command, in a chat with a view that only records."""

    def test_think_shows_or_hides_the_thinking_and_is_remembered(self, talk: Talk) -> None:
        talk.say("/think show")
        assert talk.chat.thinking.is_shown
        assert talk.history.preference("thinking") == "show"
        assert "│ 17 + 25" in talk.say(SUM)
        talk.say("/think hide")
        assert "│" not in talk.say(LETTERS)

    def test_trace_shows_the_thinking_of_any_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say(LETTERS)
        assert "│ Count r in strawberry" in talk.say("/trace")
        assert "│ 17 + 25" in talk.say("/trace 1")
        assert "no turn 7; this chat has turns 1 to 2" in talk.say("/trace 7")

    def test_retry_replaces_the_last_answer(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say("/retry")
        assert [turn.asked.question for turn in talk.chat.turns] == [SUM]
        assert len(talk.history.turns(talk.chat.session or 0)) == 1

    def test_undo_removes_the_last_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say(LETTERS)
        assert f"removed: {LETTERS}" in talk.say("/undo")
        assert [turn.asked.question for turn in talk.history.turns(talk.chat.session or 0)] == [SUM]
        talk.say("/undo")
        assert "this chat has no question yet" in talk.say("/undo")

    def test_edit_replaces_the_last_question(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.say("/edit")
        assert talk.view.draft == SUM
        talk.say(LETTERS)
        assert [turn.asked.question for turn in talk.chat.turns] == [LETTERS]

    def test_a_file_is_attached_to_the_next_message_only(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "my notes.txt").write_text("17 apples\n")
        printed = talk.say(f"/file {tmp_path}/my notes.txt")
        assert "my notes.txt will be attached to the next message (9 characters)" in printed
        talk.say("How many?")
        talk.say("And now?")
        assert [[file.content for file in turn.asked.files] for turn in talk.chat.turns] == [["17 apples"], []]
        assert "cannot be read" in " ".join(talk.say(f"/file {tmp_path}/nothing").split())

    def test_copy_sends_the_text_to_the_terminal(self, talk: Talk) -> None:
        talk.say(SUM)
        for command, text in (("/copy", talk.chat.turns[0].answer), ("/copy trace", talk.chat.turns[0].thinking)):
            talk.say(command)
            assert b64decode(talk.view.codes[-1][7:-1]).decode() == text
        assert "turn 1 has no code block" in talk.say("/copy code")

    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("temp", "0.3", "eleven"),
            ("top-p", "0.5", "0"),
            ("max-tokens", "12", "-1"),
            ("seed", "7", "x"),
            ("ctx", "512", "0"),
            ("reserve", "300", "-1"),
            ("loop-guard", "off", "maybe"),
            ("speculate", "lookup", "on"),
        ],
    )
    def test_settings_are_changed_or_refused(self, talk: Talk, name: str, good: str, bad: str) -> None:
        assert f"{name} {good}" in talk.say(f"/set {name} {good}")
        assert f"{name} {good}" in talk.say("/set")
        assert f"{name}: {bad!r} is not" in talk.say(f"/set {name} {bad}")
        assert f"{name} {good}" in talk.say("/set")

    def test_a_context_longer_than_the_model_was_trained_for_is_refused(self, talk: Talk) -> None:
        assert "ctx: 99,999 is too long; the model was trained for 2,048 tokens" in talk.say("/set ctx 99999")
        assert "ctx 1024" in talk.say("/set")

    def test_a_system_prompt_is_warned_about_once(self, talk: Talk) -> None:
        assert "R1 was not trained with a system prompt" in talk.say("/system Be brief.")
        assert "R1 was not trained" not in talk.say("/system Be very brief.")
        talk.say(SUM)
        assert talk.chat.turns[0].asked.system == "Be very brief."
        talk.say("/system off")
        assert "system prompt: none" in talk.say("/system")

    def test_context_lists_the_tokens_of_each_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.settle()
        printed = talk.say("/context")
        used = talk.chat.model.used
        total = f"{used:,} of 1,024 tokens used, {1024 - used:,} left (the model was trained for 2,048)"
        assert total in printed
        assert f"{talk.chat.model.turn_tokens[0]:>7,}  {SUM}" in printed

    def test_trim_removes_turns_from_the_context_but_not_from_the_history(self, talk: Talk) -> None:
        for question in (SUM, LETTERS, "What is 4711 - 815?"):
            talk.say(question)
        talk.settle()
        assert "the model no longer sees 2 of 3 turns" in talk.say("/trim 2")
        talk.settle()
        assert (len(talk.chat.turns.for_prompt(talk.chat.next.replaces)), len(talk.chat.turns)) == (1, 3)
        assert [turn.trimmed for turn in talk.history.turns(talk.chat.session or 0)] == [True, True, False]
        assert "only the last turn is in the context" in talk.say("/trim")

    def test_sessions_are_listed_loaded_and_named(self, talk: Talk) -> None:
        talk.say(SUM)
        first = talk.chat.session
        talk.say("/title Sums")
        talk.say("/clear")
        assert (talk.chat.session, talk.chat.turns) == (None, [])
        talk.say(LETTERS)
        assert talk.chat.session != first
        assert "  1 turn  Sums" in talk.say("/history")
        assert "17 + 25 = 42" in talk.say(f"/load {first}")
        assert talk.chat.session == first
        assert "no chat 99; /history lists the chats" in talk.say("/load 99")

    def test_on_a_narrow_screen_each_chat_of_the_list_takes_two_lines(self, talk: Talk, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            say(history, None, "Does dry wood float on cold water for a year?")
        talk.view.style.width = 40
        title, details, *_ = talk.say("/history").split("\n")
        assert title == "  1  Does dry wood float on cold water…"
        assert re.fullmatch(r" {5}\d{4}-\d\d-\d\d \d\d:\d\d, 1 turn", details)

    def test_export_writes_a_file_with_or_without_the_thinking(self, talk: Talk, tmp_path: Path) -> None:
        talk.say(SUM)
        talk.say(f"/export {tmp_path}/a.md")
        assert "17 + 25" in (tmp_path / "a.md").read_text()
        assert "<details>" not in (tmp_path / "a.md").read_text()
        talk.say(f"/export {tmp_path}/b.json --with-thinking")
        (turn,) = json.loads((tmp_path / "b.json").read_text())["turns"]
        assert turn["thinking"] == talk.chat.turns[0].thinking
        assert "already exists" in " ".join(talk.say(f"/export {tmp_path}/a.md").split())

    def test_stats_are_about_the_last_turn(self, talk: Talk) -> None:
        talk.say(SUM)
        words = talk.say("/stats").split()
        assert {"prefill", "decode", "first", "memory", "resident"} <= set(words)

    def test_stats_say_what_came_of_drafts(self, talk: Talk) -> None:
        talk.say("/set speculate off")
        talk.say(SUM)
        assert "drafts" not in talk.say("/stats")
        talk.say("/set speculate auto")
        talk.say(LETTERS)
        figures = r"[\d,]+ of [\d,]+ guess(es)? right, [\d.]+ tokens a pass"
        assert re.search(rf"\ndrafts       (none|{figures})", talk.say("/stats"))

    def test_a_draft_model_cannot_be_wanted_later(self, talk: Talk) -> None:
        assert "there is no draft model; start r1 with --draft MODEL" in talk.say("/set speculate draft")

    def test_a_missing_model_is_reported_and_the_present_one_stays(self, talk: Talk) -> None:
        assert "missing.gguf is not here" in talk.say("/model missing.gguf")
        assert "17 + 25 = 42" in talk.say(SUM)

    def test_quit_ends_the_chat(self, talk: Talk) -> None:
        talk.say("/quit")
        assert talk.view.left

    def test_an_unknown_command_suggests_a_similar_one(self, talk: Talk) -> None:
        assert "unknown command /exprt; did you mean /export?" in talk.say("/exprt")

    def test_a_path_is_a_message(self, talk: Talk) -> None:
        talk.say("/etc/passwd is what?")
        assert talk.chat.turns[0].asked.question == "/etc/passwd is what?"

    def test_a_command_that_changes_the_conversation_waits_for_the_reply(self, talk: Talk) -> None:
        talk.chat.submit(SUM)
        talk.chat.submit("/undo")
        assert talk.chat.queue == ["/undo"]
        talk.until(lambda: not talk.chat.busy and not talk.chat.queue)
        assert talk.chat.turns == []

    def test_a_damaged_model_is_reported_and_the_present_one_stays(self, talk: Talk, tiny_path: Path) -> None:
        damaged = tiny_path.with_name("damaged.gguf")
        damaged.write_bytes(b"GGUF" + bytes(100))
        try:
            talk.say("/model damaged.gguf")
            talk.until(lambda: talk.chat.model.ready is not None)
        finally:
            damaged.unlink()
        assert "damaged.gguf" in talk.view.printed
        assert "17 + 25 = 42" in talk.say(SUM)
        assert talk.chat.turns[0].asked.model == "Q8_0.gguf"

    def test_file_off_removes_the_attachment(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("a")
        talk.say(f"/file {tmp_path}/a.txt")
        talk.say("/file off")
        talk.say(SUM)
        assert talk.chat.turns[0].asked.files == ()

    def test_a_file_too_large_for_any_context_is_not_read(self, talk: Talk, tmp_path: Path) -> None:
        with (tmp_path / "big.txt").open("wb") as file:
            file.truncate(1 << 40)
        said = " ".join(talk.say(f"/file {tmp_path}/big.txt").split())
        assert "the prompt has 1.1 TB, and 2,048 tokens of context hold at most" in said
        assert "not a regular file" in " ".join(talk.say("/file /dev/zero").split())

    def test_a_retry_that_cannot_begin_keeps_the_old_answer(self, talk: Talk) -> None:
        talk.say(SUM)
        talk.chat.settings = Settings(temp=0, seed=1, threads=1, ctx=16)
        talk.say("/retry")
        assert [turn.answer for turn in talk.chat.turns] == [SUM_ANSWER]
        assert len(talk.history.turns(talk.chat.session or 0)) == 1

    def test_showing_the_thinking_prints_the_last_trace_if_it_was_hidden(self, talk: Talk) -> None:
        talk.say(SUM)
        assert "│ 17 + 25" in talk.say("/think show")
        talk.say("/think hide")
        assert "│" not in talk.say("/think show")

    def test_the_only_code_block_has_no_second(self, open_talk: OpenTalk, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            one, _ = say(history, None, "Code?", "```\nls\n```")
            two, _ = say(history, None, "Code?", "```\nls\n```\n\n```\ncat\n```")
        talk = open_talk(session=one)
        for number in ("2", "0", "x"):
            assert "the last answer has only one code block" in talk.say(f"/copy code {number}")
        talk.say(f"/load {two}")
        assert "the last answer has code blocks 1 to 2" in talk.say("/copy code 3")
        talk.say("/copy code 2")
        assert b64decode(talk.view.codes[-1][7:-1]).decode() == "cat"

    def test_trim_refuses_a_number_that_would_leave_no_turn(self, talk: Talk) -> None:
        for question in (SUM, LETTERS):
            talk.say(question)
        assert "/trim can drop only 1 turn here; the last one stays" in talk.say("/trim 2")
        assert "/trim can drop only 1 turn here" in talk.say("/trim x")

    def test_help_about_one_command(self, talk: Talk) -> None:
        for command in ("/help set", "/help /set"):
            printed = talk.say(command)
            assert printed.startswith(
                "/set [NAME VALUE]\n  change temp, top-p, max-tokens, reserve, seed, ctx, loop-guard or speculate\n"
            )
            assert "\n  temp        0 to 10; 0: always the most likely token\n" in printed
        assert "/quit" in talk.say("/help exit")
        assert "unknown command /setx; did you mean /set?" in talk.say("/help setx")

    @pytest.mark.parametrize("command", [command.name for command in COMMANDS])
    def test_help_about_each_command_has_its_usage_and_fits_40_columns(self, command: str) -> None:
        found = COMMANDS.require(command)
        printed = command_help(found, Style(40, colour=False))
        assert " ".join(printed.split()).startswith(f"{found.usage} {found.help}")
        assert max(map(len, printed.split("\n"))) < 40

    def test_a_setting_without_a_value_shows_it(self, talk: Talk) -> None:
        assert talk.say("/set seed") == "seed 1\n\n"
        assert talk.say("/set ctx") == "ctx 1024\n\n"
        assert "usage: /set" in talk.say("/set colour")

    @pytest.mark.parametrize(
        ("setting", "says"),
        [
            ("ctx 1", "ctx: '1' is not a whole number from 64 to"),
            ("ctx 63", "ctx: '63' is not a whole number from 64 to"),
            ("ctx -1", "ctx: '-1' is not"),
            ("max-tokens 0", "max-tokens: '0' is not"),
            ("top-p 0", "top-p: '0' is not"),
            ("temp 99", "temp: '99' is not"),
            ("temp nan", "temp: 'nan' is not"),
            ("seed -1", "seed: '-1' is not"),
            ("reserve 9e9", "reserve: '9e9' is not"),
            ("loop-guard 2", "loop-guard: '2' is not on or off"),
        ],
    )
    def test_values_with_which_no_message_could_be_answered_are_refused(
        self, talk: Talk, setting: str, says: str
    ) -> None:
        before = talk.chat.settings
        assert says in talk.say(f"/set {setting}")
        assert talk.chat.settings == before

    def test_a_budget_is_set_shown_and_kept_to(self, talk: Talk) -> None:
        assert talk.say("/budget") == "no budget: the model thinks as long as it needs\n\n"
        assert talk.say("/budget 3") == "budget 3 tokens\n\n"
        assert "stopped at the budget" in talk.say(LETTERS)
        assert talk.say("/effort low") == "budget 1,024 tokens (low)\n\n"
        assert talk.say("/budget").startswith("budget 1,024 tokens")
        assert "stopped at the budget" not in talk.say(LETTERS)
        assert "usage: /budget N" in talk.say("/budget much")
        assert talk.chat.settings.effort == "low"

    def test_votes_are_set_shown_and_removed(self, open_talk: OpenTalk) -> None:
        talk = open_talk(replace(SETTINGS, temp=1.0))
        assert talk.say("/votes") == "no votes: each message gets one reply\n\n"
        assert talk.say("/votes 4").startswith("votes: up to 4 replies to a message, and the answer that")
        assert " votes for 3" in talk.say(LETTERS)
        assert "all votes are the same; use /votes off first" in talk.say("/set temp 0")
        assert "usage: /votes K" in talk.say("/votes some")
        assert talk.chat.settings.votes == 4
        assert talk.say("/votes off") == "no votes: each message gets one reply\n\n"
        assert talk.say("/set temp 0") == "temp 0.0\n\n"
        assert "all votes are the same; raise it first" in talk.say("/votes 4")
        assert talk.chat.settings.votes is None

    def test_the_levels_of_the_budget_in_its_help_are_those_in_force(self, talk: Talk) -> None:
        """The help of a command is text; the table of levels is elsewhere."""
        rows = dict(re.findall(r"^  ([a-z]+) {2,}([0-9,]+) tokens$", talk.say("/help budget"), re.MULTILINE))
        assert rows == {name: f"{tokens:,}" for name, tokens in EFFORTS.items() if tokens}

    def test_answers_have_the_form_that_was_set_until_it_is_removed(self, talk: Talk) -> None:
        assert talk.say("/format") == "no format: answers are free text\n\n"
        assert talk.say("/format choices maybe,never") == "format: one of maybe, never; /format off removes it\n\n"
        for _ in range(2):
            talk.say(SUM)
        assert talk.say("/format").startswith("format: one of maybe, never;")
        assert talk.say("/format off") == "no format: answers are free text\n\n"
        talk.say(SUM)
        stored = talk.history.turns(talk.chat.session or 0)
        assert [turn.asked.form for turn in stored] == ["one of maybe, never"] * 2 + [None]
        assert [turn.answer in {"maybe", "never"} for turn in stored] == [True, True, False]
        assert stored[0].thinking.startswith("17 + 25")

    def test_json_by_a_schema_is_shown_as_it_is(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "my sum.json").write_text(
            '{"type": "object", "properties": {"*s*": {"const": "_4_"}}, '
            '"required": ["*s*"], "additionalProperties": false}'
        )
        talk.say(f"/format schema {tmp_path}/my sum.json")
        printed = talk.say(SUM)
        assert json.loads(talk.chat.turns[0].answer) == {"*s*": "_4_"}
        assert f"\n{talk.chat.turns[0].answer}\n" in printed

    def test_a_grammar_and_an_expression(self, talk: Talk, tmp_path: Path) -> None:
        (tmp_path / "odd.gbnf").write_text('root ::= "seven" | "nine"\n')
        assert "format: text by the grammar odd.gbnf" in talk.say(f"/format grammar {tmp_path}/odd.gbnf")
        talk.say(SUM)
        talk.say("/format regex [xyz]{3}")
        talk.say(SUM)
        odd, letters = (turn.answer for turn in talk.chat.turns)
        assert odd in {"seven", "nine"}
        assert re.fullmatch("[xyz]{3}", letters)

    @pytest.mark.parametrize(
        ("argument", "says"),
        [
            ("yes,no", "usage: /format schema FILE|JSON, choices A,B, regex RE, grammar FILE or off"),
            ("choices", "usage: /format schema"),
            ("off now", "usage: /format schema"),
            ("choices yes,,no", "a choice is empty"),
            ("regex [", "regular expression"),
            ("schema nowhere.json", "nowhere.json"),
            ("schema {", "JSON"),
            ("grammar nowhere.gbnf", "nowhere.gbnf"),
        ],
    )
    def test_what_is_no_form_is_refused_and_the_present_one_stays(self, talk: Talk, argument: str, says: str) -> None:
        talk.say("/format choices yes,no")
        assert says in " ".join(talk.say(f"/format {argument}").split())
        assert talk.say("/format").startswith("format: one of yes, no;")

    def test_an_answer_that_has_not_the_form_after_all_is_warned_about(self, talk: Talk) -> None:
        talk.say("/format choices yes,no")
        form = talk.chat.next.form
        assert form is not None
        talk.chat.next.form = replace(form, _find_problem=lambda answer: f"{answer} is none of the choices")
        talk.say(SUM)
        assert f"{talk.chat.turns[0].answer} is none of the choices; /retry to ask again\n" in talk.view.printed

    def test_sessions_is_history(self, talk: Talk) -> None:
        assert talk.say("/sessions") == talk.say("/history") == "no chats yet\n\n"

    @pytest.mark.parametrize("command", ["/quit", "/exit", "/bye"])
    def test_there_are_several_words_for_quit(self, talk: Talk, command: str) -> None:
        talk.say(command)
        assert talk.view.left

    def test_an_export_overwrites_a_file_only_with_force(self, talk: Talk, tmp_path: Path) -> None:
        talk.say(SUM)
        target = tmp_path / "my chat.md"
        target.write_text("mine")
        assert "choose another name, or add --force" in " ".join(talk.say(f"/export {target}").split())
        assert target.read_text() == "mine"
        for argument in (f"{target} --force", f"--force {target}", f"{target} --with-thinking --force"):
            target.write_text("mine")
            assert "written to" in talk.say(f"/export {argument}")
            assert ("<details>" in target.read_text()) == ("--with-thinking" in argument)

    def test_loading_a_chat_of_another_model_says_so(self, talk: Talk, tiny_path: Path, tmp_path: Path) -> None:
        other = tiny_path.with_name("other.gguf")
        other.symlink_to(tiny_path)
        try:
            with History.open(tmp_path / "history.db") as history:
                here, _ = say(history, None, asked("Code?", model="other.gguf"))
                gone, _ = say(history, None, asked("Code?", model="gone.gguf"))
                same, _ = say(history, None, asked("Code?", model="Q8_0.gguf"))
            printed = " ".join(talk.say(f"/load {here}").split())
            assert printed.endswith(
                "this chat used other.gguf, and continues with Q8_0.gguf; /model other.gguf switches back"
            )
            printed = " ".join(talk.say(f"/load {gone}").split())
            assert printed.endswith("continues with Q8_0.gguf; gone.gguf is no longer on this machine")
            assert "this chat used" not in talk.say(f"/load {same}")
        finally:
            other.unlink()

    def test_figures_of_another_model_are_named_or_left_out(self, talk: Talk, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            other, _ = say(history, None, asked("Code?", model="other.gguf"))
        talk.say(f"/load {other}")
        assert "model        other.gguf (turn 1)" in talk.say("/stats")
        assert talk.chat.model.decode_tps is None
        talk.say(SUM)
        assert talk.chat.model.decode_tps
        assert "model  " not in talk.say("/stats")

    def test_a_model_that_is_loaded_is_not_loaded_again(self, talk: Talk) -> None:
        assert talk.say("/model Q8_0.gguf") == "the model is already Q8_0.gguf\n\n"
        assert talk.chat.model.loading is None

    def test_a_title_is_one_short_line_without_control_characters(self, talk: Talk) -> None:
        talk.say(SUM)
        assert "title: a[2J b" in talk.say("/title a\x1b[2J\n b ")
        assert "a title has at most 200 characters; this one has 5,000" in talk.say(f"/title {'c' * 5000}")
        listed = talk.say("/history")
        assert listed.strip().split("\n")[0].endswith("  1 turn  a[2J b")
        talk.say(f"/title {'c' * 200}")
        first, *_ = talk.say("/history").strip().split("\n")
        assert first.endswith(f"  1 turn  {'c' * 41}…")

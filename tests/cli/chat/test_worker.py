"""`r1.chat.worker`: the thread that runs llama.cpp, with the real model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from r1.chat import worker
from r1.chat.vote_job import VoteOver
from r1.chat.worker import Failed, Loading, Noted, Ready, Warmed, Worker, WorkerEvent
from r1.engine.events import Answer, Finished, Prefill, Thinking, Thought
from r1.engine.prompt import Turn
from r1.evaluate.polling import Polling
from r1.fit.planner import DraftFile
from r1.kv_store.kv_folder import KvFolder
from r1.loaded_model import LoadedModel
from r1.settings import Settings
from r1_quantize.errors import ModelNotFound

SETTINGS = Settings(temp=0, seed=1, threads=1, ctx=1024)
QUESTION, NEXT = "What is 17 + 25?", "What is 4711 - 815?"
EVENT_TIMEOUT_S = 60.0


class Desk:
    """A worker and its events."""

    def __init__(self, path: Path, kv_folder: KvFolder | None = None, draft: DraftFile | None = None) -> None:
        self.events: SimpleQueue[WorkerEvent] = SimpleQueue()
        self.worker = Worker(self.events.put, kv_folder=kv_folder, find_draft=lambda: draft)
        self.path = path

    def open(self) -> list[WorkerEvent]:
        self.worker.open(lambda: (self.path.name, self.path), SETTINGS)
        return self.until(lambda event: isinstance(event, Ready | Failed))

    def until(self, ends: Callable[[WorkerEvent], bool]) -> list[WorkerEvent]:
        """The events up to the first for which `ends` is true."""
        seen = [self.events.get(timeout=EVENT_TIMEOUT_S)]
        while not ends(seen[-1]):
            seen.append(self.events.get(timeout=EVENT_TIMEOUT_S))
        return seen

    def ask(self, prompt: str, turns: list[Turn], settings: Settings = SETTINGS) -> list[WorkerEvent]:
        self.worker.ask(prompt, turns, settings)
        return self.until(lambda event: isinstance(event, Finished | Failed))

    def warm(self, turns: list[Turn], settings: Settings = SETTINGS, owner: str = "") -> None:
        """Warms the cache to the end."""
        self.worker.warm(turns, settings, owner)
        self.until(lambda event: isinstance(event, Warmed) and event.done == sum(event.turn_tokens))


@pytest.fixture
def desk(tiny_path: Path) -> Iterator[Desk]:
    made = Desk(tiny_path)
    made.open()
    yield made
    made.worker.close()


def said(events: list[WorkerEvent]) -> tuple[str, str]:
    """The trace and the answer."""
    thinking = "".join(event.text for event in events if isinstance(event, Thinking))
    return thinking, "".join(event.text for event in events if isinstance(event, Answer))


def kept(events: list[WorkerEvent]) -> tuple[int, int]:
    """The tokens of the prompt that were in the cache already, and all of its tokens."""
    prefills = [event for event in events if isinstance(event, Prefill)]
    return prefills[0].done, prefills[0].total


class TestDraftModel:
    """It is loaded with the first model, and with later ones for which it can draft."""

    def test_drafts_for_the_model(self, large_path: Path, tiny_path: Path) -> None:
        desk = Desk(large_path, draft=DraftFile(tiny_path, "tiny"))
        (ready,) = [event for event in desk.open() if isinstance(event, Ready)]
        assert ", and a draft model with the same: " in ready.plan
        finished = desk.ask(QUESTION, [], replace(SETTINGS, speculate="draft"))[-1]
        assert isinstance(finished, Finished)
        assert finished.drafted is not None
        assert finished.drafted.accepted > 0
        desk.worker.close()

    def test_one_with_another_vocabulary_is_an_error_at_the_start_and_later_left_out(
        self, endless_path: Path, tiny_path: Path, large_path: Path
    ) -> None:
        desk = Desk(large_path, draft=DraftFile(endless_path, "endless"))
        failed = desk.open()[-1]
        assert isinstance(failed, Failed)
        assert str(failed.error).startswith("endless cannot draft for large.gguf: ")
        desk.path = tiny_path
        events = desk.open()
        assert isinstance(events[-1], Ready)
        (note,) = [event for event in events if isinstance(event, Noted)]
        assert note.grave
        assert note.text.startswith("endless cannot draft for Q8_0.gguf: ")
        assert note.text.endswith("; answering without a draft model")
        assert isinstance(desk.ask(QUESTION, [])[-1], Finished)
        desk.worker.close()

    def test_one_that_has_gone_leaves_the_present_model_loaded(self, large_path: Path, tiny_path: Path) -> None:
        found = iter([DraftFile(tiny_path, "tiny")])

        def find_draft() -> DraftFile:
            for draft in found:
                return draft
            raise ModelNotFound("tiny is not here")

        desk = Desk(large_path)
        desk.worker.close()
        desk.worker = Worker(desk.events.put, find_draft=find_draft)
        desk.open()
        desk.path = tiny_path
        ready = desk.open()[-1]
        assert isinstance(ready, Ready)
        assert ready.reference == "large.gguf"
        failed = desk.until(lambda event: isinstance(event, Failed))[-1]
        assert isinstance(failed, Failed)
        assert str(failed.error) == "tiny is not here"
        assert isinstance(desk.ask(QUESTION, [])[-1], Finished)
        desk.worker.close()


class TestOpen:
    """A model is loaded, or the reason for the failure is reported."""

    def test_progress_and_result_are_reported(self, tiny_path: Path) -> None:
        desk = Desk(tiny_path)
        events = desk.open()
        desk.worker.close()
        assert isinstance(events[0], Loading)
        ready = events[-1]
        assert isinstance(ready, Ready)
        assert (ready.reference, ready.ctx, ready.trained) == (tiny_path.name, 1024, 2048)
        assert ready.plan.startswith("1,024 tokens of context in an F16 cache: ")

    def test_after_a_file_that_is_not_a_model_the_next_one_loads(self, tiny_path: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(b"not a model")
        desk = Desk(tmp_path / "bad.gguf")
        failed = desk.open()[-1]
        assert isinstance(failed, Failed)
        assert "not a GGUF" in str(failed.error)
        desk.path = tiny_path
        assert isinstance(desk.open()[-1], Ready)
        desk.worker.close()

    def test_without_a_model_a_question_fails(self, tiny_path: Path) -> None:
        desk = Desk(tiny_path)
        failed = desk.ask("hi", [])[-1]
        desk.worker.close()
        assert isinstance(failed, Failed)
        assert failed.asking


class TestWarm:
    """Between turns the cache is filled with the start of the next prompt, which then has little left to decode."""

    def test_the_next_turn_finds_the_conversation_in_the_cache(self, desk: Desk) -> None:
        _, answer = said(desk.ask(QUESTION, []))
        turns = [Turn(QUESTION, "", answer)]
        desk.warm(turns)
        done, total = kept(desk.ask(NEXT, turns))
        with LoadedModel(desk.path, SETTINGS) as fresh:
            assert done == sum(map(len, fresh.segments(turns)))
        assert total > done

    @pytest.mark.parametrize("system", [None, "Be brief."])
    def test_the_answer_is_the_same_as_with_a_fresh_cache(self, desk: Desk, system: str | None) -> None:
        wild = Settings(temp=2.5, top_p=1, seed=5, threads=1, ctx=1024, max_tokens=80, system=system)
        turns: list[Turn] = []
        for question in (QUESTION, NEXT, "Which is larger, 9.11 or 9.9?"):
            warm = said(desk.ask(question, turns, wild))
            with LoadedModel(desk.path, wild) as fresh:
                assert warm == said(list(fresh.ask(question, turns).events))
            turns.append(Turn(question, *warm))
            desk.warm(turns, wild)

    def test_after_an_undo_the_answer_is_the_same_as_with_a_fresh_cache(self, desk: Desk) -> None:
        wild = Settings(temp=2.5, top_p=1, seed=5, threads=1, ctx=1024, max_tokens=80)
        turns = [Turn(QUESTION, "", "42" * 60), Turn(NEXT, "", "3896")]
        desk.warm(turns, wild)
        desk.worker.rewarm(turns[:1], wild, "")
        again = said(desk.ask(NEXT, turns[:1], wild))
        with LoadedModel(desk.path, wild) as fresh:
            assert again == said(list(fresh.ask(NEXT, turns[:1]).events))

    def test_a_question_interrupts_warming(self, desk: Desk) -> None:
        long = [Turn("word " * 150, "", "word " * 10)]
        desk.worker.warm(long, SETTINGS)
        assert isinstance(desk.ask(QUESTION, [])[-1], Finished)


class TestStop:
    """Ctrl-C ends the latest job, running or still waiting, and no later one."""

    def test_while_it_answers(self, endless_path: Path) -> None:
        desk = Desk(endless_path)
        desk.open()
        desk.worker.ask(QUESTION, [], Settings(temp=0, seed=1, threads=1, ctx=8192))
        desk.until(lambda event: isinstance(event, Answer))
        desk.worker.stop()
        end = desk.until(lambda event: isinstance(event, Finished))[-1]
        assert isinstance(end, Finished)
        assert end.reason == "interrupted"
        assert isinstance(desk.ask(QUESTION, [], Settings(temp=0, seed=1, threads=1, ctx=1024))[-1], Finished)
        desk.worker.close()

    def test_a_question_stopped_before_it_began_does_not_stop_the_loading(self, tiny_path: Path) -> None:
        desk = Desk(tiny_path)
        desk.worker.open(lambda: (desk.path.name, desk.path), SETTINGS)
        desk.worker.ask(QUESTION, [], SETTINGS)
        desk.worker.stop()
        events = desk.until(lambda event: isinstance(event, Finished))
        assert any(isinstance(event, Ready) for event in events)
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "interrupted"
        end = desk.ask(QUESTION, [])[-1]
        desk.worker.close()
        assert isinstance(end, Finished)
        assert end.reason == "stop"


class TestAnswerNow:
    """Esc ends the thinking; pressed before it began, as soon as it begins."""

    def test_the_answer_begins(self, desk: Desk) -> None:
        desk.worker.ask(QUESTION, [], SETTINGS)
        desk.worker.answer_now()
        events = desk.until(lambda event: isinstance(event, Finished))
        thought = next(event for event in events if isinstance(event, Thought))
        assert thought.tokens < 5
        assert said(events)[1]


class TestVote:
    """With votes, several replies share the cache; the model stays, and so does the length of its context."""

    VOTES = Settings(temp=1.0, seed=1, threads=1, ctx=1024, votes=4)

    def test_single_replies_before_and_after_are_as_ever(self, desk: Desk) -> None:
        plain = desk.ask(QUESTION, [])
        voted = desk.ask(QUESTION, [], self.VOTES)
        assert [type(event) for event in voted if isinstance(event, Ready | VoteOver)] == [Ready, VoteOver]
        assert not any(isinstance(event, Loading) for event in voted)
        assert said(voted)[1] == said(plain)[1]  # it is a sum of few digits
        again = desk.ask(QUESTION, [])
        assert said(again) == said(plain)
        assert not any(isinstance(event, Ready) for event in again)

    def test_one_polling_serves_all_votes_of_a_model(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """It holds the process that compares formulas, whose start takes a second or two."""
        made: list[str] = []
        begin, end = Polling.__init__, Polling.close

        def observed(polling: Polling, *arguments: Any) -> None:
            made.append("begun")
            begin(polling, *arguments)

        def closed(polling: Polling) -> None:
            made.append("closed")
            end(polling)

        monkeypatch.setattr(Polling, "__init__", observed)
        monkeypatch.setattr(Polling, "close", closed)
        for question in (QUESTION, NEXT):
            desk.ask(question, [], self.VOTES)
        assert made == ["begun"]
        desk.worker.close()
        assert made == ["begun", "closed"]

    def test_the_cache_is_warmed_for_a_vote(self, desk: Desk) -> None:
        turns = [Turn(QUESTION, "", "42 " * 40)]
        desk.warm(turns, self.VOTES)
        voted = desk.ask(NEXT, turns, self.VOTES)
        assert not any(isinstance(event, Ready) for event in voted)  # the cache is the one that was warmed
        assert isinstance(voted[-1], Finished)
        assert voted[-1].reason == "stop"

    def test_stopped_before_it_began_it_ends_like_a_reply(self, desk: Desk) -> None:
        desk.worker.warm([Turn("word " * 150, "", "word " * 10)], SETTINGS)
        desk.worker.ask(QUESTION, [], self.VOTES)
        desk.worker.stop()
        end = desk.until(lambda event: isinstance(event, Finished | Failed))[-1]
        assert isinstance(end, Finished)
        assert end.reason == "interrupted"
        assert said(desk.ask(QUESTION, []))[1]

    def test_an_answer_now_is_for_the_samples_that_run(self, desk: Desk) -> None:
        desk.worker.ask(QUESTION, [], self.VOTES)
        desk.worker.answer_now()
        end = desk.until(lambda event: isinstance(event, Finished))[-1]
        assert isinstance(end, Finished)
        assert end.thinking_end == "user"


LONG = [Turn("How many words are in this line? " * 15, "", "Seven.")]


class TestKept:
    """The KV cache of a conversation is on disk when the chat ends, or has been idle for a while."""

    def desk(self, path: Path, folder: KvFolder) -> Desk:
        desk = Desk(path, folder)
        desk.open()
        return desk

    def test_a_closed_chat_goes_on_without_a_prefill(self, tiny_path: Path, folder: KvFolder) -> None:
        desk = self.desk(tiny_path, folder)
        first = said(desk.ask(NEXT, LONG))
        desk.warm(LONG)
        desk.worker.close(LONG, "chat 1")
        assert len(folder.files(owner="chat 1")) == len(folder.files()) == 1
        desk = self.desk(tiny_path, folder)
        desk.worker.warm(LONG, SETTINGS)
        warmed = desk.until(lambda event: isinstance(event, Warmed) and event.done == sum(event.turn_tokens))
        assert [event.done for event in warmed if isinstance(event, Warmed)] == [0, sum(warmed_tokens(warmed))]
        events = desk.ask(NEXT, LONG)
        assert kept(events)[0] == sum(warmed_tokens(warmed))
        assert said(events) == first
        desk.worker.close()

    def test_an_idle_chat_is_kept_while_it_is_open(
        self, tiny_path: Path, folder: KvFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "_IDLE_S", 0.1)
        desk = self.desk(tiny_path, folder)
        desk.worker.warm(LONG, SETTINGS, "chat 1")
        deadline = time.monotonic() + EVENT_TIMEOUT_S
        while not folder.files() and time.monotonic() < deadline:
            time.sleep(0.02)
        (file,) = folder.files(owner="chat 1")
        desk.ask(NEXT, LONG)  # it still answers
        desk.worker.close()
        assert [one.path for one in folder.files()] == [file.path]

    def test_a_chat_that_gives_way_to_another_one_is_kept(self, tiny_path: Path, folder: KvFolder) -> None:
        desk = self.desk(tiny_path, folder)
        desk.warm(LONG, owner="chat 1")
        assert folder.files() == []
        desk.warm(LONG[:2], owner="chat 2")
        assert len(folder.files(owner="chat 1")) == len(folder.files()) == 1
        desk.worker.close()

    def test_a_chat_that_was_cleared_is_kept_when_nothing_follows(self, tiny_path: Path, folder: KvFolder) -> None:
        desk = self.desk(tiny_path, folder)
        desk.warm(LONG, owner="chat 1")
        desk.worker.close()
        assert len(folder.files(owner="chat 1")) == 1

    def test_a_chat_is_kept_for_the_model_that_another_one_replaces(self, tiny_path: Path, folder: KvFolder) -> None:
        desk = self.desk(tiny_path, folder)
        desk.warm(LONG, owner="chat 1")
        desk.open()
        assert len(folder.files(owner="chat 1")) == 1
        desk.worker.close()

    @pytest.mark.parametrize("owner", ["", "chat 1"])
    def test_a_chat_that_is_not_saved_or_has_no_turns_is_not_kept(
        self, tiny_path: Path, folder: KvFolder, owner: str
    ) -> None:
        desk = self.desk(tiny_path, folder)
        desk.warm(LONG)
        desk.worker.close([] if owner else LONG, owner)
        assert folder.files() == []

    def test_a_disk_that_fails_is_noted_once(
        self, tiny_path: Path, tmp_path: Path, folder: KvFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(worker, "_IDLE_S", 0.05)
        (tmp_path / "file").touch()
        desk = self.desk(tiny_path, KvFolder(tmp_path / "file" / "kv-cache", 10**9, min_free=0))
        desk.worker.warm(LONG, SETTINGS, "chat 1")
        noted = desk.until(lambda event: isinstance(event, Noted))[-1]
        assert isinstance(noted, Noted)
        assert noted.text.startswith("the KV cache was not kept on disk: ")
        assert desk.worker.close(LONG, "chat 1") == ""
        assert not any(isinstance(desk.events.get(), Noted) for _ in range(desk.events.qsize()))

    def test_a_disk_that_fails_at_the_end_is_said_then(self, tiny_path: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        desk = self.desk(tiny_path, KvFolder(tmp_path / "file" / "kv-cache", 10**9, min_free=0))
        desk.warm(LONG, owner="chat 1")
        assert desk.worker.close(LONG, "chat 1").startswith("the KV cache was not kept on disk: ")

    def test_an_error_in_keeping_does_not_end_the_chat(
        self, tiny_path: Path, folder: KvFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(worker, "_IDLE_S", 0.05)
        monkeypatch.setattr(LoadedModel, "keep", fail)
        desk = self.desk(tiny_path, folder)
        desk.worker.warm(LONG, SETTINGS, "chat 1")
        noted = desk.until(lambda event: isinstance(event, Noted))[-1]
        assert noted == Noted("the KV cache was not kept on disk: ZeroDivisionError")
        assert said(desk.ask(NEXT, LONG))[0]
        desk.worker.close(LONG, "chat 1")


def warmed_tokens(events: list[WorkerEvent]) -> tuple[int, ...]:
    return next(event.turn_tokens for event in events if isinstance(event, Warmed))

"""`r1.engine.scheduler`: many requests over one KV cache, each as if it were alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from r1.engine.context import Context, ContextParams, Part, PromptTooLong
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking
from r1.engine.llama import llama
from r1.engine.model import Model
from r1.engine.prompt import Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.machine.cores import Threads
from r1_quantize.errors import R1Error
from scripts.schedules import Alone, Case, hasty
from tests.cli.engine.test_context import logits

QUESTIONS = ("What is 17 + 25?", "How many r's are in strawberry?", "What is larger, 9.11 or 9.8?", "What is 903 - 78?")


def several(model: Model, sequences: int, length: int = 512, cells: int | None = None) -> Context:
    params = ContextParams(
        length, threads=Threads.of(1), sequences=sequences, cells=sequences * length if cells is None else cells
    )
    return Context(model, params)


@pytest.fixture
def three(model: Model) -> Iterator[Context]:
    """Room for three sequences."""
    with several(model, 3) as context:
        yield context


def prompt(model: Model, question: str) -> list[list[int]]:
    return prompt_segments(model, Conversation(), question)


def greedy(model: Model, question: str, max_tokens: int = 1000) -> Request:
    return Request(prompt(model, question), SamplingParams(0, max_tokens=max_tokens))


def run(scheduler: Scheduler) -> dict[Request, list[Event]]:
    """Steps until all requests are done; their events."""
    events: dict[Request, list[Event]] = {}
    while not scheduler.is_idle:
        for request, event in scheduler.step():
            events.setdefault(request, []).append(event)
    return events


def used(events: list[Event]) -> int:
    """Tokens of a reply and its prompt."""
    assert isinstance(events[-1], Finished)
    usage = events[-1].usage
    return usage.prompt_tokens + usage.generated_tokens


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Thinking | Answer))


def reason(events: list[Event]) -> str:
    assert isinstance(events[-1], Finished)
    return events[-1].reason


class TestSteps:
    """All requests advance, and none waits for another."""

    def test_replies_are_those_of_one_at_a_time(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        requests = [greedy(model, question) for question in QUESTIONS]
        for request in requests:
            scheduler.submit(request)
        together = run(scheduler)
        with several(model, 1) as alone:
            for request, question in zip(requests, QUESTIONS, strict=True):
                assert text(together[request]) == text(list(generate(Scheduler(alone), greedy(model, question))))

    def test_a_long_prompt_does_not_keep_a_reply_waiting(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        short, long = greedy(model, QUESTIONS[0]), greedy(model, "word " * 90)
        scheduler.submit(short)
        while scheduler.running == 0 or scheduler.step()[-1][1] == Prefill(0, len(short.prompt[0])):
            scheduler.step()
        scheduler.submit(long)
        kinds = [[type(event) for _, event in scheduler.step()] for _ in range(4)]
        assert kinds[0] == [Prefill]  # it begins
        assert all(Prefill in step for step in kinds[1:])
        assert sum(Thinking in step for step in kinds[1:]) >= 2

    def test_more_requests_than_sequences_wait_first_come_first_served(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        requests = [greedy(model, QUESTIONS[0], max_tokens=3 + number) for number in range(7)]
        for request in requests:
            scheduler.submit(request)
        begun: list[Request] = []
        while not scheduler.is_idle:
            begun += [request for request, event in scheduler.step() if isinstance(event, Prefill)]
            assert scheduler.running <= 3
        assert list(dict.fromkeys(begun)) == requests

    def test_each_request_has_its_own_seed(self, model: Model, three: Context) -> None:
        def wild(seed: int) -> Request:
            return Request(prompt(model, QUESTIONS[0]), SamplingParams(3.0, top_p=1.0, seed=seed, max_tokens=40))

        scheduler = Scheduler(three)
        requests = [wild(1), wild(2), wild(1)]
        for request in requests:
            scheduler.submit(request)
        first, second, same = (text(events) for events in run(scheduler).values())
        assert first == same != second

    def test_a_prompt_that_is_too_long_is_refused(self, model: Model, three: Context) -> None:
        with pytest.raises(PromptTooLong, match="holds 512"):
            Scheduler(three).submit(greedy(model, "word " * 200))


class Batches:
    """The tokens of each part of the batches that a context decodes, by the number of its sequence."""

    def __init__(self, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded: list[dict[int, int]] = []
        decode = context.decode

        def noted(parts: Sequence[Part]) -> list[int]:
            self.decoded.append({part.sequence.number: len(part.tokens) for part in parts})
            return decode(parts)

        monkeypatch.setattr(context, "decode", noted)


class TestPrefillTogether:
    """The tokens of several prompts fill a batch."""

    def test_a_batch_is_filled_and_prompts_end_in_the_order_they_came(
        self, model: Model, three: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler, batches = Scheduler(three), Batches(three, monkeypatch)
        requests = [greedy(model, f"{size} " * size, max_tokens=1) for size in (40, 45, 20)]
        lengths = [request.prompt_tokens for request in requests]
        for request in requests:
            scheduler.submit(request)
        events = run(scheduler)
        full = three.rows.several
        assert [sum(batch.values()) for batch in batches.decoded] == [
            *[full] * (sum(lengths) // full),
            sum(lengths) % full,
        ]
        assert max(map(len, batches.decoded)) > 1
        assert [list(events).index(request) for request in requests] == [0, 1, 2]
        assert all(
            event[-2:] and used(event) == length + 1 for event, length in zip(events.values(), lengths, strict=True)
        )

    def test_replies_take_their_rows_from_the_same_batch(
        self, model: Model, three: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler = Scheduler(three)
        scheduler.submit(greedy(model, QUESTIONS[0]))
        while not scheduler.running or scheduler.occupancy.free_cells > three.cells - 20:
            scheduler.step()
        batches = Batches(three, monkeypatch)
        scheduler.submit(greedy(model, "word " * 90, max_tokens=1))
        while scheduler.running + scheduler.waiting > 1:
            scheduler.step()
        assert [sum(batch.values()) for batch in batches.decoded[:2]] == [three.rows.beside] * 2
        assert all(batch[0] == 1 for batch in batches.decoded)

    def test_alone_a_prompt_is_cut_where_it_always_is(
        self, model: Model, three: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler, batches = Scheduler(three), Batches(three, monkeypatch)
        bos = model.control.bos
        scheduler.submit(Request([[bos, *range(33, 43)], [*range(43, 63)], [*range(33, 93)] * 5], SamplingParams(0)))
        while len(batches.decoded) < 3 and scheduler.step():
            pass
        assert batches.decoded == [{0: 11}, {0: 20}, {0: 300}]

    def test_a_prompt_that_begins_the_same_way_waits_for_what_it_can_share(
        self, model: Model, three: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheduler, batches = Scheduler(three), Batches(three, monkeypatch)
        bos, shared = model.control.bos, [*range(33, 93)] * 3
        first, second = ([[bos, *shared], [token] * 30] for token in (40, 41))
        other = [[bos, *range(50, 80)]]
        for segments in (first, second, other):
            scheduler.submit(Request(segments, SamplingParams(0, max_tokens=1)))
        run(scheduler)
        assert sum(sum(batch.values()) for batch in batches.decoded) == 181 + 30 + 30 + 31  # `shared` once

    def test_cells_that_prompts_on_the_way_still_need_are_not_given_to_another(self, model: Model) -> None:
        with several(model, 3, length=256, cells=330) as context:
            scheduler = Scheduler(context)
            requests = [greedy(model, f"{number} " * 60, max_tokens=20) for number in range(3)]
            for request in requests:
                scheduler.submit(request)
            scheduler.step()
            assert (scheduler.running, scheduler.waiting) == (2, 1)
            assert [reason(events) for events in run(scheduler).values()] == ["length"] * 3


class TestCancelling:
    """Takes effect at the next step, and frees the cells."""

    def test_of_a_running_request_frees_its_cells(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        kept, dropped = greedy(model, QUESTIONS[0]), greedy(model, QUESTIONS[1])
        scheduler.submit(kept)
        scheduler.submit(dropped)
        while scheduler.running < 2 or scheduler.waiting:
            scheduler.step()
        for _ in range(5):
            scheduler.step()
        assert scheduler.occupancy == (three.free_cells, three.cells, 2, 3)
        dropped.cancel()
        ends = [event for request, event in scheduler.step() if request is dropped]
        assert reason(ends) == "interrupted"
        assert scheduler.running == 1
        assert scheduler.free_cells == three.cells - len(three.sequences[0])
        assert reason(run(scheduler)[kept]) == "stop"

    def test_of_a_waiting_request_answers_it_with_nothing(self, model: Model) -> None:
        with several(model, 1) as context:
            scheduler = Scheduler(context)
            first, second = greedy(model, QUESTIONS[0]), greedy(model, QUESTIONS[1])
            scheduler.submit(first)
            scheduler.submit(second)
            second.cancel()
            events = run(scheduler)
        assert [reason(events[first]), reason(events[second])] == ["stop", "interrupted"]
        assert len(events[second]) == 1


class TestLostRequests:
    """Dropped without events."""

    def test_a_failure_of_llama_cpp_ends_those_that_run_and_not_those_that_wait(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(_: Sequence[Part]) -> list[int]:
            raise R1Error("llama.cpp cannot decode")

        with several(model, 1) as context:
            scheduler = Scheduler(context)
            lost, waiting = greedy(model, QUESTIONS[0]), greedy(model, QUESTIONS[1])
            scheduler.submit(lost)
            scheduler.submit(waiting)
            scheduler.step()
            with monkeypatch.context() as patched:
                patched.setattr(context, "decode", failing)
                with pytest.raises(R1Error):
                    scheduler.step()
            events = run(scheduler)
        assert events.keys() == {waiting}
        assert reason(events[waiting]) == "stop"

    def test_of_those_that_wait_only_the_one_that_is_meant_goes(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        kept, dropped = greedy(model, QUESTIONS[0]), greedy(model, QUESTIONS[1])
        scheduler.submit(kept)
        scheduler.submit(dropped)
        scheduler.discard(dropped)
        assert run(scheduler).keys() == {kept}


class TestInterrupts:
    """An exception in the middle of a step leaves nothing half done."""

    def test_a_failing_callback_ends_all_replies_and_spoils_no_later_one(self, model: Model, three: Context) -> None:
        def failing() -> bool:
            raise MemoryError

        scheduler = Scheduler(three)
        for request in (greedy(model, QUESTIONS[1]), Request(prompt(model, QUESTIONS[3]), answer_now=failing)):
            scheduler.submit(request)
        with pytest.raises(MemoryError):
            run(scheduler)
        assert scheduler.is_idle
        assert text(list(generate(scheduler, greedy(model, QUESTIONS[0])))).endswith("\\boxed{42}\\)")

    def test_an_interrupt_after_a_batch_does_not_spoil_the_sequence(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        native = llama()
        decode = native.llama_decode

        def interrupted(*arguments: object) -> int:
            decode(*arguments)
            raise KeyboardInterrupt

        with several(model, 1) as context:
            scheduler = Scheduler(context)
            with monkeypatch.context() as patched:
                patched.setattr(native, "llama_decode", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    list(generate(scheduler, greedy(model, QUESTIONS[0])))
            assert reason(list(generate(scheduler, greedy(model, QUESTIONS[0])))) == "stop"

    def test_a_reply_that_is_dropped_after_the_context_was_closed_touches_nothing(self, model: Model) -> None:
        context = several(model, 1)
        events = generate(Scheduler(context), greedy(model, QUESTIONS[0]))
        while not isinstance(next(events), Thinking):
            pass
        context.close()
        with pytest.raises(R1Error, match="the context is closed"):
            list(events)

    def test_closing_drops_all_requests(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        for question in QUESTIONS:
            scheduler.submit(greedy(model, question))
        for _ in range(6):
            scheduler.step()
        scheduler.close()
        assert scheduler.is_idle
        assert scheduler.free_cells == three.cells


class TestWarming:
    """The start of a later prompt is prefilled meanwhile."""

    def test_a_request_that_needs_the_sequence_ends_it(self, model: Model) -> None:
        with several(model, 2) as context:
            scheduler = Scheduler(context)
            warming = scheduler.warm([[model.control.bos, *model.tokenize("word " * 80)]])
            next(warming), next(warming)
            requests = [greedy(model, question) for question in QUESTIONS[:2]]
            for request in requests:
                scheduler.submit(request)
            while scheduler.running < 2:
                scheduler.step()
            assert len(list(warming)) <= 1
            events = run(scheduler)
        with several(model, 1) as alone:
            for request, question in zip(requests, QUESTIONS, strict=False):
                complete = text(list(generate(Scheduler(alone), greedy(model, question))))
                assert complete.endswith(text(events[request]))

    def test_does_nothing_while_no_sequence_is_idle(self, model: Model) -> None:
        with several(model, 1) as context:
            scheduler = Scheduler(context)
            scheduler.submit(greedy(model, QUESTIONS[0]))
            scheduler.step()
            assert list(scheduler.warm([[1, 2, 3]])) == []
            assert reason(run(scheduler).popitem()[1]) == "stop"


class TestSharedPrefixes:
    """What another sequence holds is not computed again."""

    def test_samples_of_one_prompt_share_its_cells_and_its_logits(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        tokens = len(prompt(model, QUESTIONS[0])[0])
        for seed in range(3):
            scheduler.submit(Request(prompt(model, QUESTIONS[0]), SamplingParams(2.0, seed=seed, max_tokens=1)))
        decoded = count_decoded(three)
        events = run(scheduler)
        assert decoded["tokens"] == tokens
        assert three.cells - three.free_cells == tokens
        prefills = [[event.done for event in each if isinstance(event, Prefill)] for each in events.values()]
        assert prefills == [[0, tokens], [tokens], [tokens]]

    def test_a_later_sample_of_a_prompt_needs_no_prefill(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        first = list(generate(scheduler, greedy(model, QUESTIONS[0])))
        decoded = count_decoded(three)
        again = list(generate(scheduler, greedy(model, QUESTIONS[0])))
        assert text(again) == text(first)
        usage = again[-1].usage if isinstance(again[-1], Finished) else None
        assert usage is not None
        assert decoded["tokens"] == usage.thinking_tokens + usage.answer_tokens

    def test_the_logits_after_a_shared_prefix_are_those_without_one(self, model: Model, three: Context) -> None:
        start = [model.control.bos, *model.tokenize("Count to ten, then to twelve, and so on. " * 4)][:128]
        ends = [model.tokenize("Now go on"), model.tokenize("Now stop there")]
        first, second, _ = three.sequences
        for _ in three.prefill(first, [[*start], ends[0]]):
            pass
        second.copy(first, 128)
        assert list(three.prefill(second, [[*start], ends[1]])) == [128, 128 + len(ends[1])]
        shared = logits(three)
        with several(model, 1) as fresh:
            for _ in fresh.prefill(fresh.sequences[0], [[*start], ends[1]]):
                pass
            assert shared == logits(fresh)

    def test_the_longest_prefix_wins_and_the_least_recently_used_goes(self, model: Model, three: Context) -> None:
        scheduler = Scheduler(three)
        start = [model.control.bos, *model.tokenize("word " * 60)][:256]
        longer, shorter = [start, [1, 2]], [start[:128], [3]]
        for segments in (longer, shorter, [[7, 8]], [[9, 10]]):
            list(generate(scheduler, Request(segments, SamplingParams(0, max_tokens=1))))
        assert [sequence.tokens for sequence in three.sequences] == [[9, 10], [*shorter[0], 3], [7, 8]]
        done = [
            event.done
            for event in generate(scheduler, Request([start[:128], [4]], SamplingParams(0, max_tokens=1)))
            if isinstance(event, Prefill)
        ]
        assert done == [128, 129]


class TestFullCache:
    """The sequences share fewer cells than they could fill."""

    def test_the_youngest_reply_waits_until_another_has_ended_and_goes_on_then(self, endless_path: Path) -> None:
        with Model(endless_path) as endless:
            requests = [greedy(endless, f"{number}", max_tokens=120) for number in range(3)]
            with several(endless, 3, length=200, cells=1000) as roomy:
                scheduler = Scheduler(roomy)
                for request in requests:
                    scheduler.submit(request)
                undisturbed = run(scheduler)
            again = [greedy(endless, f"{number}", max_tokens=120) for number in range(3)]
            with several(endless, 3, length=200, cells=200) as context:
                scheduler = hasty(context)
                for request in again:
                    scheduler.submit(request)
                events = run(scheduler)
                assert scheduler.free_cells == context.cells
        assert [reason(events[request]) for request in again] == ["length"] * 3
        assert [text(events[one]) for one in again] == [text(undisturbed[other]) for other in requests]

    def test_a_reply_that_cannot_go_on_even_alone_ends(self, endless_path: Path) -> None:
        with Model(endless_path) as endless, several(endless, 3, length=200, cells=200) as context:
            scheduler = hasty(context)
            requests = [greedy(endless, f"{number}", max_tokens=500) for number in range(3)]
            for request in requests:
                scheduler.submit(request)
            events = run(scheduler)
            assert [reason(events[request]) for request in requests] == ["context"] * 3
            assert {used(events[request]) - 1 for request in requests} == {
                context.length
            }  # the last token is not decoded

    @pytest.mark.parametrize("is_dropped", [True, False])
    def test_a_paused_reply_can_be_cancelled_and_dropped(self, endless_path: Path, is_dropped: bool) -> None:
        with Model(endless_path) as endless, several(endless, 2, length=200, cells=200) as context:
            scheduler = hasty(context)
            requests = [greedy(endless, f"{number}", max_tokens=180) for number in range(2)]
            for request in requests:
                scheduler.submit(request)
            events: dict[Request, list[Event]] = {request: [] for request in requests}
            while not scheduler.waiting or not events[requests[1]]:
                for request, event in scheduler.step():
                    events[request].append(event)
            if is_dropped:
                scheduler.discard(requests[1])
                assert not scheduler.waiting
                return
            requests[1].cancel()
            (ended,) = [event for request, event in scheduler.step() if isinstance(event, Finished)]
            assert (ended.reason, ended.usage.prompt_tokens) == ("interrupted", requests[1].prompt_tokens)
            assert ended.usage.thinking_tokens > 0

    def test_a_prompt_for_which_cells_run_out_waits_again(self, endless_path: Path) -> None:
        with Model(endless_path) as endless, several(endless, 2, length=300, cells=384) as context:
            scheduler = Scheduler(context)
            first, second = greedy(endless, "1", max_tokens=250), greedy(endless, "x" * 195, max_tokens=2)
            scheduler.submit(first)
            while context.free_cells > 150:
                scheduler.step()
            scheduler._has_room_for = lambda *_: True  # type: ignore[method-assign]
            third = greedy(endless, "3", max_tokens=2)
            scheduler.submit(second)
            events = [event for _ in range(2) for event in scheduler.step()]
            scheduler.submit(third)
            while not scheduler.is_idle:
                events += scheduler.step()
        ends = [(request, event.reason) for request, event in events if isinstance(event, Finished)]
        assert ends == [(first, "length"), (second, "length"), (third, "length")]  # it keeps its place in the queue
        prefills = [event for request, event in events if request is second and isinstance(event, Prefill)]
        done = [event.done for event in prefills]
        assert done[:2] == [0, 127], "the first part of it is prefilled"
        assert done[2:].count(0) > 0, "and it starts over"

    def test_a_request_waits_until_there_is_room_for_it(self, endless_path: Path) -> None:
        with Model(endless_path) as endless, several(endless, 3, length=300, cells=300) as context:
            scheduler = Scheduler(context)
            requests = [greedy(endless, f"{number}", max_tokens=100) for number in range(3)]
            for request in requests:
                scheduler.submit(request)
            most = 0
            events: dict[Request, list[Event]] = {}
            while not scheduler.is_idle:
                for request, event in scheduler.step():
                    events.setdefault(request, []).append(event)
                most = max(most, scheduler.running)
        assert [reason(events[request]) for request in requests] == ["length"] * 3  # none had to end
        assert most == 2

    def test_idle_sequences_give_their_cells_the_least_recently_used_first(self, endless_path: Path) -> None:
        with Model(endless_path) as endless, several(endless, 3, length=300, cells=300) as context:
            scheduler = Scheduler(context)
            for question in ("a" * 60, "b" * 60):
                list(generate(scheduler, greedy(endless, question, max_tokens=1)))
            older, newer = context.sequences[:2]
            list(generate(scheduler, greedy(endless, "c" * 60, max_tokens=130)))
        assert (len(older), len(newer) > 60) == (0, True)


class Restless:
    """A `Pace` with one thread more or less for every batch."""

    def __init__(self) -> None:
        self.number = 1

    def threads(self) -> Threads:
        self.number = 3 - self.number
        return Threads.of(self.number)

    def measured(self, seconds: float, tokens: int, threads: int) -> None:
        pass


@pytest.mark.parametrize(("keeps_threads", "varies"), [(True, False), (False, True)])
def test_a_reply_says_whether_its_number_of_threads_stayed_the_same(
    model: Model, *, keeps_threads: bool, varies: bool
) -> None:
    with several(model, 1) as context:
        request = Request(prompt(model, QUESTIONS[0]), SamplingParams(0, max_tokens=6), keeps_threads=keeps_threads)
        *_, end = generate(Scheduler(context, Restless()), request)
    assert isinstance(end, Finished)
    assert (end.threads is None) is varies


def count_decoded(context: Context) -> Counter[str]:
    """Counts the tokens that are decoded from now on."""
    counts: Counter[str] = Counter()
    decode = context.decode

    def counted(parts: Sequence[Part]) -> list[int]:
        counts["tokens"] += sum(len(part.tokens) for part in parts)
        return decode(parts)

    context.decode = counted  # type: ignore[method-assign]
    return counts


def test_random_schedules_change_no_text_and_lose_no_cell(model: Model) -> None:
    alone = Alone(model)
    counts: Counter[str] = Counter()
    for number in range(7, 21):
        case = Case(model, alone, seed=number)
        case.run()
        counts += case.counts
    assert {"ended: stop", "ended: length", "ended: interrupted", "a reply is paused"} <= counts.keys()
    assert {"stopped before a batch", "stopped in a batch", "cancelled while waiting", "went back"} <= counts.keys()
    assert counts["drafted tokens that were right"] > 500

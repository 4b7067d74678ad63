"""Jobs, leases, and the line in which they wait."""

from __future__ import annotations

from concurrent.futures import CancelledError

import pytest

from r1.engine.events import Finished
from r1.engine.request import Request
from r1.serve.jobs import Failed, Job, JobEvent, Lease, Line, Party


def job(
    model: str, sink: list[JobEvent] | None = None, *, lease: Lease | None = None, party: Party | None = None
) -> Job:
    events = [] if sink is None else sink
    return Job(model, lambda _: Request([]), events.extend, lease, party or Party())


def drained(line: Line) -> list[Job | Lease]:
    """All, in their order."""
    found: list[Job | Lease] = []
    while (first := line.first) is not None:
        found.append(first)
        line.remove(first)
    return found


def test_first_come_first_served_whatever_the_model() -> None:
    line, added = Line(), [job("a"), Lease("b"), job("a"), Lease("a"), job("c")]
    for each in added:
        line.add(each)
    assert len(line) == 5
    assert drained(line) == added
    assert line.first is None


def test_under_a_lease_one_passes_those_for_other_models_and_no_others() -> None:
    line, lease = Line(), Lease("a")
    own, alike, other, behind = job("a", lease=lease), job("a"), job("b"), job("a")
    second = job("a", lease=lease)
    for each in (alike, other, behind, own, second):
        line.add(each)
    assert drained(line) == [alike, own, second, other, behind]


def test_a_lease_passes_jobs_for_its_model() -> None:
    """It needs no sequence; whoever counts tokens need not wait until a reply has ended."""
    line, lease = Line(), Lease("a")
    waiting = [job("a"), job("a")]
    for each in (*waiting, lease):
        line.add(each)
    assert drained(line) == [lease, *waiting]


def test_under_a_lease_with_nobody_else() -> None:
    line, lease = Line(), Lease("a")
    both = [job("a", lease=lease), job("a", lease=lease)]
    for each in both:
        line.add(each)
    assert drained(line) == both


def test_what_is_not_in_the_line_is_not_taken_out_of_it() -> None:
    line = Line()
    line.add(job("a"))
    assert not line.remove(job("a"))
    assert len(line) == 1


def test_the_cancelled_are_dropped_and_told() -> None:
    line, events, lease = Line(), list[JobEvent](), Lease("a")
    gone, stays = job("a", events), job("a")
    for each in (gone, lease, stays):
        line.add(each)
    gone.cancel()
    lease.cancel()
    line.drop_cancelled()
    [end] = events
    assert isinstance(end, Finished)
    assert (end.reason, end.usage.generated_tokens) == ("interrupted", 0)
    with pytest.raises(CancelledError):
        lease.granted.result(0)
    assert drained(line) == [stays]


def test_a_request_that_was_made_is_cancelled_with_its_job() -> None:
    made = job("a")
    made.made = Request([])
    made.cancel()
    assert made.made.is_cancelled


class TestFailing:
    """Each gets the error, and is out of the line."""

    def test_at_the_end_what_has_begun_is_only_ended(self) -> None:
        line, events, lease, rest = Line(), list[JobEvent](), Lease("a"), list[JobEvent]()
        for each in (
            job("a", events),
            lease,
            job("a", rest, party=Party(has_begun=True)),
            job("a", rest, lease=Lease("a")),
        ):
            line.add(each)
        line.end(ValueError("the end"))
        [failed] = events
        assert isinstance(failed, Failed)
        assert [isinstance(event, Finished) for event in rest] == [True, True]
        assert (str(failed.error), str(lease.granted.exception(0)), len(line)) == ("the end", "the end", 0)

    def test_those_of_whom_nothing_has_begun(self) -> None:
        line, lease, begun = Line(), Lease("a"), Party(has_begun=True)
        unbegun, rest, sample = job("a"), job("a", party=begun), job("a", lease=lease)
        for each in (unbegun, rest, sample, Lease("b")):
            line.add(each)
        line.fail_unbegun(ValueError("the end"))
        assert drained(line) == [rest, sample]

    def test_those_under_leases(self) -> None:
        line, lease = Line(), Lease("a")
        sample, other, wish = job("a", lease=lease), job("a"), Lease("a")
        for each in (other, sample, wish):
            line.add(each)
        line.fail_leased(ValueError("lost"))
        assert drained(line) == [wish, other]

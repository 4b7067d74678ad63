"""`r1.serve.handover`: calls from other threads, made on an event loop's."""

from __future__ import annotations

import asyncio
import threading
from unittest.mock import Mock

from r1.serve.handover import Handover, handover_to


def test_every_call_is_made_once_in_its_order_on_the_loops_thread() -> None:
    async def receive() -> tuple[list[int], set[int]]:
        handover, made, threads = handover_to(asyncio.get_running_loop()), list[int](), set[int]()

        def note(number: int) -> None:
            made.append(number)
            threads.add(threading.get_ident())

        def send() -> None:
            for number in range(5000):
                handover.call(lambda number=number: note(number))  # type: ignore[misc]

        sender = threading.Thread(target=send)
        sender.start()
        while len(made) < 5000:
            await asyncio.sleep(0)
        sender.join()
        return made, threads

    made, threads = asyncio.run(receive())
    assert made == list(range(5000))
    assert threads == {threading.get_ident()}


def test_many_calls_wake_the_loop_once() -> None:
    loop = Mock(is_closed=lambda: False)
    handover, made = Handover(loop), list[int]()
    for number in range(3):
        handover.call(lambda number=number: made.append(number))  # type: ignore[misc]
    ((wake,),) = [call.args for call in loop.call_soon_threadsafe.mock_calls]
    wake()
    assert made == [0, 1, 2]
    handover.call(lambda: made.append(3))
    assert len(loop.call_soon_threadsafe.mock_calls) == 2


def test_calls_for_a_closed_loop_are_dropped() -> None:
    loop = asyncio.new_event_loop()
    handover = Handover(loop)
    loop.close()
    handover.call(lambda: None)


def test_a_loop_has_one() -> None:
    async def both() -> bool:
        loop = asyncio.get_running_loop()
        return handover_to(loop) is handover_to(loop)

    assert asyncio.run(both())

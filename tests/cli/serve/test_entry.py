"""The entry of the request that a task answers."""

from __future__ import annotations

import asyncio

from r1.serve.entry import Entry, current


def test_each_request_has_its_own() -> None:
    """Also in the threads that work for it."""

    async def answer(path: str) -> tuple[Entry | None, Entry | None]:
        entry = Entry("GET", path)
        current.set(entry)
        await asyncio.sleep(0)
        return current.get(), await asyncio.to_thread(current.get)

    async def both() -> list[tuple[Entry | None, Entry | None]]:
        return await asyncio.gather(answer("/a"), answer("/b"))

    seen = asyncio.run(both())
    assert [[entry and entry.path for entry in pair] for pair in seen] == [["/a", "/a"], ["/b", "/b"]]
    assert current.get() is None

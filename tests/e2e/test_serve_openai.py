"""The official `openai` package against a server, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.serving import Server

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def test_chat(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "17+25?"}])
    assert "42" in made.choices[0].message.content

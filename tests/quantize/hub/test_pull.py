"""`r1_quantize.hub.pull`: files that an earlier run left are verified before they are used."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.events import Fetched, PipelineEvent, Rejected
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_plan import PullOptions
from r1_quantize.hub.request import request_for
from r1_quantize.store.store import Store
from tests.fakes.hub import COMMIT, Hub
from tests.quantize.conftest import Serve

REPO = "some-owner/Some-Model-GGUF"
NAME = "Some-Model-Q8_0.gguf"


class TestLeftovers:
    """A GGUF that was downloaded, but not moved into the store, is used if it is undamaged."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store(tmp_path / "home", catalog.load())

    @pytest.fixture
    def served(self, serve: Serve, tmp_path: Path, gguf: Path) -> Hub:
        (tmp_path / "hub" / REPO).mkdir(parents=True)
        (tmp_path / "hub" / REPO / NAME).write_bytes(gguf.read_bytes())
        return serve()

    def pull(self, store: Store, data: bytes) -> list[PipelineEvent]:
        """Pull with these bytes of the GGUF in the staging folder."""
        folder = store.checkpoint_folder(REPO, COMMIT)
        folder.mkdir(parents=True)
        (folder / NAME).write_bytes(data)
        return list(pull(store, request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False), PullOptions()))

    def check(self, store: Store, gguf: Path) -> None:
        (model,) = store.models()
        assert model.path.read_bytes() == gguf.read_bytes()
        assert model.manifest is not None
        assert model.manifest.sha256 == sha256(gguf.read_bytes()).hexdigest()
        assert store.checkpoint_folders(REPO) == []

    def test_undamaged(self, store: Store, served: Hub, gguf: Path) -> None:
        events = self.pull(store, gguf.read_bytes())
        self.check(store, gguf)
        assert not [event for event in events if isinstance(event, Fetched | Rejected)]

    def test_damaged(self, store: Store, served: Hub, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "r1_quantize.hub.headers._GGUF_PREFIX_BYTES", 1 << 16
        )  # the file is smaller than the usual prefix
        data = gguf.read_bytes()
        events = self.pull(store, data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:])
        self.check(store, gguf)
        assert [event.file for event in events if isinstance(event, Rejected)] == [NAME]

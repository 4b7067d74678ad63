"""`r1.engine.build`: what llama.cpp says of itself."""

from __future__ import annotations

from importlib.metadata import version

from r1.engine.build import binding_version, build, parse_system_info

CUDA = (
    "CUDA : ARCHS = 500,610,700 | USE_GRAPHS = 1 | PEER_MAX_BATCH_SIZE = 128 | "
    "CPU : SSE3 = 1 | AVX2 = 1 | LLAMAFILE = 1 | OPENMP = 1 | "
)  # as ggml-cuda's and ggml-cpu's ggml_backend_get_features have it


class TestSystemInfo:
    """One line: backends, and what each has."""

    def test_has_a_part_for_each_backend(self) -> None:
        found = parse_system_info(CUDA)
        assert list(found) == ["CUDA", "CPU"]
        assert found["CUDA"]["ARCHS"] == "500,610,700"
        assert found["CPU"] == {"SSE3": "1", "AVX2": "1", "LLAMAFILE": "1", "OPENMP": "1"}

    def test_a_backend_with_nothing_to_say_is_one_too(self) -> None:
        assert parse_system_info("Metal : CPU : NEON = 1 | ") == {"Metal": {}, "CPU": {"NEON": "1"}}

    def test_nonsense_is_nothing(self) -> None:
        assert parse_system_info("") == parse_system_info(" | ||") == {}


class TestBuild:
    """The library that is loaded."""

    def test_knows_the_processor_and_its_versions(self) -> None:
        found = build()
        assert "CPU" in found.backends
        assert int(found.commit, 16) > 0
        assert found.ggml.count(".") == 2

    def test_the_binding_is_the_installed_one(self) -> None:
        assert binding_version() == version("llama-cpp-python")

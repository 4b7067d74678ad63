"""`r1.engine.build`: the features and versions of llama.cpp."""

from __future__ import annotations

from importlib.metadata import version

from r1.engine.build import binding_version, build, parse_system_info

CUDA = (
    "CUDA : ARCHS = 500,610,700 | USE_GRAPHS = 1 | PEER_MAX_BATCH_SIZE = 128 | "
    "CPU : SSE3 = 1 | AVX2 = 1 | LLAMAFILE = 1 | OPENMP = 1 | "
)  # the names that ggml_backend_get_features returns in ggml-cuda and ggml-cpu


class TestSystemInfo:
    """One line with the features of each backend."""

    def test_is_split_by_backend(self) -> None:
        found = parse_system_info(CUDA)
        assert list(found) == ["CUDA", "CPU"]
        assert found["CUDA"]["ARCHS"] == "500,610,700"
        assert found["CPU"] == {"SSE3": "1", "AVX2": "1", "LLAMAFILE": "1", "OPENMP": "1"}

    def test_a_backend_may_have_no_features(self) -> None:
        assert parse_system_info("Metal : CPU : NEON = 1 | ") == {"Metal": {}, "CPU": {"NEON": "1"}}

    def test_invalid_text_has_no_backends(self) -> None:
        assert parse_system_info("") == parse_system_info(" | ||") == {}


class TestBuild:
    """The loaded library."""

    def test_has_the_cpu_backend_and_versions(self) -> None:
        found = build()
        assert "CPU" in found.backends
        assert int(found.commit, 16) > 0
        assert found.ggml.count(".") == 2

    def test_the_binding_is_the_installed_one(self) -> None:
        assert binding_version() == version("llama-cpp-python")

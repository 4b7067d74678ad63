"""`r1.settings`: flags, then environment, then config.toml, then DeepSeek's recommendations."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1.settings import Settings, load
from r1_quantize.errors import UsageError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of config.toml; the file does not exist yet."""
    file = tmp_path / "config.toml"
    monkeypatch.setattr("r1.settings.config_file", lambda: file)
    return file


class TestLoad:
    """A setting has the same name in all three places."""

    def test_defaults_are_deepseeks_recommendations(self, config: Path) -> None:
        assert load({}, {}) == Settings()

    def test_the_config_file_beats_the_default(self, config: Path) -> None:
        config.write_text('temp = 0.5\nthinking = "hide"\n', encoding="utf-8")
        assert load({}, {}) == Settings(temp=0.5, thinking="hide")

    def test_the_environment_beats_the_config_file(self, config: Path) -> None:
        config.write_text("temp = 0.5\n", encoding="utf-8")
        assert load({}, {"R1_TEMP": "0.7", "R1_MAX_TOKENS": "100"}) == Settings(temp=0.7, max_tokens=100)

    def test_a_flag_beats_both(self, config: Path) -> None:
        config.write_text("temp = 0.5\n", encoding="utf-8")
        assert load({"temp": 0.0}, {"R1_TEMP": "0.7"}) == Settings(temp=0.0)

    def test_an_empty_variable_counts_as_not_set(self, config: Path) -> None:
        assert load({}, {"R1_MODEL": ""}) == Settings()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("temp", float("nan")),
            ("temp", -0.1),
            ("top_p", 0),
            ("top_p", 1.01),
            ("seed", -1),
            ("seed", 2**32 - 1),
            ("max_tokens", 0),
            ("ctx", 0),
            ("threads", 0),
            ("threads", 2**32 + 1),
            ("system", "caf\udce9"),
            ("gpu_layers", -1),
            ("kv_type", "q9"),
            ("thinking", "loud"),
            ("model", ""),
        ],
    )
    def test_an_error_names_the_flag_that_is_out_of_range(self, config: Path, name: str, value: object) -> None:
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}: "):
            load({name: value}, {})

    def test_a_config_file_that_is_a_folder_is_an_error(self, config: Path) -> None:
        config.mkdir()
        with pytest.raises(UsageError, match=r"config\.toml"):
            load({}, {})

    def test_an_error_names_the_bad_variable(self, config: Path) -> None:
        with pytest.raises(UsageError, match="R1_THREADS: 'many' is not a whole number"):
            load({}, {"R1_THREADS": "many"})

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("temp = [", "cannot be read as TOML"),
            ("tmep = 0.6", "unknown setting 'tmep'; known: model, thinking"),
            ('temp = "hot"', "temp: 'hot' is not a number"),
            ("threads = true", "threads: True is not a whole number"),
            ("threads = 1.5", "threads: 1.5 is not a whole number"),
            ("model = 7", "model: 7 is not a model's name"),
        ],
    )
    def test_an_error_names_the_config_file_and_the_key(self, config: Path, text: str, reason: str) -> None:
        config.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=reason) as caught:
            load({}, {})
        assert str(config) in str(caught.value)

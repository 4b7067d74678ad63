"""`r1.settings`: flags, then environment, then config.toml, then DeepSeek's recommendations."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from r1.engine import request
from r1.settings import Settings, Speculate, changed, config_file, load, overridden
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

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            *[
                (name, "x")
                for name in ("temp", "top_p", "seed", "max_tokens", "ctx", "threads", "effort", "loop_guard")
            ],
            *[
                (name, text)
                for name in ("gpu_layers", "think_budget", "reserve")
                for text in ("1.5", "-1", "abc", "1e3")
            ],
        ],
    )
    def test_text_that_is_no_number_is_refused_alike_in_a_flag_and_a_variable(
        self, config: Path, name: str, text: str
    ) -> None:
        def message(flags: dict[str, str], environ: dict[str, str]) -> str:
            with pytest.raises(UsageError) as caught:
                load(flags, environ)
            return str(caught.value).partition(": ")[2]

        assert message({name: text}, {}) == message({}, {f"R1_{name.upper()}": text})

    @pytest.mark.parametrize(
        ("text", "value"),
        [(text, True) for text in ("1", "true", "Yes", "ON")] + [(text, False) for text in ("0", "FALSE", "no", "off")],
    )
    def test_a_switch_is_set_with_the_usual_words(self, config: Path, text: str, value: bool) -> None:
        assert load({}, {"R1_FORCE": text}) == Settings(force=value)

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            *[("4GB", 4 * 10**9), ("500 mb", 500 * 10**6), ("1.5G", 1_500_000_000), ("20k", 20_000), ("1tb", 10**12)],
            *[("0", 0), ("off", 0), ("OFF", 0), ("123", 123), ("7b", 7)],
        ],
    )
    def test_a_size_has_a_unit(self, config: Path, text: str, size: int) -> None:
        assert load({}, {"R1_CACHE_SIZE": text}).cache_size == size
        config.write_text(f'cache_size = "{text}"\n', encoding="utf-8")
        assert load({}, {}).cache_size == size

    def test_a_size_in_the_config_file_may_be_a_number(self, config: Path) -> None:
        config.write_text("cache_size = 1000000\n", encoding="utf-8")
        assert load({}, {}).cache_size == 1_000_000

    @pytest.mark.parametrize("value", ["-1", "4 PB", "GB", "many", "1e9", "4 G B", "9999 TB", "1.5.5"])
    def test_what_is_no_size_is_refused(self, config: Path, value: str) -> None:
        with pytest.raises(UsageError, match=r"R1_CACHE_SIZE: .* is not a size such as 4GB or 500MB, or off"):
            load({}, {"R1_CACHE_SIZE": value})

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
            *[(name, value) for name in ("think_budget", "reserve") for value in ("", -1, 2**30 + 1, True)],
            *[("effort", value) for value in ("", "some", 0)],
            *[("loop_guard", value) for value in ("", "maybe", 2)],
        ],
    )
    def test_an_error_names_the_flag_that_is_out_of_range(self, config: Path, name: str, value: object) -> None:
        with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}: "):
            load({name: value}, {})

    def test_a_config_file_that_is_a_folder_is_an_error(self, config: Path) -> None:
        config.mkdir()
        with pytest.raises(UsageError, match=r"config\.toml: .*; make it a readable file"):
            load({}, {})

    def test_a_folder_below_a_file_has_no_config_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setattr("r1.settings.config_file", lambda: tmp_path / "file" / "config.toml")
        assert load({}, {}) == Settings()

    @pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
    def test_a_config_file_of_another_user_is_an_error(
        self, config: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
    ) -> None:
        def refuse(*_: object, **__: object) -> str:
            raise error

        monkeypatch.setattr(Path, "read_text", refuse)
        with pytest.raises(UsageError, match=rf"config\.toml: {error.strerror}; .* set HOME to your own home folder$"):
            load({}, {})

    def test_a_byte_order_mark_is_skipped(self, config: Path) -> None:
        config.write_bytes(b"\xef\xbb\xbftemp = 0.5\r\n")
        assert load({}, {}) == Settings(temp=0.5)

    def test_another_encoding_is_an_error(self, config: Path) -> None:
        config.write_bytes("temp = 0.5\n".encode("utf-16"))
        with pytest.raises(UsageError, match=r"config\.toml: not UTF-8 \(byte 1\); save it as UTF-8$"):
            load({}, {})

    @pytest.mark.parametrize(
        ("name", "value", "meant"),
        [
            ("device", "CPU", "cpu"),
            ("device", "Cpu", "cpu"),
            ("device", "GPU", "gpu"),
            ("device", " Auto ", "auto"),
            ("device", "CUDA0,Vulkan1", "cuda0,vulkan1"),
            ("kv_type", "F16", "f16"),
            ("kv_type", "Q8_0", "q8_0"),
            ("kv_type", "IQ4_NL", "iq4_nl"),
            ("thinking", "Hide", "hide"),
            ("keys", "VI", "vi"),
            ("effort", "Low", "low"),
        ],
    )
    def test_words_are_not_case_sensitive(self, config: Path, name: str, value: str, meant: str) -> None:
        """r1 itself prints CPU and F16."""
        assert load({name: value}, {}) == Settings(**{name: meant})
        assert load({}, {f"R1_{name.upper()}": value}) == Settings(**{name: meant})
        config.write_text(f'{name} = "{value}"\n', encoding="utf-8")
        assert load({}, {}) == Settings(**{name: meant})

    def test_an_error_names_the_bad_variable(self, config: Path) -> None:
        with pytest.raises(UsageError, match="R1_THREADS: 'many' is not a whole number"):
            load({}, {"R1_THREADS": "many"})

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("temp = [", "cannot be read as TOML"),
            ("seed = " + "9" * 5000, "cannot be read as TOML"),
            ("seed = " + "[" * 100_000, "cannot be read as TOML"),
            ("temp = inf", "temp: inf is not a number from 0 to 10"),
            ("temp = 2020-01-01", "is not a number"),
            ("[temp]", "is not a number"),
            ('model = "a\\u0000b"\n\0', "cannot be read as TOML"),
            ("tmep = 0.6", "unknown setting 'tmep'; known: model, thinking"),
            ('temp = "hot"', "temp: 'hot' is not a number"),
            ("threads = true", "threads: True is not a whole number"),
            ("threads = 1.5", "threads: 1.5 is not a whole number"),
            ("model = 7", "model: 7 is not a model's name"),
            (
                "think_budget = -1",
                "think_budget: -1 is not a whole number from 0 to .*tokens; 0: no thinking.* or off$",
            ),
            ("think_budget = false", "think_budget: False is not a whole number"),
            ('effort = "huge"', "effort: 'huge' is not one of none, low, medium, high, max$"),
            ("reserve = 0.25", "reserve: 0.25 is not a whole number"),
            ('loop_guard = "maybe"', "loop_guard: 'maybe' is not on or off$"),
            (
                'think_budget = 9\neffort = "low"',
                "think_budget and effort both set how long to think; leave one of them out",
            ),
        ],
    )
    def test_an_error_names_the_config_file_and_the_key(self, config: Path, text: str, reason: str) -> None:
        config.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=reason) as caught:
            load({}, {})
        assert str(config) in str(caught.value)


class TestThinking:
    """A budget and an effort are two ways to say how long to think."""

    @pytest.mark.parametrize("value", ["0", "5", "1073741824"])
    def test_a_budget_is_a_number_of_tokens(self, config: Path, value: str) -> None:
        assert load({"think_budget": value}, {}) == load({}, {"R1_THINK_BUDGET": value})
        config.write_text(f"think_budget = {value}\n", encoding="utf-8")
        assert load({}, {}) == Settings(think_budget=int(value))

    @pytest.mark.parametrize(("value", "meant"), [("on", True), ("off", False), ("true", True), ("0", False)])
    def test_the_loop_guard_is_a_switch(self, config: Path, value: str, meant: bool) -> None:
        assert load({"loop_guard": value}, {}) == load({}, {"R1_LOOP_GUARD": value}) == Settings(loop_guard=meant)
        config.write_text(f"loop_guard = {str(meant).lower()}\n", encoding="utf-8")
        assert load({}, {}) == Settings(loop_guard=meant)

    @pytest.mark.parametrize(
        ("flags", "environ", "file", "in_force"),
        [
            ({"think_budget": "9"}, {"R1_EFFORT": "low"}, 'effort = "high"', Settings(think_budget=9)),
            ({"effort": "low"}, {"R1_THINK_BUDGET": "9"}, "think_budget = 8", Settings(effort="low")),
            ({}, {"R1_THINK_BUDGET": "9"}, 'effort = "high"', Settings(think_budget=9)),
            ({}, {"R1_EFFORT": "low"}, "think_budget = 8", Settings(effort="low")),
            ({"think_budget": "0"}, {"R1_EFFORT": "low"}, "", Settings(think_budget=0)),
            ({"think_budget": "off"}, {"R1_EFFORT": "low"}, "", Settings()),
            ({"effort": "max"}, {"R1_THINK_BUDGET": "9"}, "", Settings(effort="max")),
            ({"effort": "low", "reserve": "0"}, {}, "reserve = 5", Settings(effort="low", reserve=0)),
        ],
    )
    def test_the_one_from_the_stronger_place_counts(
        self, config: Path, flags: dict[str, str], environ: dict[str, str], file: str, in_force: Settings
    ) -> None:
        config.write_text(file, encoding="utf-8")
        assert load(flags, environ) == in_force

    @pytest.mark.parametrize(
        ("flags", "environ", "names"),
        [
            ({"think_budget": "9", "effort": "low"}, {}, "--think-budget and --effort"),
            ({}, {"R1_THINK_BUDGET": "9", "R1_EFFORT": "low"}, "R1_THINK_BUDGET and R1_EFFORT"),
        ],
    )
    def test_both_from_one_place_are_an_error(
        self, config: Path, flags: dict[str, str], environ: dict[str, str], names: str
    ) -> None:
        with pytest.raises(UsageError, match=f"^{names} both set how long to think; leave one of them out$"):
            load(flags, environ)

    def test_an_error_shows_only_the_beginning_of_a_long_value(self, config: Path) -> None:
        with pytest.raises(UsageError) as caught:
            load({"think_budget": "9" * 3000 + "x"}, {})
        assert len(str(caught.value)) < 200


class TestDrafts:
    """A draft model has no use where another way to speculate, or none, is wanted."""

    def test_the_ways_are_those_of_the_engine(self) -> None:
        assert get_args(Speculate) == get_args(request.Speculate)

    @pytest.mark.parametrize(
        ("flags", "environ", "file", "in_force"),
        [
            ({"draft": "a"}, {}, "", Settings(draft="a")),
            ({"speculate": "DRAFT"}, {"R1_DRAFT": "a"}, "", Settings(speculate="draft", draft="a")),
            ({"speculate": "draft"}, {}, 'draft = "a"', Settings(speculate="draft", draft="a")),
            ({"draft": "a"}, {"R1_SPECULATE": "draft"}, "", Settings(speculate="draft", draft="a")),
            ({"speculate": "off"}, {"R1_DRAFT": "a"}, "", Settings(speculate="off")),
            ({}, {"R1_SPECULATE": "lookup"}, 'draft = "a"', Settings(speculate="lookup")),
            ({"draft": "a"}, {}, 'speculate = "off"', Settings(draft="a")),
            ({"draft": "a"}, {"R1_SPECULATE": "lookup"}, 'draft = "b"', Settings(draft="a")),
            ({"speculate": "auto"}, {"R1_DRAFT": "a"}, 'speculate = "off"', Settings(draft="a")),
        ],
    )
    def test_the_one_from_the_stronger_place_counts(
        self, config: Path, flags: dict[str, str], environ: dict[str, str], file: str, in_force: Settings
    ) -> None:
        config.write_text(file, encoding="utf-8")
        assert load(flags, environ) == in_force

    @pytest.mark.parametrize(
        ("flags", "environ", "message"),
        [
            (
                {"speculate": "off", "draft": "a"},
                {},
                "--draft has no effect with --speculate off; leave one of them out",
            ),
            (
                {},
                {"R1_SPECULATE": "lookup", "R1_DRAFT": "a"},
                "R1_DRAFT has no effect with R1_SPECULATE lookup; leave one of them out",
            ),
            ({"speculate": "draft"}, {}, "--speculate draft needs a draft model; name one with --draft MODEL"),
            ({}, {"R1_SPECULATE": "draft"}, "R1_SPECULATE draft needs a draft model; name one with --draft MODEL"),
            ({"draft": ""}, {}, "--draft: '' is not a model's name or the path of a .gguf"),
            ({"speculate": "on"}, {}, "--speculate: 'on' is not one of auto, off, lookup, draft"),
        ],
    )
    def test_what_cannot_be_met_is_refused(
        self, config: Path, flags: dict[str, str], environ: dict[str, str], message: str
    ) -> None:
        with pytest.raises(UsageError) as caught:
            load(flags, environ)
        assert str(caught.value) == message

    def test_later_it_can_only_be_wanted_if_there_is_one(self) -> None:
        assert changed(Settings(draft="a"), "speculate", "draft").speculate == "draft"
        assert changed(Settings(speculate="off"), "speculate", None).speculate == "auto"
        with pytest.raises(UsageError, match="there is no draft model; start r1 with --draft MODEL"):
            changed(Settings(), "speculate", "draft")


class TestChanged:
    """A setting that is changed later, for all replies or for one."""

    def test_a_budget_takes_the_place_of_an_effort_and_the_other_way_round(self) -> None:
        assert changed(Settings(effort="low"), "think-budget", 9) == Settings(think_budget=9)
        assert changed(Settings(think_budget=9), "effort", "Low") == Settings(effort="low")
        assert overridden(Settings(effort="low", seed=4), {"think_budget": 9}) == Settings(think_budget=9, seed=4)

    @pytest.mark.parametrize("value", [None, "off"])
    def test_no_budget_ends_an_effort_too(self, value: str | None) -> None:
        assert changed(Settings(effort="low"), "think_budget", value) == Settings()

    def test_several_are_checked_like_options(self) -> None:
        values = {"seed": 7, "temp": 0, "top_p": 0.5, "max_tokens": 100, "effort": "none"}
        assert overridden(Settings(seed=1, think_budget=3), values) == Settings(
            seed=7, temp=0.0, top_p=0.5, max_tokens=100, effort="none"
        )
        assert overridden(Settings(seed=1, effort="low"), {}) == Settings(seed=1, effort="low")

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"temp": "hot"}, "^\"temp\": 'hot' is not a number from 0 to 10"),
            ({"seed": [1]}, r'^"seed": \[1\] is not a whole number from 0 to 4294967294$'),
            ({"max_tokens": 0}, '^"max_tokens": 0 is not'),
            ({"effort": {}}, '^"effort": {} is not one of none, low, medium, high, max$'),
            ({"effort": "low", "think_budget": 1}, '^"think_budget" and "effort" both set how long to think'),
        ],
    )
    def test_an_error_names_the_key(self, values: dict[str, object], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            overridden(Settings(), values)


class TestConfigFile:
    """Where the file is."""

    def test_is_in_the_folder_of_the_platform(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("platformdirs.user_config_path", lambda *_, **__: tmp_path / "r1")
        assert config_file() == tmp_path / "r1" / "config.toml"

    def test_a_user_without_a_home_folder_has_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """platformdirs raises RuntimeError; older versions return `~/.config`, which must not be read as a name."""

        def refuse(*_: object, **__: object) -> Path:
            raise RuntimeError("could not determine the home directory")

        for answer in (refuse, lambda *_, **__: Path("~/.config/r1")):
            monkeypatch.setattr("platformdirs.user_config_path", answer)
            assert config_file() is None
            assert load({}, {}) == Settings()

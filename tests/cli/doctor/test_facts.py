"""`r1.doctor.facts`: a diagnosis as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from r1.doctor.facts import doctor_facts
from r1.machine.power import Power
from tests.fakes.diagnoses import CUDA, GB, diagnosis, diagnosis_with, votes


class TestDoctorFacts:
    """The diagnosis as an object for scripts."""

    def test_are_json_in_snake_case_with_numbers(self) -> None:
        diagnosed = replace(diagnosis_with(power=Power(True, 50)), unused=[CUDA])
        facts = json.loads(json.dumps(doctor_facts(diagnosed)))
        assert facts["memory"]["total_bytes"] == 16 * GB
        assert facts["memory"]["bandwidth_bytes_per_second"] == 20 * GB
        assert facts["power"] == {"on_battery": True, "percent": 50}
        assert [warning["about"] for warning in facts["warnings"]] == ["gpu", "power"]
        assert facts["unused_gpus"][0]["command"] == facts["warnings"][0]["command"]
        assert facts["recommendation"]["command"] == "r1 pull qwen-1.5b:Q4_K_M"
        assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in keys(facts))

    def test_have_every_checkpoint_in_every_type(self) -> None:
        models = doctor_facts(diagnosis())["models"]
        assert len(models) == 6 * 6
        assert {type(model["tokens_per_second"]) for model in models} == {float}

    def test_models_have_the_published_scores(self) -> None:
        scores = {
            model["name"]: (model["aime_pass1"], model["aime_cons64"]) for model in doctor_facts(diagnosis())["models"]
        }
        assert (scores["qwen-1.5b"], scores["llama-70b"]) == ((28.9, 52.7), (70.0, 86.7))

    def test_votes_in_place_of_an_answer_are_numbers_and_a_command(self) -> None:
        facts = json.loads(json.dumps(doctor_facts(replace(diagnosis(), votes=votes()))))
        assert facts["votes"] == {
            "reference": "qwen-7b:Q4_K_M",
            "votes": 8,
            "instead_of": "qwen-32b:Q4_K_M",
            "estimated_time_ratio": 0.95,
            "aime_pass1": 55.5,
            "aime_cons64": 83.3,
            "aime_pass1_instead_of": 72.6,
            "command": "r1 run -m qwen-7b:Q4_K_M --votes 8",
        }

    def test_without_votes_there_is_null(self) -> None:
        assert doctor_facts(diagnosis())["votes"] is None


def keys(value: object) -> set[str]:
    """All keys of an object, nested ones included."""
    match value:
        case dict():
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        case list():
            return {key for inner in value for key in keys(inner)}
    return set()

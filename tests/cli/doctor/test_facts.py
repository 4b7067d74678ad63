"""`r1.doctor.facts`: a diagnosis as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace

from r1.doctor.facts import doctor_facts
from r1.machine.power import Power
from tests.fakes.diagnoses import CUDA, GB, diagnosis, diagnosis_with


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


def keys(value: object) -> set[str]:
    """All keys of an object, nested ones included."""
    match value:
        case dict():
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        case list():
            return {key for inner in value for key in keys(inner)}
    return set()

"""`r1 pull` from private and gated repositories: the token goes to the hub and nowhere else."""

from __future__ import annotations

import pytest

from tests.e2e.pull.person import AT_THIRD, REPO, Person, Undisturbed, error_line
from tests.fakes.hub import SIGNATURE, Fault, Hub

TOKEN = "hf_ThisIsASecretThatNobodyElseMayEverSee"


def written_files(person: Person) -> list[bytes]:
    return [path.read_bytes() for path in person.home.rglob("*") if path.is_file()]


class TestToken:
    """A token is sent to the hub alone; where one is missing, the message says so in one line."""

    @pytest.mark.parametrize("ends", ["well", "badly"])
    def test_it_reaches_the_hub_alone(self, hub: Hub, person: Person, undisturbed: Undisturbed, ends: str) -> None:
        hub.cdn, hub.token, hub.private = True, TOKEN, {REPO}
        person.variables = {"HF_TOKEN": TOKEN, "R1_DEBUG": "1"}
        hub.faults = [Fault(f"cdn{AT_THIRD}", "cut", 1 if ends == "well" else -1, after=0)]
        done = person.end(person.start())  # a process, because libraries may write to descriptor 2
        assert done.returncode == (0 if ends == "well" else 6), done.stderr.decode()
        seen = {(server, header) for server, path, header in hub.authorizations if REPO in path}
        assert seen == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}
        for text in (done.stdout, done.stderr, *written_files(person)):
            assert TOKEN.encode() not in text
            assert SIGNATURE.encode() not in text
        assert ends == "badly" or person.digest == undisturbed.digest

    def test_it_does_not_reach_the_xet_store(self, hub: Hub, person: Person, undisturbed: Undisturbed) -> None:
        with Hub(hub.root, token=TOKEN, xet=True) as person.hub:
            person.hub.private = {REPO}
            person.variables = {"HF_TOKEN": TOKEN, "R1_DEBUG": "1"}
            done = person.end(person.start())  # a process, because hf_xet writes to descriptor 2
        assert (done.returncode, person.digest) == (0, undisturbed.digest)
        assert not any(TOKEN.encode() in text for text in (done.stdout, done.stderr, *written_files(person)))

    @pytest.mark.parametrize("gated_info", [False, True])
    def test_a_gated_repository_can_be_pulled_only_with_its_token(
        self, hub: Hub, person: Person, undisturbed: Undisturbed, gated_info: bool
    ) -> None:
        hub.token, hub.gated, hub.gated_info = TOKEN, {REPO}, gated_info
        line = error_line(person.pull())
        assert "requires consent" in line
        assert "HF_TOKEN" in line
        person.variables = {"HF_TOKEN": "hf_another"}
        assert "with the account of your token" in error_line(person.pull())
        person.variables = {"HF_TOKEN": TOKEN}
        person.pull()
        assert (person.exits, person.digest) == ([6, 6, 0], undisturbed.digest)

    def test_a_private_repository_can_be_pulled_only_with_its_token(
        self, hub: Hub, person: Person, undisturbed: Undisturbed
    ) -> None:
        hub.token, hub.private = TOKEN, {REPO}
        line = error_line(person.pull())
        assert "is not on the hub" in line
        assert "HF_TOKEN" in line
        person.variables = {"HF_TOKEN": "hf_another"}
        assert "your token has no access to it" in error_line(person.pull())
        person.variables = {"HF_TOKEN": TOKEN}
        person.pull()
        assert (person.exits, person.digest) == ([4, 4, 0], undisturbed.digest)

    def test_a_token_that_the_hub_does_not_know(self, hub: Hub, person: Person) -> None:
        headers = {"X-Error-Message": "Invalid credentials in Authorization header"}
        hub.faults = [Fault("*", "status", -1, status=401, headers=headers)]
        person.variables = {"HF_TOKEN": TOKEN}
        done = person.end(person.start())
        assert (done.returncode, done.stderr.count(b"\n")) == (6, 1)
        assert "does not accept your token" in error_line(done)
        assert TOKEN.encode() not in done.stderr

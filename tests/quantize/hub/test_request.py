"""`r1_quantize.hub.request`: a reference → a repository, and the model's name in the store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import ModelNotFound, UsageError
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.request import Request, quant_in, request_for, request_from_manifest, resolve
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store
from tests.fakes.hub import COMMIT
from tests.quantize.store.test_manifest import MANIFEST

KNOWN = catalog.load()
REPO = "bartowski/Some-Model-GGUF"
NOWHERE = Path("/nowhere")


def request(reference: str, *, prebuilt: bool = False) -> Request:
    """The request for a reference, with the real catalogue."""
    return request_for(reference, KNOWN, prebuilt=prebuilt)


def repository(*names: str) -> Repository:
    """A repository with files of these names."""
    return Repository(REPO, COMMIT, {name: RemoteFile(name, 1, "0" * 64, "0" * 40) for name in names})


class TestCatalogue:
    """A name in the catalogue means its repository, and its default quant type unless one is given."""

    @pytest.mark.parametrize("name", ["qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b"])
    def test_a_name_alone(self, name: str) -> None:
        found = request(name)
        assert (found.name, found.quant, found.repo) == (name, KNOWN[name].default_quant, KNOWN[name].repo)
        assert (found.checkpoint, found.file, found.prebuilt) == (KNOWN[name], None, False)
        assert found.reference == f"{name}:{KNOWN[name].default_quant}"

    @pytest.mark.parametrize("quant", ["q8_0", "Q8_0", "q8-0"])
    def test_a_name_with_a_quant_type(self, quant: str) -> None:
        assert request(f"qwen-7b:{quant}").reference == "qwen-7b:Q8_0"

    def test_prebuilt_means_the_repository_with_ready_made_ggufs(self) -> None:
        found = request("qwen-7b:q5_k_l", prebuilt=True)
        assert (found.repo, found.prebuilt, found.reference) == (KNOWN["qwen-7b"].prebuilt, True, "qwen-7b:Q5_K_L")

    @pytest.mark.parametrize("name", ["gpt-4", "", ":Q8_0", "../qwen-7b", "QWEN-7B"])
    def test_an_unknown_name(self, name: str) -> None:
        with pytest.raises(ModelNotFound, match=r"choose one of qwen-1\.5b, .*, or hf:OWNER/REPO on the hub"):
            request(name)

    @pytest.mark.parametrize(
        "reference",
        [
            *("owner/repo", "owner/repo:Q8_0", "owner/repo/file.gguf", "hf.co/owner/repo", "hf.co/owner/repo:Q4_K_M"),
            *("https://huggingface.co/owner/repo", "https://huggingface.co/owner/repo/tree/main"),
        ],
    )
    def test_the_hub_as_it_is_copied_from_elsewhere(self, reference: str) -> None:
        """From a web page, from Ollama or without `hf:`."""
        with pytest.raises(ModelNotFound, match=r"; for a repository on the hub, type hf:owner/repo$"):
            request(reference)

    def test_an_unknown_quant_type(self) -> None:
        with pytest.raises(UsageError, match="did you mean Q4_1 or Q4_0"):
            request("qwen-7b:Q4")

    def test_a_model_without_a_repository(self) -> None:
        with pytest.raises(ModelNotFound, match=r"tiny has no 'prebuilt' entry in models\.toml"):
            request("tiny", prebuilt=True)
        with pytest.raises(ModelNotFound, match=r"tiny has no 'repo' entry in models\.toml"):
            request("tiny")


class TestOnTheHub:
    """hf:OWNER/REPO means a checkpoint or a repository of GGUFs; hf:OWNER/REPO/FILE.gguf means that file."""

    @pytest.mark.parametrize(
        ("reference", "name", "quant"),
        [
            ("hf:someone/My-Finetune", "my-finetune", "Q4_K_M"),
            ("hf:someone/My-Finetune:q6_k", "my-finetune", "Q6_K"),
            ("hf:someone/My-Finetune-GGUF", "my-finetune", "Q4_K_M"),
            ("hf:someone/my.model_gguf:Q8_0", "my.model", "Q8_0"),
            ("hf:someone/My__Model_-", "my__model", "Q4_K_M"),
            ("hf:unsloth/R1-GGUF:UD-Q4_K_XL", "r1", "UD_Q4_K_XL"),
            ("hf:unsloth/R1-GGUF:ud-q4_k_xl", "r1", "UD_Q4_K_XL"),
            ("hf:unsloth/R1-GGUF:UD_Q4_K_XL", "r1", "UD_Q4_K_XL"),
            ("hf:someone/m:Q4-K-M", "m", "Q4_K_M"),
        ],
    )
    def test_a_repository(self, reference: str, name: str, quant: str) -> None:
        found = request(reference)
        assert (found.name, found.quant, found.checkpoint, found.file) == (name, quant, None, None)

    def test_a_repository_in_the_catalogue_gets_its_name_from_there(self) -> None:
        found = request("hf:deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
        assert (found.reference, found.checkpoint) == ("llama-8b:Q4_K_M", KNOWN["llama-8b"])

    @pytest.mark.parametrize(
        ("file", "reference"),
        [
            ("My-Model-Q4_K_M.gguf", "my-model:Q4_K_M"),
            ("My-Model.q8_0.gguf", "my-model:Q8_0"),
            ("sub/My_Model-BF16-00001-of-00002.gguf", "my_model:BF16"),
            ("My-Model-UD-IQ2_XXS.gguf", "my-model:UD_IQ2_XXS"),
            ("model.gguf", "model:GGUF"),
            ("Q4_K_M.gguf", "some-model-gguf:Q4_K_M"),
        ],
    )
    def test_a_file(self, file: str, reference: str) -> None:
        found = request(f"hf:{REPO}/{file}")
        assert (found.reference, found.repo, found.file) == (reference, REPO, file)

    @pytest.mark.parametrize("typed", ["UD-Q4_K_XL", "UD_Q4_K_XL", "ud-q4_k_xl"])
    def test_a_type_with_a_dash_is_the_one_in_the_file_name(self, typed: str) -> None:
        files = repository("R1-UD-Q4_K_XL.gguf", "R1-Q4_K_XL.gguf")
        assert resolve(request(f"hf:{REPO}:{typed}"), files).file == "R1-UD-Q4_K_XL.gguf"
        assert resolve(request(f"qwen-7b:{typed}", prebuilt=True), files).file == "R1-UD-Q4_K_XL.gguf"

    def test_every_resulting_name_is_valid_in_the_store(self) -> None:
        store = Store(NOWHERE, KNOWN)
        for file in ("Ünï-Q4_K_M.gguf", "a b (c) [d]-IQ4_XS.gguf", "@~=,+.gguf", "模型-Q8_0.gguf", "A" * 200 + ".gguf"):
            found = request(f"hf:{REPO}/{file}")
            assert store.path(found.name, found.quant).is_relative_to(NOWHERE)

    @pytest.mark.parametrize(
        "text",
        [
            *("a/b/c", "a/b/c.safetensors", "a/b/c:Q4_K_M", "a/b/../c.gguf", "a/b//c.gguf", "a/b/./c.gguf", "a/b//"),
            *("a/b/..\\c.gguf", "a/b/c\n.gguf", "a/b/\x1b[2J.gguf", f"a/b/{'x' * 300}.gguf", "a/b/.gguf/"),
        ],
    )
    def test_an_invalid_file_name(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"is not a GGUF; use hf:OWNER/REPO/FILE\.gguf"):
            request(f"hf:{text}")

    @pytest.mark.parametrize("text", ["", "a", "a:b", ":", "a/", "a/..", "日本/模型", "日本/m/x.gguf", "a:b/c"])
    def test_an_invalid_repository_name(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a repository; use hf:OWNER/REPO"):
            request(f"hf:{text}")


class TestName:
    """A name of the catalogue is for its own checkpoint; `--name` chooses another."""

    @pytest.mark.parametrize(
        ("reference", "name"),
        [
            ("hf:someone/tiny", "tiny"),
            ("hf:someone/TINY", "tiny"),
            ("hf:someone/tiny-GGUF", "tiny"),
            ("hf:x/qwen-7b:Q8_0", "qwen-7b"),
            ("hf:x/models/qwen-7b-Q4_K_M.gguf", "qwen-7b"),
            ("hf:x/y/llama-8b-Q8_0-00001-of-00002.gguf", "llama-8b"),
        ],
    )
    def test_a_foreign_repository_does_not_get_it(self, reference: str, name: str) -> None:
        said = f"{reference} is not {KNOWN[name].title}, whose name is {name}; choose another name with --name NAME"
        with pytest.raises(UsageError, match=re.escape(said)):
            request(reference)
        found = request_for(reference, KNOWN, prebuilt=False, name="mine")
        assert (found.name, found.quant) == ("mine", replace(found, name=name).quant)

    def test_its_own_repository_does(self) -> None:
        assert request("hf:deepseek-ai/DeepSeek-R1-Distill-Qwen-7B").name == "qwen-7b"

    def test_the_user_may_add_a_repository_to_the_catalogue(self) -> None:
        own = {**KNOWN, "mine": replace(KNOWN["qwen-7b"], name="mine", repo="someone/mine")}
        assert request_for("hf:someone/mine", own, prebuilt=False).checkpoint is own["mine"]
        with pytest.raises(UsageError, match="--name"):
            request_for("hf:another/mine", own, prebuilt=False)

    def test_a_checkpoint_of_the_catalogue_may_have_another_name(self) -> None:
        found = request_for("qwen-7b:Q8_0", KNOWN, prebuilt=False, name="mine")
        assert (found.reference, found.checkpoint) == ("mine:Q8_0", KNOWN["qwen-7b"])
        manifest = replace(MANIFEST, name="mine", source_sha256={"model.safetensors": "0" * 64})
        again = request_from_manifest("mine", "Q8_0", manifest, KNOWN)
        assert again is not None
        assert (again.reference, again.checkpoint) == ("mine:Q8_0", KNOWN["qwen-7b"])

    @pytest.mark.parametrize("name", ["", "My Model", "../x", "a:Q8_0", "-x", "模型", "tiny", "qwen-14b"])
    def test_a_bad_name_is_refused(self, name: str) -> None:
        with pytest.raises(UsageError, match=r"--name|a name is lower-case letters"):
            request_for("hf:someone/some", KNOWN, prebuilt=False, name=name)


class TestResolved:
    """What a request means depends on what the repository contains."""

    def file(self, reference: str, names: Sequence[str], *, prebuilt: bool = False) -> str | None:
        return resolve(request(reference, prebuilt=prebuilt), repository(*names)).file

    def test_a_checkpoint_is_preferred_to_ggufs(self) -> None:
        assert self.file(f"hf:{REPO}", ["config.json", "model.safetensors", "m-Q4_K_M.gguf"]) is None

    def test_a_config_without_weights_is_not_a_checkpoint(self) -> None:
        assert self.file(f"hf:{REPO}", ["config.json", "pytorch_model.bin", "m-Q4_K_M.gguf"]) == "m-Q4_K_M.gguf"

    @pytest.mark.parametrize(
        "names",
        [
            ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md"],
            ["m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf.txt", "Q4_K_M.json"],
            ["m-Q4_K_M.gguf", "x\\..-Q4_K_M.gguf", "m*-Q4_K_M.gguf"],
        ],
    )
    def test_without_a_checkpoint_the_gguf_of_that_type_is_meant(self, names: list[str]) -> None:
        assert self.file(f"hf:{REPO}", names) == "m-Q4_K_M.gguf"

    def test_of_a_split_gguf_the_first_part_is_meant(self) -> None:
        names = [f"BF16/m-BF16-{part:05}-of-00003.gguf" for part in (3, 1, 2)]
        assert self.file(f"hf:{REPO}:bf16", names) == "BF16/m-BF16-00001-of-00003.gguf"

    def test_prebuilt_ignores_the_checkpoint(self) -> None:
        assert (
            self.file("qwen-7b", ["config.json", "model.safetensors", "m-Q4_K_M.gguf"], prebuilt=True)
            == "m-Q4_K_M.gguf"
        )

    def test_an_unavailable_type_is_refused_with_the_available_ones(self) -> None:
        with pytest.raises(ModelNotFound, match=f"{REPO} has no GGUF of type Q4_K_M; it has Q5_K_M, Q8_0"):
            self.file(f"hf:{REPO}", ["m-Q8_0.gguf", "m-Q5_K_M.gguf", "n-Q8_0.gguf"])

    def test_two_matching_ggufs_are_ambiguous(self) -> None:
        with pytest.raises(ModelNotFound, match="has more than one GGUF of type Q4_K_M"):
            self.file(f"hf:{REPO}", ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"])

    def test_a_repository_without_either(self) -> None:
        with pytest.raises(ModelNotFound, match=f"{REPO} has neither a checkpoint nor a GGUF"):
            self.file(f"hf:{REPO}", ["README.md", "model.txt"])

    @pytest.mark.parametrize(
        ("names", "kind"),
        [
            (["adapter_config.json", "adapter_model.safetensors"], "it has a LoRA adapter, not a model"),
            (["config.json", "pytorch_model.bin"], "it has a model of PyTorch pickles"),
            (["onnx/model.onnx"], "it has an ONNX model"),
        ],
    )
    def test_what_it_has_instead_is_named(self, names: list[str], kind: str) -> None:
        with pytest.raises(ModelNotFound, match=kind):
            self.file(f"hf:{REPO}", names)

    def test_impossible_part_numbers_are_ignored(self) -> None:
        lying = ["m-Q4_K_M-00009-of-00002.gguf", "m-Q4_K_M-00001-of-99999.gguf", "m-Q4_K_M-00000-of-00000.gguf"]
        assert self.file(f"hf:{REPO}", [*lying, "m-Q4_K_M.gguf"]) == "m-Q4_K_M.gguf"
        with pytest.raises(ModelNotFound, match="has no GGUF of type Q4_K_M"):
            self.file(f"hf:{REPO}", lying)

    def test_a_file_is_found_by_its_bare_name(self) -> None:
        named = f"hf:{REPO}/m-Q8_0.gguf"
        assert self.file(named, ["m-Q8_0.gguf", "sub/m-Q8_0.gguf"]) == "m-Q8_0.gguf"
        assert self.file(named, ["sub/m-Q8_0.gguf", "config.json"]) == "sub/m-Q8_0.gguf"

    @pytest.mark.parametrize(
        "names", [["a/m-Q8_0.gguf", "b/m-Q8_0.gguf"], ["m-Q8_0.gguf.txt"], [r"a\b*/m-Q8_0.gguf"], ["M-Q8_0.gguf"], []]
    )
    def test_a_file_that_is_missing_or_ambiguous(self, names: list[str]) -> None:
        with pytest.raises(ModelNotFound, match=rf"{REPO} has no 'm-Q8_0\.gguf'"):
            self.file(f"hf:{REPO}/m-Q8_0.gguf", names)


class TestFromManifest:
    """A pulled model can be pulled again from what its manifest records."""

    def test_a_checkpoint(self) -> None:
        assert request_from_manifest("qwen-7b", "Q4_K_M", MANIFEST, KNOWN) == request("qwen-7b")

    def test_a_gguf(self) -> None:
        manifest = replace(MANIFEST, source=REPO, source_sha256={"sub/m-Q8_0.gguf": MANIFEST.sha256})
        found = request_from_manifest("m", "Q8_0", manifest, KNOWN)
        assert found is not None
        assert (found.reference, found.repo, found.file) == ("m:Q8_0", REPO, "sub/m-Q8_0.gguf")

    def test_a_model_quantized_from_a_gguf_cannot(self) -> None:
        manifest = replace(MANIFEST, source=REPO, source_sha256={"m-BF16.gguf": "0" * 64})
        assert request_from_manifest("m", "Q8_0", manifest, KNOWN) is None

    def test_a_split_gguf_by_its_first_part(self) -> None:
        parts = {f"m-0000{part}-of-00003.gguf": "0" * 64 for part in (2, 3, 1)}
        found = request_from_manifest("m", "Q8_0", replace(MANIFEST, source=REPO, source_sha256=parts), KNOWN)
        assert found is not None
        assert found.file == "m-00001-of-00003.gguf"

    @pytest.mark.parametrize(
        "manifest",
        [
            replace(MANIFEST, revision=None),
            *(
                replace(MANIFEST, source=source)
                for source in ("a folder", "../..", "My-Tiny-BF16.gguf", "/a/b", "a--b/c")
            ),
        ],
    )
    def test_a_model_made_from_something_on_this_disk_cannot(self, manifest: Manifest) -> None:
        assert request_from_manifest("m", "Q8_0", manifest, KNOWN) is None


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("m-Q4_K_M.gguf", "Q4_K_M"),
        ("a/m.iq4_xs.gguf", "IQ4_XS"),
        ("Q8_0.gguf", "Q8_0"),
        ("m-TQ1_0.gguf", "TQ1_0"),
        ("m-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("m-f16.gguf", "F16"),
        ("m-Q5_K_S-00001-of-00002.gguf", "Q5_K_S"),
        *(
            (name, "GGUF")
            for name in ("m.gguf", "mQ4_K_M.gguf", "Q4_K_M-m.gguf", "m-Q9_0.gguf", "m-Q4.gguf", "BF16/m.gguf")
        ),
    ],
)
def test_the_quant_type_is_the_suffix_of_a_file_name(file: str, quant: str) -> None:
    assert quant_in(file) == quant

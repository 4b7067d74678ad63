"""r1's files equal those of llama.cpp's own tools, byte for byte."""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.errors import UsageError
from r1_quantize.gguf import reader
from r1_quantize.pipeline import Job, open_source, quantize
from r1_quantize.plan import recipe_needs_imatrix
from r1_quantize.recipe import RECIPES, TENSOR_TYPES, Override
from tests.fakes import checkpoints, quantizer
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import DATA, TINY
from tests.quantize.canonical import CASES, digest
from tests.quantize.conftest import Make

GOLDEN = json.loads((DATA / "golden.json").read_text())
QUANTIZED = [name for name, recipe in RECIPES.items() if recipe.quantized]
NEED_IMATRIX = {"IQ3_XS", "IQ3_XXS", "Q2_K_S", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}

SMALL = {
    "two layers": Shape(),
    "a Llama of eight layers, eight heads a group": Shape(llama=True, heads=8, kv_heads=1, layers=8, inner=256),
    "a Llama with biases, as many groups as heads": Shape(llama=True, kv_heads=4, layers=1, biased=True),
    "the seven heads a group of the 7B": Shape(heads=7, kv_heads=1, head_dim=256, inner=256, layers=1),
    "tied embeddings": Shape(tied=True, layers=1),
    "rows of 288: no whole blocks of 256": Shape(hidden=288, heads=4, inner=544, layers=1),
    "rows of 48: no whole blocks of 32 either": Shape(hidden=48, heads=4, inner=80),
    "tied, rows of 96": Shape(hidden=96, heads=4, inner=160, tied=True),
}
SIX = {
    # layers, query heads a KV head and architecture of the six, as narrow as blocks of 256 allow
    "qwen-1.5b": Shape(layers=28, heads=6, kv_heads=1, head_dim=128, inner=256),
    "qwen-7b": Shape(layers=28, heads=7, kv_heads=1, head_dim=256, inner=256),
    "qwen-14b": Shape(layers=48, heads=5, kv_heads=1, head_dim=256, inner=256),
    "qwen-32b": Shape(layers=64, heads=5, kv_heads=1, head_dim=256, inner=256),
    "llama-8b": Shape(llama=True, layers=32, heads=4, kv_heads=1, inner=256),
    "llama-70b": Shape(llama=True, layers=80, heads=8, kv_heads=1, inner=256),
}


class TestAgainstTheConverter:
    """Plain floats equal those of convert_hf_to_gguf.py, except for the general.* naming keys."""

    @pytest.mark.parametrize("quant", ["BF16", "F16", "F32"])
    @pytest.mark.parametrize("case", CASES)
    def test_an_artificial_checkpoint(self, tmp_path: Path, make: Make, case: str, quant: str) -> None:
        folder = checkpoints.write(tmp_path / "checkpoint", CASES[case])
        assert digest(make(folder, quant)) == GOLDEN["fakes"][case][quant]

    @pytest.mark.parametrize("quant", ["BF16", "F16", "F32"])
    def test_tiny(self, make: Make, quant: str) -> None:
        found = {path.name: sha256(path.read_bytes()).hexdigest() for path in TINY.iterdir()}
        changed = [file for file, digest in GOLDEN["tiny_files"].items() if found.get(file) != digest]
        assert not changed, "tiny was changed; make its digests again: see scripts/golden/README.md"
        assert digest(make(TINY, quant)) == GOLDEN["tiny"][quant]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> checkpoints.FolderOf:
    """The checkpoint of a shape, written once."""
    return checkpoints.written_once(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def bf16_of(folder_of: checkpoints.FolderOf) -> checkpoints.FolderOf:
    """The checkpoint of a shape as a BF16 file, converted once. llama.cpp's results lie beside it."""

    @cache
    def convert(shape: Shape) -> Path:
        folder = folder_of(shape)
        target = folder.with_name("bf16.gguf")
        for _ in quantize(Job(folder, "BF16", target, name=folder.name)):
            pass
        return target

    return convert


class TestAgainstTheQuantizer:
    """Quantized files equal those llama_model_quantize makes from the BF16 file."""

    @pytest.mark.parametrize("quant", QUANTIZED)
    @pytest.mark.parametrize("shape", SMALL.values(), ids=SMALL.keys())
    def test_same_bytes(
        self,
        folder_of: checkpoints.FolderOf,
        bf16_of: checkpoints.FolderOf,
        tmp_path: Path,
        make: Make,
        shape: Shape,
        quant: str,
    ) -> None:
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", shape) if quant in NEED_IMATRIX else None
        theirs = imatrix and (imatrix.name, quantizer.read_imatrix(imatrix))
        reference = quantizer.quantized(bf16_of(shape), quant, theirs)
        assert reference is not None
        assert make(folder_of(shape), quant, imatrix=imatrix).read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("shape", SIX.values(), ids=SIX.keys())
    def test_same_bytes_with_the_layers_of_the_six_distills(
        self, folder_of: checkpoints.FolderOf, bf16_of: checkpoints.FolderOf, make: Make, shape: Shape
    ) -> None:
        reference = quantizer.quantized(bf16_of(shape), "Q4_K_M")
        assert reference is not None
        assert make(folder_of(shape), "Q4_K_M").read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M", "IQ4_XS"])
    def test_tiny(self, make: Make, quant: str) -> None:
        reference = quantizer.quantized(make(TINY, "BF16"), quant)
        assert reference is not None
        assert make(TINY, quant).read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("dtype", ["F32", "F16"])
    @pytest.mark.parametrize("llama", [False, True])
    def test_checkpoints_of_other_floats(self, tmp_path: Path, make: Make, dtype: str, llama: bool) -> None:
        folder = checkpoints.write(tmp_path / "checkpoint", Shape(llama=llama), dtype=dtype)
        reference = quantizer.quantized(make(folder, "F32"), "Q4_K_M")
        assert reference is not None
        assert make(folder, "Q4_K_M").read_bytes() == reference.read_bytes()

    def test_shards_make_no_difference(self, tmp_path: Path, make: Make) -> None:
        whole = checkpoints.write(tmp_path / "whole" / "same", Shape(layers=3))
        sharded = checkpoints.write(tmp_path / "sharded" / "same", Shape(layers=3), shards=3)
        assert make(whole, "Q8_0").read_bytes() == make(sharded, "Q8_0").read_bytes()

    @pytest.mark.parametrize("threads", [1, 3, 8])
    def test_the_number_of_threads_makes_no_difference(self, fake: Path, gguf: Path, make: Make, threads: int) -> None:
        assert make(fake, "Q8_0", threads=threads).read_bytes() == gguf.read_bytes()


class TestTypes:
    """Every tensor gets the type of llama.cpp's dry run, with the shapes of all six distills."""

    @pytest.mark.parametrize("imatrix", [False, True])
    @pytest.mark.parametrize("shape", SIX.values(), ids=SIX.keys())
    def test_of_the_six_distills(self, bf16_of: checkpoints.FolderOf, shape: Shape, imatrix: bool) -> None:
        converted = bf16_of(shape)
        source = open_source(converted, "x")
        for quant in QUANTIZED:
            ours = quantizer.our_types(source, quant, imatrix=imatrix)
            assert ours == quantizer.types(converted, quant, imatrix=imatrix), quant


class TestImportanceMatrix:
    """The types that use one, and the types that need one."""

    @pytest.mark.parametrize("quant", QUANTIZED)
    def test_same_bytes_with_one(
        self, folder_of: checkpoints.FolderOf, bf16_of: checkpoints.FolderOf, tmp_path: Path, make: Make, quant: str
    ) -> None:
        shape = Shape(layers=8, inner=256, kv_heads=1)
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", shape)
        theirs = imatrix.name, quantizer.read_imatrix(imatrix)
        reference = quantizer.quantized(bf16_of(shape), quant, theirs)
        assert reference is not None
        assert make(folder_of(shape), quant, imatrix=imatrix).read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("quant", QUANTIZED)
    def test_is_required_where_llama_cpp_requires_one(
        self, folder_of: checkpoints.FolderOf, bf16_of: checkpoints.FolderOf, make: Make, quant: str
    ) -> None:
        folder = folder_of(Shape())
        refused = quantizer.quantized(bf16_of(Shape()), quant) is None
        assert refused == (quant in NEED_IMATRIX) == recipe_needs_imatrix(open_source(folder, "x"), RECIPES[quant])
        if refused:
            with pytest.raises(UsageError, match=rf" in {quant}, which needs an importance matrix.*--imatrix FILE"):
                make(folder, quant)

    def test_one_that_lacks_a_required_tensor_is_refused(self, tmp_path: Path, make: Make) -> None:
        shape, missing = Shape(), "blk.1.ffn_up.weight"
        folder = checkpoints.write(tmp_path / "c", shape)
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", shape, left_out=missing)
        theirs = imatrix.name, quantizer.read_imatrix(imatrix)
        assert quantizer.quantized(make(folder, "BF16"), "IQ2_XS", theirs) is None
        with pytest.raises(UsageError, match=f"has no entry for {missing}"):
            make(folder, "IQ2_XS", imatrix=imatrix)
        reference = quantizer.quantized(make(folder, "BF16"), "Q4_K_M", theirs)
        assert reference is not None
        assert make(folder, "Q4_K_M", imatrix=imatrix).read_bytes() == reference.read_bytes()


class TestOverrides:
    """`--tensor-type` equals llama-quantize's, including how layers are counted."""

    @pytest.mark.parametrize(
        "texts",
        [
            ["ffn_down=Q8_0"],
            ["blk.0.ffn_down=q8_0"],  # the rules count the layers without this one
            [r"blk\.[12]\.attn_v=f16", "attn_v=iq4_nl"],
            ["token_embd=Q6_K", "output.weight=BF16"],
            ["attn_.*weight=F32"],
            ["norm|ffn_up=Q4_0"],  # norms keep their type
        ],
    )
    @pytest.mark.parametrize("quant", ["Q4_K_M", "Q3_K_M", "Q4_K_S"])
    def test_same_bytes(
        self, folder_of: checkpoints.FolderOf, bf16_of: checkpoints.FolderOf, make: Make, quant: str, texts: list[str]
    ) -> None:
        shape, overrides = Shape(layers=9, inner=256), [Override.parse(text) for text in texts]
        theirs = [(override.pattern.pattern, override.type) for override in overrides]
        reference = quantizer.quantized(bf16_of(shape), quant, overrides=theirs)
        assert reference is not None
        assert make(folder_of(shape), quant, overrides=overrides).read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("name", TENSOR_TYPES)
    def test_every_type_can_be_chosen(
        self, folder_of: checkpoints.FolderOf, bf16_of: checkpoints.FolderOf, tmp_path: Path, make: Make, name: str
    ) -> None:
        shape = Shape(layers=1)
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", shape)
        theirs = imatrix.name, quantizer.read_imatrix(imatrix)
        reference = quantizer.quantized(bf16_of(shape), "Q8_0", theirs, [("ffn_up", TENSOR_TYPES[name])])
        assert reference is not None
        made = make(folder_of(shape), "Q8_0", imatrix=imatrix, overrides=[Override.parse(f"ffn_up={name}")])
        assert made.read_bytes() == reference.read_bytes()
        found = {tensor.name: tensor.type.name for tensor in reader.read(made).tensors}
        assert found["blk.0.ffn_up.weight"] == name

    def test_without_effect_is_refused(self, fake: Path, make: Make) -> None:
        for pattern in ("blk.2", "norm", "bias"):
            with pytest.raises(UsageError, match="matches no matrix of this model"):
                make(fake, "Q8_0", overrides=[Override.parse(f"{pattern}=Q4_K")])
        with pytest.raises(UsageError, match="no effect on BF16"):
            make(fake, "BF16", overrides=[Override.parse("ffn=Q4_K")])

    @pytest.mark.parametrize("tensor", ["token_embd", "output.weight", "ffn_up"])
    def test_a_type_that_needs_an_imatrix_is_refused_before_ggml_aborts(
        self, fake: Path, make: Make, tensor: str
    ) -> None:
        with pytest.raises(UsageError, match="IQ2_XXS"):
            make(fake, "Q8_0", overrides=[Override.parse(f"{tensor}=IQ2_XXS")])


class TestRequantizing:
    """A GGUF goes through the same pipeline, with the same bytes as llama.cpp's."""

    @pytest.mark.parametrize("quant", sorted(RECIPES.keys() - NEED_IMATRIX))
    @pytest.mark.parametrize("start", ["BF16", "F16", "F32"])
    def test_plain_floats(self, folder_of: checkpoints.FolderOf, make: Make, start: str, quant: str) -> None:
        source = make(folder_of(Shape(llama=True, layers=1)), start)
        reference = quantizer.quantized(source, quant)
        assert reference is not None
        assert make(source, quant).read_bytes() == reference.read_bytes()

    @pytest.mark.parametrize("start", sorted(RECIPES.keys() - NEED_IMATRIX - {"F32", "F16", "BF16"}))
    def test_quantized_tensors_need_a_flag(self, folder_of: checkpoints.FolderOf, make: Make, start: str) -> None:
        source = make(folder_of(Shape(layers=1)), start)
        quant = "Q4_0" if start != "Q4_0" else "Q4_K_M"
        assert quantizer.quantized(source, quant) is None
        with pytest.raises(UsageError, match="--allow-requantize"):
            make(source, quant)
        reference = quantizer.quantized(source, quant, allow_requantize=True)
        assert reference is not None
        assert make(source, quant, allow_requantize=True).read_bytes() == reference.read_bytes()

    def test_going_through_bf16_makes_no_difference(self, fake: Path, make: Make) -> None:
        direct = make(fake, "Q4_K_M").read_bytes()
        assert make(make(fake, "BF16"), "Q4_K_M").read_bytes() == direct

"""Writes tests/data/golden.json: digests of the output of llama.cpp's convert_hf_to_gguf.py. See README.md beside this.

    python scripts/golden/make.py PATH/TO/llama.cpp

The converter runs with one change: it recognises a pre-tokenizer by the hash of an encoded test text, which works only
for published vocabularies. Ours are not published, so this script supplies the name of the pre-tokenizer.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import tempfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LLAMA_CPP = Path(sys.argv[1]).resolve()
sys.path[:0] = [str(ROOT), str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]  # the converter needs its own gguf package

import convert_hf_to_gguf  # noqa: E402
from conversion import TextModel  # noqa: E402

from tests.fakes import checkpoints  # noqa: E402
from tests.quantize.canonical import CASES, digest  # noqa: E402

TYPES = ("bf16", "f16", "f32")
TINY = ROOT / "quantize" / "r1_quantize" / "store" / "tiny"
PACKAGES = ("torch", "transformers", "numpy")


def main() -> None:
    """Converts every checkpoint to each type and records the digests."""
    logging.disable(logging.INFO)
    TextModel.get_vocab_base_pre = lambda self, _: "llama-bpe" if "Llama" in self.hf_arch else "deepseek-r1-qwen"
    files = sorted(path for path in TINY.iterdir() if path.suffix in (".json", ".safetensors"))
    with tempfile.TemporaryDirectory() as scratch:
        fakes = {name: checkpoints.write(Path(scratch) / name, shape) for name, shape in CASES.items()}
        golden = {
            "made_with": {
                "llama.cpp": LLAMA_CPP.parents[1].name,
                "python": platform.python_version(),
                **{package: version(package) for package in PACKAGES},
            },
            "fakes": {name: convert(fake, Path(scratch)) for name, fake in fakes.items()},
            "tiny": convert(TINY, Path(scratch)),
            "tiny_files": {path.name: sha256(path.read_bytes()).hexdigest() for path in files},
        }
    target = ROOT / "tests" / "data" / "golden.json"
    target.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")


def convert(checkpoint: Path, scratch: Path) -> dict[str, str]:
    """Type → digest of the converter's output."""
    digests = {}
    for kind in TYPES:
        target = scratch / f"{kind}.gguf"
        sys.argv = ["convert_hf_to_gguf.py", str(checkpoint), "--outfile", str(target), "--outtype", kind]
        convert_hf_to_gguf.main()
        digests[kind.upper()] = digest(target)
    return digests


if __name__ == "__main__":
    main()

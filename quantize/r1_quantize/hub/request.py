"""What `r1 pull` is asked for: a name of the catalogue, or one on the hub, → a repository and the name it goes by.

Knows: the forms of a name. Does not know: what is in a repository, beyond the names of its files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import BadGGUF, ModelNotFound, UsageError
from r1_quantize.gguf.split import part_names, whole_name
from r1_quantize.hub.repository import Repository, is_repo, is_safe_name
from r1_quantize.recipe import recipe_for
from r1_quantize.store.manifest import Manifest

HUB = "hf:"
_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q[1-8]_[A-Z0-9_]+|TQ[12]_0|MXFP4[A-Z0-9_]*|BF16|F16|F32))$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Request:
    """Which model of which repository, and what it is called here.

    Without `file` it is made from the repository's checkpoint; else that GGUF is taken as it is.
    """

    name: str
    quant: str
    repo: str
    checkpoint: Checkpoint | None = None
    file: str | None = None
    prebuilt: bool = False  # the repository has GGUFs, one of which is `quant`

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.quant}"


def request_for(reference: str, catalogue: Mapping[str, Checkpoint], *, prebuilt: bool) -> Request:
    """What NAME, NAME:QUANT, hf:OWNER/REPO, hf:OWNER/REPO:QUANT or hf:OWNER/REPO/FILE.gguf asks for.

    Raises ModelNotFound for a name that nobody knows, UsageError for what cannot be pulled.
    """
    if reference.startswith(HUB):
        return _on_the_hub(reference.removeprefix(HUB), catalogue)
    name, _, quant = reference.partition(":")
    checkpoint = catalogue.get(name)
    if checkpoint is None:
        known = ", ".join(catalogue)
        raise ModelNotFound(f"no checkpoint is called {name!r}; known are {known}, and hf:OWNER/REPO on the hub")
    repo = checkpoint.prebuilt if prebuilt else checkpoint.repo
    if repo is None:
        what = "prebuilt" if prebuilt else "repo"
        raise ModelNotFound(f"{name} has no {what} in models.toml, so there is nothing to pull")
    wanted = (quant or checkpoint.default_quant).upper()
    return Request(name, wanted if prebuilt else recipe_for(wanted).name, repo, checkpoint, prebuilt=prebuilt)


def _on_the_hub(text: str, catalogue: Mapping[str, Checkpoint]) -> Request:
    parts = text.split("/")
    if len(parts) > 2:
        repo, file = "/".join(parts[:2]), "/".join(parts[2:])
        if not (file.endswith(".gguf") and is_safe_name(file)):
            raise UsageError(f"hf:{text} is no GGUF; give hf:OWNER/REPO/FILE.gguf, or hf:OWNER/REPO for a checkpoint")
        return named_after(Request("", "", repo, file=file), file)
    repo, _, quant = text.partition(":")
    if repo.count("/") != 1:
        raise UsageError(f"hf:{text} is no repository; they look like hf:OWNER/REPO")
    known = next((checkpoint for checkpoint in catalogue.values() if checkpoint.repo == repo), None)
    default = known.default_quant if known else "Q4_K_M"
    name = known.name if known else model_name(re.sub(r"[-_.]gguf$", "", repo.partition("/")[2], flags=re.IGNORECASE))
    return Request(name, (quant or default).upper(), repo, known)


def request_again(name: str, quant: str, manifest: Manifest, catalogue: Mapping[str, Checkpoint]) -> Request | None:
    """What a model in the store was pulled with; None when it was made of something on this disk."""
    if manifest.revision is None or not is_repo(manifest.source):
        return None
    known = catalogue.get(name)
    ggufs = sorted(file for file in manifest.source_sha256 if file.endswith(".gguf"))
    if len(ggufs) == 1 and manifest.source_sha256[ggufs[0]] != manifest.sha256:
        return None  # r1 quantize made it of a GGUF that came from there
    return Request(name, quant, manifest.source, known, file=ggufs[0] if ggufs else None)


def resolved(request: Request, repository: Repository) -> Request:
    """The request, with the GGUF that it means where the repository has no checkpoint.

    Raises ModelNotFound with what there is instead.
    """
    if request.file:
        file = _path_of(request.file, repository)
        if file not in repository.files:
            raise ModelNotFound(f"{repository.name} has no {file!r:.240}")
        return replace(request, file=file)
    a_checkpoint = "config.json" in repository.files and any(name.endswith(".safetensors") for name in repository.files)
    if not request.prebuilt and a_checkpoint:
        return request
    ggufs = [name for name in repository.files if name.endswith(".gguf") and is_safe_name(name)]
    found = [name for name in ggufs if quant_in(name) == request.quant and _is_first(name)]
    if len(found) == 1:
        return replace(request, file=found[0])
    if not ggufs:
        raise ModelNotFound(f"{repository.name} has neither a checkpoint nor a GGUF")
    types = ", ".join(sorted({quant_in(name) for name in ggufs}))
    what = "more than one GGUF" if found else "no GGUF"
    raise ModelNotFound(f"{repository.name} has {what} that is {request.quant}; it has {types}")


def _is_first(name: str) -> bool:
    """Whether a GGUF is one in a single file, or the first of its parts."""
    try:
        return part_names(name)[0] == name
    except BadGGUF:  # a part that there cannot be
        return False


def _path_of(file: str, repository: Repository) -> str:
    """The file's whole path, where only its name is known."""
    if file in repository.files:
        return file
    found = [path for path in repository.files if path.rpartition("/")[2] == file]
    return found[0] if len(found) == 1 and is_safe_name(found[0]) else file


def named_after(request: Request, file: str) -> Request:
    """The request under the name that a GGUF's file suggests: `My-Model-Q4_K_M.gguf` → my-model:Q4_K_M."""
    stem = whole_name(file.rpartition("/")[2]).removesuffix(".gguf")
    name = request.name or model_name(_QUANT.sub("", stem)) or model_name(request.repo.partition("/")[2])
    return replace(request, name=name, quant=request.quant or quant_in(file))


def quant_in(file: str) -> str:
    """The quantization that a GGUF's name ends in, as this program writes it; GGUF when it names none."""
    found = _QUANT.search(whole_name(file.rpartition("/")[2]).removesuffix(".gguf"))
    return found[1].upper().replace("-", "_") if found else "GGUF"


def model_name(text: str) -> str:
    """A file's or repository's name as a model's name: `My Model` → `my-model`; empty when nothing is left of it."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")

"""The reference given to `r1 pull`, from the catalogue or on the hub → a repository, and the model's local name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from r1_quantize.catalog import Checkpoint, as_quant, check_name, model_name
from r1_quantize.checkpoint import foreign
from r1_quantize.errors import BadGGUF, ModelNotFound, UsageError
from r1_quantize.gguf.split import joined_name, part_names
from r1_quantize.hub.repository import Repository, is_repo, is_safe_name
from r1_quantize.recipe import recipe_for
from r1_quantize.store.manifest import Manifest

HUB = "hf:"
_PAGE = re.compile(r"(https?://)?(www\.)?(huggingface\.co|hf\.co)/")
_QUANT_SUFFIX = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q[1-8]_[A-Z0-9_]+|TQ[12]_0|MXFP4[A-Z0-9_]*|BF16|F16|F32))$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Request:
    """The model to get: its name and quant type here, and the repository it comes from.

    Without `file` the repository's checkpoint is quantized; with it, that GGUF is downloaded unchanged.
    """

    name: str
    quant: str
    repo: str
    checkpoint: Checkpoint | None = None
    file: str | None = None
    prebuilt: bool = False  # pick the GGUF of type `quant` even if there is a checkpoint

    @property
    def reference(self) -> str:
        return f"{self.name}:{self.quant}"


def request_for(
    reference: str, catalogue: Mapping[str, Checkpoint], *, prebuilt: bool, name: str | None = None
) -> Request:
    """Parse NAME, NAME:QUANT, hf:OWNER/REPO, hf:OWNER/REPO:QUANT or hf:OWNER/REPO/FILE.gguf.

    With `name`, the model gets that name here. Raises ModelNotFound for an unknown name, UsageError for a malformed
    one, and for a name that belongs to another checkpoint of the catalogue.
    """
    request = _request_for(reference, catalogue, prebuilt=prebuilt)
    chosen = request.name if name is None else name
    return replace(request, name=check_name(chosen, catalogue, request.checkpoint, reference))


def _request_for(reference: str, catalogue: Mapping[str, Checkpoint], *, prebuilt: bool) -> Request:
    if reference.startswith(HUB):
        return _hub_request(reference.removeprefix(HUB), catalogue)
    name, _, quant = reference.partition(":")
    checkpoint = catalogue.get(name)
    if checkpoint is None:
        raise ModelNotFound(_unknown(reference, catalogue))
    repo = checkpoint.prebuilt if prebuilt else checkpoint.repo
    if repo is None:
        key = "prebuilt" if prebuilt else "repo"
        raise ModelNotFound(f"{name} has no {key!r} entry in models.toml, so it cannot be pulled")
    quant = as_quant(quant or checkpoint.default_quant)
    return Request(name, quant if prebuilt else recipe_for(quant).name, repo, checkpoint, prebuilt=prebuilt)


def _unknown(reference: str, catalogue: Mapping[str, Checkpoint]) -> str:
    """The message for a model that is not in the catalogue. The hub's pages show addresses and OWNER/REPO."""
    repo = "/".join(_PAGE.sub("", reference).partition(":")[0].split("/")[:2])
    if is_repo(repo):
        return f"unknown model {reference!r:.240}; for a repository on the hub, type hf:{repo}"
    known = ", ".join(catalogue)
    return f"unknown model {reference.partition(':')[0]!r:.240}; choose one of {known}, or hf:OWNER/REPO on the hub"


def _hub_request(text: str, catalogue: Mapping[str, Checkpoint]) -> Request:
    parts = text.split("/")
    if not is_repo("/".join(parts[:2]).partition(":")[0]):
        raise UsageError(f"hf:{text:.240} is not a repository; use hf:OWNER/REPO")
    if len(parts) > 2:
        repo, file = "/".join(parts[:2]), "/".join(parts[2:])
        if not (file.endswith(".gguf") and is_safe_name(file)):
            raise UsageError(f"hf:{text} is not a GGUF; use hf:OWNER/REPO/FILE.gguf, or hf:OWNER/REPO for a checkpoint")
        name, quant = _name_and_quant(repo, file)
        return Request(name, quant, repo, file=file)
    repo, _, quant = text.partition(":")
    known = next((checkpoint for checkpoint in catalogue.values() if checkpoint.repo == repo), None)
    default = known.default_quant if known else "Q4_K_M"
    name = known.name if known else model_name(re.sub(r"[-_.]gguf$", "", repo.partition("/")[2], flags=re.IGNORECASE))
    return Request(name, as_quant(quant or default), repo, known)


def request_from_manifest(
    name: str, quant: str, manifest: Manifest, catalogue: Mapping[str, Checkpoint]
) -> Request | None:
    """The request that pulls a model of the store again; None when it was made from something on this disk."""
    if manifest.revision is None or not is_repo(manifest.source):
        return None
    known = next((known for known in catalogue.values() if known.repo == manifest.source), catalogue.get(name))
    ggufs = sorted(file for file in manifest.source_sha256 if file.endswith(".gguf"))
    if len(ggufs) == 1 and manifest.source_sha256[ggufs[0]] != manifest.sha256:
        return None  # r1 quantize made it from a downloaded GGUF
    return Request(name, quant, manifest.source, known, file=ggufs[0] if ggufs else None)


def resolve(request: Request, repository: Repository) -> Request:
    """The request with its GGUF filled in, if the repository has no checkpoint or the request is for a prebuilt one.

    Raises ModelNotFound, naming the types that the repository has.
    """
    if request.file:
        file = _path_in_repository(request.file, repository)
        if file not in repository.files:
            raise ModelNotFound(f"{repository.name} has no {file!r:.240}")
        return replace(request, file=file)
    if not request.prebuilt and _has_checkpoint(repository):
        return request
    ggufs = [name for name in repository.files if name.endswith(".gguf") and is_safe_name(name)]
    matching = [name for name in ggufs if quant_in(name) == request.quant and _is_first_part(name)]
    if len(matching) == 1:
        return replace(request, file=matching[0])
    if not ggufs:
        kind = foreign.by_files(repository.files)
        instead = f"; it has {kind}" if kind else ""
        raise ModelNotFound(f"{repository.name} has neither a checkpoint nor a GGUF{instead}")
    types = ", ".join(sorted({quant_in(name) for name in ggufs}))
    count = "more than one" if matching else "no"
    raise ModelNotFound(f"{repository.name} has {count} GGUF of type {request.quant}; it has {types}")


def _has_checkpoint(repository: Repository) -> bool:
    return "config.json" in repository.files and any(name.endswith(".safetensors") for name in repository.files)


def _is_first_part(name: str) -> bool:
    """Whether a GGUF is a single file, or the first part of a split one."""
    try:
        return part_names(name)[0] == name
    except BadGGUF:  # an impossible part number
        return False


def _path_in_repository(file: str, repository: Repository) -> str:
    """The path of a file given by its bare name, if only one file has that name."""
    if file in repository.files:
        return file
    paths = [path for path in repository.files if path.rpartition("/")[2] == file]
    return paths[0] if len(paths) == 1 and is_safe_name(paths[0]) else file


def _name_and_quant(repo: str, file: str) -> tuple[str, str]:
    """The model's name and quant type from a GGUF's file name: `My-Model-Q4_K_M.gguf` → my-model, Q4_K_M."""
    name = model_name(_QUANT_SUFFIX.sub("", _stem(file))) or model_name(repo.partition("/")[2])
    return name, quant_in(file)


def _stem(file: str) -> str:
    return joined_name(file.rpartition("/")[2]).removesuffix(".gguf")


def quant_in(file: str) -> str:
    """The quant type at the end of a GGUF's file name, as this program writes it; GGUF if there is none."""
    suffix = _QUANT_SUFFIX.search(_stem(file))
    return as_quant(suffix[1]) if suffix else "GGUF"

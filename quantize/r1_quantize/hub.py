"""The Hugging Face hub, and what this machine already has of it.

The only importer of huggingface_hub, which is a heavy import. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
read by it.

Knows: repositories, the cache, how the hub fails. Does not know: what is in the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r1_quantize.errors import ModelNotFound, NetworkError

DESCRIPTION = ("*.json",)
"""The small files that say what a checkpoint is: configuration, tokenizer, index of the shards."""

WEIGHTS = ("*.safetensors",)
"""Pickles and code are never asked for."""


def cached_checkpoint(repo: str) -> Path:
    """The folder of `repo` in the Hugging Face cache, named after its commit; opens no connection.

    Raises ModelNotFound when the repository is not in the cache, or not all of it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repo, allow_patterns=[*DESCRIPTION, *WEIGHTS], local_files_only=True))
    except LocalEntryNotFoundError as exc:
        raise ModelNotFound(f"the checkpoint {repo} is not on this disk") from exc


def fetch(repo: str, files: Sequence[str], *, progress: bool) -> Path:
    """Downloads what is missing of `files` into the Hugging Face cache; the folder is named after the commit.

    Whole files are kept, and one that was cut short is resumed. `progress` shows huggingface_hub's own bars on
    stderr. Raises NetworkError when the hub cannot be reached, says no, or the connection breaks.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not progress:
        disable_progress_bars()
    try:
        return Path(snapshot_download(repo, allow_patterns=[*files]))
    except GatedRepoError as exc:
        raise NetworkError(f"{repo} asks for consent: give it on the hub's page, then set HF_TOKEN") from exc
    except HfHubHTTPError as exc:
        raise NetworkError(f"the hub answered {exc.response.status_code} for {repo}; running it again resumes") from exc
    except LocalEntryNotFoundError as exc:
        if constants.HF_HUB_OFFLINE:
            raise NetworkError(f"{repo} is not on this disk, and HF_HUB_OFFLINE forbids to fetch it") from exc
        raise NetworkError(f"the hub cannot be reached for {repo}; running it again resumes") from exc

"""The options of a pull, and whether a model on this disk was made with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from r1_quantize.checkpoint.pretokenizer import check_pretokenizer
from r1_quantize.errors import UsageError
from r1_quantize.imatrix import read_imatrix
from r1_quantize.recipe import Override
from r1_quantize.store.manifest import Manifest


@dataclass(frozen=True, slots=True)
class PullOptions:
    """How to pull. With `update` the hub's newest commit is pulled even if an older one is in the store.

    With `name`, the model gets that name here. `imatrix`, `tensor_types` (PATTERN=TYPE) and `pretokenizer` are for
    quantizing on the way, as in `r1 quantize`.
    """

    dry_run: bool = False
    keep_checkpoint: bool = False
    update: bool = False
    name: str | None = None
    threads: int | None = None
    imatrix: Path | None = None
    tensor_types: tuple[str, ...] = ()
    pretokenizer: str | None = None

    @property
    def for_quantizing(self) -> list[str]:
        """The options for quantizing that are given, as they are typed."""
        given = {
            "--imatrix": self.imatrix is not None,
            "--tensor-type": bool(self.tensor_types),
            "--pretokenizer": self.pretokenizer is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    @property
    def overrides(self) -> tuple[Override, ...]:
        """Raises UsageError."""
        return tuple(map(Override.parse, self.tensor_types))

    def check(self) -> None:
        """Check the options for quantizing, before anything is downloaded. Raises UsageError, BadFile."""
        assert self.overrides is not None
        if self.pretokenizer is not None:
            check_pretokenizer(self.pretokenizer)
        if self.imatrix is not None:
            read_imatrix(self.imatrix)

    def made(self, manifest: Manifest | None) -> bool:
        """Whether these options made the model of this manifest. Raises UsageError, BadFile.

        Without options for quantizing, any model will do, except for an update.
        """
        if not self.for_quantizing and not self.update:
            return True
        if manifest is None:
            return False
        imatrix = read_imatrix(self.imatrix).sha256 if self.imatrix else None
        recorded = manifest.imatrix_sha256, manifest.tensor_types, manifest.pretokenizer
        return recorded == (imatrix, [*map(str, self.overrides)], self.pretokenizer)

    def like(self, manifest: Manifest | None) -> PullOptions:
        """These options, with those of the manifest for what is not given, to make its model again.

        Raises UsageError when it needs an importance matrix: only the digest of that is on record.
        """
        if manifest is None:
            return self
        reference = f"{manifest.name}:{manifest.quant}"
        if manifest.imatrix_sha256 and self.imatrix is None:
            raise UsageError(
                f"{reference} was made with an importance matrix, which is not kept; update it with: "
                f"r1 pull --update {reference} --imatrix FILE"
            )
        return replace(
            self,
            tensor_types=self.tensor_types or tuple(manifest.tensor_types),
            pretokenizer=self.pretokenizer or manifest.pretokenizer,
        )

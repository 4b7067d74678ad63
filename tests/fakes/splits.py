"""Split GGUFs, written by gguf-py from single files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import gguf

Change = Callable[[gguf.GGUFWriter], object]


def split(
    source: Path,
    folder: Path,
    tensors: int = 5,
    *,
    keys_alone: bool = False,
    order: Callable[[list[gguf.ReaderTensor]], Sequence[gguf.ReaderTensor]] = list,
    change: Change = lambda writer: None,
) -> list[Path]:
    """Write the parts of `source`, with `tensors` in each; with `keys_alone` the first part has only the keys.

    `order` reorders the tensors, `change` may add or change keys. Returns the parts in order.
    """
    found = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(
        folder / source.name,
        str(found.fields["general.architecture"].contents()),
        split_max_tensors=tensors,
        small_first_shard=keys_alone,
    )
    copy_keys(found, writer)
    change(writer)
    for tensor in order(found.tensors):
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)
    return sorted(folder.glob(f"{source.stem}-*-of-*.gguf"))


def copy_keys(found: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """Copy all keys except the architecture, which every writer begins with."""
    for key, field in _keys(found):
        writer.add_key_value(key, field.contents(), field.types[0], field.types[-1])


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything that was added."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _keys(found: gguf.GGUFReader) -> Iterator[tuple[str, gguf.ReaderField]]:
    for key, field in found.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            yield key, field

"""Files to rows that are read as they are asked for, through the streaming mode of `datasets`."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.data.cache import cache_dir
from manyheads.data.reading import lines
from manyheads.data.tables import BINARY, quiet

if TYPE_CHECKING:
    from datasets import IterableDataset


def stream_lines(kind: str, files: Sequence[Path], encoding: str) -> IterableDataset:
    """The lines of files, each a row with its line break, as `write_lines` cuts them."""
    from datasets import IterableDataset

    return IterableDataset.from_generator(
        _lines, gen_kwargs={"files": [str(file) for file in files], "encoding": encoding}
    )


def stream_table(kind: str, files: Sequence[Path], encoding: str, **settings: Any) -> IterableDataset:
    """The rows of json, csv or parquet files, unpacked on the way."""
    if kind not in BINARY and encoding.lower() not in ("utf-8", "utf8"):
        settings["encoding"] = encoding
    names = [glob.escape(str(file.absolute())) for file in files]
    return stream_dataset(path=kind, data_files=names, split="train", **settings)


def stream_dataset(**settings: Any) -> IterableDataset:
    """`datasets.load_dataset` in streaming mode, without bars; its cache gets no rows."""
    import datasets

    with quiet():
        return datasets.load_dataset(streaming=True, cache_dir=str(cache_dir() / "datasets"), **settings)


def _lines(files: list[str], encoding: str) -> Iterator[dict[str, str]]:
    for file in files:
        for batch in lines(Path(file), encoding):
            for line in batch:
                yield {"text": line}

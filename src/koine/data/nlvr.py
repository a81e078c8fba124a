"""NLVR: is a sentence that somebody wrote true of a drawing with three boxes of shapes? (Suhr et al., ACL 2017)

Read from Parquet files `nlvr_<split>.parquet` with the columns identifier, sentence, label, images (six PNG files:
the three boxes in each order, of which the sentence is equally true) and directory (a fold of the development set).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from koine.data.annotated import AnnotatedExample
from koine.data.folders import find_file
from koine.data.nlvr2 import StatementOnPictures, example, truth
from koine.errors import InputError
from koine.sentence import Image

SPLITS = ("hidden", "dev")
_COLUMNS = ("identifier", "sentence", "label", "images")
_ORDERS = 6


def examples(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    split: str = "hidden",
    orders: int = 1,
) -> Iterator[AnnotatedExample]:
    """The statements with their drawings, which are in the file.

    Identifiers that share the number before the dash are of one group: they were written about the same drawings, so
    they belong on one side of every division, and consistency counts them together.

    Args:
        path: `nlvr_<split>.parquet`, or a folder with it.
        images: without effect; the drawings are in the file.
        orders: how many of the six orders of the boxes to yield, each as an example of its own.
    Raises:
        InputError: an unknown split, another number of orders than 1 to 6, a file that is damaged or isn't such a
            table, or a drawing that can't be read.
    """
    if not 1 <= orders <= _ORDERS:
        raise InputError(f"orders = {orders}: the boxes of an NLVR drawing have {_ORDERS} orders, give 1 to {_ORDERS}")
    if split not in SPLITS:
        raise InputError.unknown("split of NLVR", split, SPLITS)
    file = find_file(path, f"nlvr_{split}.parquet", what=f"NLVR's nlvr_{split}.parquet")
    return _examples(file, orders)


def _examples(file: Path, orders: int) -> Iterator[AnnotatedExample]:
    for row in _rows(file):
        identifier, drawings = str(row["identifier"]), row["images"]
        if not row["sentence"] or not isinstance(drawings, list) or not drawings:
            raise InputError(f"{file}, {identifier}: there is no sentence or no list of images: fetch the file again")
        for order, drawing in enumerate(drawings[:orders]):
            statement = StatementOnPictures(
                id=identifier if orders == 1 else f"{identifier}/{order}",
                group=identifier.partition("-")[0],
                sentence=row["sentence"],
                images=(f"{identifier}-{order}.png",),
                label=truth(row["label"], f"{file.name}, {identifier}"),
            )
            yield example(statement, [Image.open(io.BytesIO(drawing))])


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """The table's rows; a damaged block shows when it is come to, long after the file was opened."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        if missing := [name for name in _COLUMNS if name not in table.schema_arrow.names]:
            raise InputError(f"{file} has no column {missing[0]!r}: the columns {', '.join(_COLUMNS)} are needed")
        for batch in table.iter_batches(64, columns=list(_COLUMNS)):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file} is no Parquet file or is damaged ({error}): fetch it again") from error

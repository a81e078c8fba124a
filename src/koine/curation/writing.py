"""Writes the rows that are kept: parquet, or a webdataset with the samples' own members."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from koine.curation.archives import split_name
from koine.curation.cleaning import Batch
from koine.curation.options import OnDamage, Options, OutputFormat
from koine.curation.shards import Format, Shard
from koine.files import write_atomically


def write_part(path: Path, batches: Iterable[tuple[Batch, pa.Table]], options: Options, shard: Shard) -> int:
    """Writes one shard's kept rows as a whole; how many there are.

    A parquet part has the input's columns, and a uid. A webdataset part has, for a sample that came from a webdataset,
    its own members and `kept.json` with the kept texts; for another row a `.txt` and a `.json`.
    """
    if options.output_format is OutputFormat.PARQUET:
        return _write_parquet(path, batches)
    return _write_webdataset(path, batches, options, shard)


def _write_parquet(path: Path, batches: Iterable[tuple[Batch, pa.Table]]) -> int:
    rows = 0
    with write_atomically(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for _, table in batches:
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema))
                rows += table.num_rows
            if writer is None:
                pq.write_table(pa.table({}), temporary)
        finally:
            if writer is not None:
                writer.close()
    return rows


def _write_webdataset(path: Path, batches: Iterable[tuple[Batch, pa.Table]], options: Options, shard: Shard) -> int:
    rows = 0
    name = options.columns.text
    samples: dict[str, list[dict[str, object]]] = {}
    with write_atomically(path) as temporary, tarfile.open(temporary, "w") as archive:
        for _, table in batches:
            rows += table.num_rows
            for record in table.to_pylist():
                if shard.format is Format.WEBDATASET:
                    extra = {key: record[key] for key in ("keep_probability", "entries") if key in record}
                    samples.setdefault(record["key"], []).append({"text": record[name], **extra})
                else:
                    uid = str(record[options.columns.uid or "uid"])
                    _add_member(archive, f"{uid}.json", _as_json(record))
                    _add_member(archive, f"{uid}.txt", str(record[name]).encode())
        if shard.format is Format.WEBDATASET:
            try:
                _copy_samples(Path(shard.path), archive, samples)
            except tarfile.TarError:
                # The damage was counted when the texts were read; what lies before it is copied by now.
                if options.on_damage is OnDamage.STOP:
                    raise
    return rows


def _copy_samples(source: Path, archive: tarfile.TarFile, samples: dict[str, list[dict[str, object]]]) -> None:
    last = ""
    with tarfile.open(source, "r|*") as members:
        for member in members:
            key, _ = split_name(member.name)
            if key not in samples or not member.isfile():
                continue
            if key != last:
                _add_member(archive, f"{key}.kept.json", _as_json({"texts": samples[key]}))
                last = key
            archive.addfile(member, members.extractfile(member))


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # with the time 0, so that equal runs write equal bytes
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _as_json(record: dict[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False, default=str).encode()

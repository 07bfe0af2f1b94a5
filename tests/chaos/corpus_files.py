"""Rows of text in every kind of file that a job reads."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from conftest import WORDS


def write_corpus(folder: Path, rows: int, *, seed: int = 0) -> set[str]:
    """So many rows, a quarter each as text, JSON lines, gzip and Parquet; the ids that they must have.

    Args:
        folder: to write to; ids of rows without their own begin with its name.
        rows: how many.
        seed: of the words.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(seed)
    lines = [" ".join(chance.choices(WORDS[:13], k=chance.randint(3, 20))) for _ in range(rows)]
    folder.mkdir(parents=True, exist_ok=True)
    quarters = [lines[start::4] for start in range(4)]
    ids: set[str] = set()
    for name, part in (("a.txt", quarters[0]), ("c.txt.gz", quarters[2])):
        place, data = 0, []
        for line in part:
            ids.add(f"{folder}/{name}:{place}")
            data.append(f"{line}\n".encode())
            place += len(data[-1])
        whole = b"".join(data)
        (folder / name).write_bytes(gzip.compress(whole, mtime=0) if name.endswith("gz") else whole)
    own = {"b": [f"b{n}" for n in range(len(quarters[1]))], "d": [f"d{n}" for n in range(len(quarters[3]))]}
    with (folder / "b.jsonl").open("w") as stream:
        for name, line in zip(own["b"], quarters[1], strict=True):
            stream.write(json.dumps({"id": name, "text": line}) + "\n")
    table = pa.table({"id": own["d"], "text": quarters[3]})
    pq.write_table(table, folder / "d.parquet", row_group_size=max(1, len(quarters[3]) // 12))
    return ids | set(own["b"]) | set(own["d"])

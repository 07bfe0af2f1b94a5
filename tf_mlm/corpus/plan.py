"""The plan of a job: which units there are, and what must not change while they are done.

`plan.json` holds it, in the directory that the job writes. It is a pure function of the files, the model and
the options, so any number of processes may make it at once; whoever comes with another one is refused by
what differs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tf_mlm.corpus import storage
from tf_mlm.corpus.rows import Fields
from tf_mlm.corpus.storage import Output, is_remote
from tf_mlm.corpus.units import Unit, units_of
from tf_mlm.errors import ConfigError

PLAN, SUCCESS = "plan.json", "_SUCCESS"
VERBS = ("score", "fill", "embed", "tokenize")
FORMATS = ("jsonl", "parquet")
FILES_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker must know. It is sent to every one of them.

    Attributes:
        verb: what is done with each row.
        target: the model directory, the version directory or the address that answers.
        model: what tells this model from another one.
        options: those of the verb, and `batch`, `format`, `text_field`, `id_field`, `unit_bytes`.
        files: path, size in bytes and state of each file.
        units: what there is to do.
        output: the directory to write.
        root: where relative paths begin.
    """

    verb: str
    target: str
    model: str
    options: Mapping[str, Any]
    files: Sequence[Sequence[Any]]
    units: Sequence[Unit]
    output: str
    root: str

    @property
    def fields(self) -> Fields:
        """How rows are read."""
        options = self.options
        documents = self.verb == "tokenize" and not options["line_by_line"]
        return Fields(options["text_field"], options["id_field"], documents)

    def place(self, path: str) -> str:
        """Where a file of the corpus lies."""
        return path if is_remote(path) else os.path.join(self.root, path)

    def part(self, index: int) -> str:
        """The name of a unit's output; it is there when the unit is done."""
        return self.parts(index)[-1]

    def parts(self, index: int) -> list[str]:
        """The names of all that a unit writes, the last of which is written last."""
        number = f"{index:05d}-of-{len(self.units):05d}"
        if self.verb == "tokenize":
            return [f"{side}-{number}.tfrecord" for side in ("held_out", "train")]
        return [f"part-{number}.{self.options['format']}"]

    def missing(self) -> list[int]:
        """The units that are not done."""
        there = Output(self.output).names()
        return [index for index in range(len(self.units)) if self.part(index) not in there]

    def to_json(self) -> dict[str, Any]:
        """What `plan.json` says."""
        return {
            "verb": self.verb,
            "model": self.model,
            "options": dict(self.options),
            "files": [list(file) for file in self.files],
            "units": len(self.units),
        }


def make_job(
    patterns: Sequence[str], output: str, *, verb: str, target: str, model: str, options: Mapping[str, Any]
) -> Job:
    """Plans a job, or finds that it was planned before; nothing is read but the beginning of each file.

    Args:
        patterns: paths, globs and addresses.
        output: the directory to write.
        verb: one of `VERBS`.
        target: what answers.
        model: what tells it from another one.
        options: all that shapes the output.

    Raises:
        ConfigError: for files that hold no text in the field asked for, or a directory of another job.
    """
    root = os.getcwd()
    files = storage.find(patterns)
    states = [[path, *storage.state(path)] for path in files]
    units = [
        unit
        for path, size, _ in states
        for unit in units_of(
            path,
            path if is_remote(path) else os.path.join(root, path),
            size,
            options["unit_bytes"],
            text_field=options["text_field"],
        )
    ]
    job = Job(verb, target, model, dict(options), states, units, Output(output).path, root)
    _agree(job)
    return job


def finish(job: Job) -> None:
    """Writes `_SUCCESS`, once no part is missing; what killed workers left half written goes."""
    directory = Output(job.output)
    if not directory.holds(SUCCESS):
        directory.tidy()
        directory.write(SUCCESS, json.dumps({"units": len(job.units)}).encode())


def digest(value: Any) -> str:
    """A short fingerprint of JSON values."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()


def _agree(job: Job) -> None:
    directory, now = Output(job.output), json.loads(json.dumps(job.to_json()))
    names = directory.names()
    if PLAN not in names:
        if foreign := sorted(name for name in names if not name.startswith(".")):
            raise ConfigError(
                f"The output must be a directory of this job, or new. Received: `{job.output}`, which holds "
                f"`{foreign[0]}` and no {PLAN}. Choose another --output."
            )
        directory.write(PLAN, json.dumps(now, indent=1, ensure_ascii=False).encode())
        return
    try:
        before = json.loads(directory.read(PLAN))
        changes = _changes(before, now)
    except (ValueError, KeyError, TypeError, AttributeError):
        changes = [f"its {PLAN} cannot be read"]
    if changes:
        shown = ", ".join(changes[:FILES_SHOWN])
        shown += f" and {len(changes) - FILES_SHOWN} more" if len(changes) > FILES_SHOWN else ""
        raise ConfigError(
            f"The output must be a directory of this job, or new. Received: `{job.output}`, which holds "
            f"another one: {shown}. Choose another --output, or repeat the command it was started with."
        )


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    found = []
    if before["verb"] != now["verb"]:
        found.append(f"it was `{before['verb']}` and is now `{now['verb']}`")
    if before["model"] != now["model"]:
        found.append("the model is another one")
    options = sorted({*before["options"], *now["options"]})
    found += [
        f"`{name}` was {before['options'].get(name)!r} and is now {now['options'].get(name)!r}"
        for name in options
        if before["options"].get(name) != now["options"].get(name)
    ]
    old, new = ({path: state for path, *state in plan["files"]} for plan in (before, now))
    found += [f"`{path}` is gone" for path in old if path not in new]
    found += [f"`{path}` is new" for path in new if path not in old]
    found += [f"`{path}` has changed" for path in new if path in old and old[path] != new[path]]
    if not found and before != now:
        found.append("the files are cut into other units")
    return found

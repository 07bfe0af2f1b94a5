"""What a file holds, by its name and its first bytes; and what to do with one that holds no text."""

from __future__ import annotations

import json
import re
from pathlib import PurePath

from tf_mlm.errors import ConfigError

HEAD_BYTES = 1 << 16
"""So much of a file, decompressed, is looked at."""
JSON_NAMES = (".json", ".jsonl", ".ndjson", ".jsonlines")
_RECORDS = re.compile(r"\.tfrecords?(-\d+-of-\d+)?$", re.IGNORECASE)
_JSON_START = re.compile(r'\[?\s*\{\s*(\}|"(?:[^"\\]|\\.)*"\s*:)|\[\s*"')

_TABLE = 'Write its column of text as JSON lines, {"text": "..."} on each line.'
_MARKUP = "Extract its text first."
_PACKED = "Unpack it first; of compressed files only gzip is read as it is."
_PAPER = "Extract its text first, for example with `pdftotext` or `pandoc -t plain`."
_OTHER = "Give files of text."

_NAMES = {
    name: (what, advice)
    for names, what, advice in (
        (".csv", "a table (CSV)", _TABLE),
        (".tsv .tab", "a table (TSV)", _TABLE),
        (".parquet .pq", "a Parquet table", _TABLE),
        (".arrow .feather", "an Arrow table", _TABLE),
        (".orc", "an ORC table", _TABLE),
        (".avro", "an Avro table", _TABLE),
        (".xls .xlsx .ods", "a spreadsheet", _TABLE),
        (".db .sqlite .sqlite3", "a database", _TABLE),
        (".html .htm .xhtml", "HTML", _MARKUP),
        (".xml", "XML", _MARKUP),
        (".pdf", "a PDF", _PAPER),
        (".doc .docx .odt .rtf .epub .ps", "a formatted document", _PAPER),
        (".zip", "a zip archive", _PACKED),
        (".tar .tgz", "a tar archive", _PACKED),
        (".bz2 .xz .lzma .zst .zstd .lz4 .7z .rar .z .br", "a compressed file", _PACKED),
        (".npy .npz .pkl .pickle .h5 .hdf5", "arrays or objects of a program", _OTHER),
        (".pt .pth .ckpt .safetensors .onnx .tflite .pb .keras", "the weights of a model", _OTHER),
        (".png .jpg .jpeg .gif .webp .tif .tiff .svg .mp3 .mp4 .wav", "no text", _OTHER),
    )
    for name in names.split()
}
_SIGNATURES = (
    (b"PAR1", "a Parquet table", _TABLE),
    (b"ARROW1", "an Arrow table", _TABLE),
    (b"ORC", "an ORC table", _TABLE),
    (b"Obj\x01", "an Avro table", _TABLE),
    (b"SQLite format 3", "a database", _TABLE),
    (b"%PDF-", "a PDF", _PAPER),
    (b"{\\rtf", "a formatted document", _PAPER),
    (b"%!PS", "a formatted document", _PAPER),
    (b"\xd0\xcf\x11\xe0", "a document of an office program", _PAPER),
    (b"PK\x03\x04", "a zip archive (as .docx, .xlsx and .epub are)", _PACKED),
    (b"\x1f\x8b", "gzip inside gzip", _PACKED),
    (b"BZh", "a compressed file (bzip2)", _PACKED),
    (b"\xfd7zXZ\x00", "a compressed file (xz)", _PACKED),
    (b"\x28\xb5\x2f\xfd", "a compressed file (zstd)", _PACKED),
    (b"\x04\x22\x4d\x18", "a compressed file (lz4)", _PACKED),
    (b"7z\xbc\xaf\x27\x1c", "a compressed file (7z)", _PACKED),
    (b"Rar!\x1a", "a compressed file (rar)", _PACKED),
    (b"\x93NUMPY", "arrays of NumPy", _OTHER),
    (b"\x89HDF", "an HDF5 file", _OTHER),
    (b"\x89PNG", "a picture", _OTHER),
    (b"\xff\xd8\xff", "a picture", _OTHER),
    (b"GIF8", "a picture", _OTHER),
    (b"\x7fELF", "a program", _OTHER),
)
_WIDE = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def kind_by_name(path: PurePath) -> str | None:
    """`json` or `tfrecord`, None where the name does not tell (a final `.gz` does not count).

    Raises:
        ConfigError: if the name is one of a format that is no text; says what to do.

    Example:
        >>> from pathlib import PurePath
        >>> kind_by_name(PurePath("news.jsonl.gz")), kind_by_name(PurePath("a.tfrecord-00000-of-00008"))
        ('json', 'tfrecord')
        >>> kind_by_name(PurePath("table.csv"))
        Traceback (most recent call last):
            ...
        tf_mlm.errors.ConfigError: A text file must hold text. Received: `table.csv`, by its name a table \
(CSV). Write its column of text as JSON lines, {"text": "..."} on each line.
    """
    name = path.name.lower().removesuffix(".gz")
    if _RECORDS.search(name):
        return "tfrecord"
    suffix = PurePath(name).suffix
    if suffix in JSON_NAMES:
        return "json"
    if suffix in _NAMES:
        what, advice = _NAMES[suffix]
        raise _no_text(path, f"by its name {what}", advice)
    return None


def kind_by_content(path: PurePath, head: bytes, *, whole: bool) -> str:
    """`text` or `json`, by the first bytes of a file.

    Args:
        path: for the message.
        head: the first bytes, decompressed.
        whole: whether these are all of the file.

    Raises:
        ConfigError: if they begin a format that is no text; says what to do.
    """
    for magic, encoding in _WIDE:
        if head.startswith(magic):
            raise _no_text(
                path,
                f"which is {encoding}",
                f"Convert it to UTF-8, for example with `iconv -f {encoding} -t UTF-8`.",
            )
    for magic, what, advice in _SIGNATURES:
        if head.startswith(magic):
            raise _no_text(path, f"which is {what}", advice)
    if head[257:262] == b"ustar":
        raise _no_text(path, "which is a tar archive", _PACKED)
    text = head.decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    start = text[:200].lower()
    if start.startswith(("<!doctype html", "<html")):
        raise _no_text(path, "which is HTML", _MARKUP)
    if start.startswith("<?xml"):
        raise _no_text(path, "which is XML", _MARKUP)
    return "json" if _is_json(text, whole=whole) else "text"


def _is_json(text: str, *, whole: bool) -> bool:
    """Whether these are objects or lists of JSON, and not prose that begins with a bracket."""
    if not _JSON_START.match(text):
        return False
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        # Cut off by the end of what was read; only an object's first name and colon are proof enough.
        return not whole and not re.match(r'\[\s*"', text)
    # A line that is an object begins JSON lines; a list must be all there is.
    rest = text[end:].partition("\n")[0] if isinstance(value, dict) else text[end:]
    return not rest.strip()


def _no_text(path: PurePath, what: str, advice: str) -> ConfigError:
    return ConfigError(f"A text file must hold text. Received: `{path}`, {what}. {advice}")

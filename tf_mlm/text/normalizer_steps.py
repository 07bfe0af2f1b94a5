"""The `normalizer` of a `tokenizer.json` as steps in the graph."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.errors import UnsupportedTokenizerError
from tf_mlm.text.character_map import CharacterMap, Runs, Strip, WhiteSpaceRuns, of_charsmap, of_library
from tf_mlm.text.characters import Characters
from tf_mlm.text.composition import Composition
from tf_mlm.text.tokenizers_library import library_normalizer

Step = Callable[[Characters, tf.Tensor], Characters]
WHITE_SPACE_RUNS = r"\s{2,}|[\n\r\t]"
# Those that look at one character at a time, once decomposed accents are taken away.
_SINGLE = ("Lowercase", "Nmt", "StripAccents")
_DECOMPOSING = ("NFD", "NFKD")


def steps_of(serialised: str) -> list[Step]:
    """The steps of a normaliser.

    Args:
        serialised: its JSON.

    Raises:
        UnsupportedTokenizerError: for a step that has no counterpart here.
        ConfigError: for a `precompiled_charsmap` that is none.

    Example:
        >>> from tf_mlm.text.normalizer_steps import steps_of
        >>> steps = '[{"type": "Lowercase"}, {"type": "Strip", "strip_left": true, "strip_right": true}]'
        >>> [type(step).__name__ for step in steps_of('{"type": "Sequence", "normalizers": %s}' % steps)]
        ['CharacterMap', 'Strip']
    """
    steps: list[Step] = []
    single: list[Mapping[str, Any]] = []

    def flush() -> None:
        if single:
            steps.append(_single(single))
            single.clear()

    values = _flat(json.loads(serialised or "null"))
    for place, value in enumerate(values):
        if _is_single(values, place):
            single.append(value)
        else:
            flush()
            steps.append(_step(value))
    flush()
    return steps


def _flat(value: Any) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if value.get("type") == "Sequence":
        return [step for each in value.get("normalizers", ()) for step in _flat(each)]
    return [value]


def _is_single(values: Sequence[Mapping[str, Any]], place: int) -> bool:
    value = values[place]
    if value["type"] in _DECOMPOSING:  # marks are put in order, of which none is left
        return place + 1 < len(values) and values[place + 1]["type"] == "StripAccents"
    pattern = value.get("pattern", {}).get("String") if value["type"] == "Replace" else None
    return value["type"] in _SINGLE or (isinstance(pattern, str) and len(pattern) == 1)


def _single(values: Sequence[Mapping[str, Any]]) -> CharacterMap:
    serialised = json.dumps({"type": "Sequence", "normalizers": list(values)})
    library = library_normalizer(serialised)
    assert library is not None
    return of_library([library])


def _step(value: Mapping[str, Any]) -> Step:
    kind = value["type"]
    if kind == "Precompiled":
        return of_charsmap(base64.b64decode(value["precompiled_charsmap"]))
    if kind == "Strip":
        return Strip(bool(value["strip_left"]), bool(value["strip_right"]))
    if kind == "Replace" and len(value["content"]) == 1:
        text, regex = (value["pattern"].get(key) for key in ("String", "Regex"))
        if isinstance(text, str) and len(text) == 2 and text[0] == text[1]:
            return Runs(text[0], value["content"], pairs=True)
        if regex == " {2,}":
            return Runs(" ", value["content"], pairs=False)
    if kind == "NFC":
        return Composition()
    if kind == "Replace" and value["pattern"].get("Regex") == WHITE_SPACE_RUNS and value["content"] == " ":
        return WhiteSpaceRuns()
    shown = {key: item for key, item in value.items() if key != "precompiled_charsmap"}
    raise UnsupportedTokenizerError(
        "`normalizer` must be made of Precompiled, NFKD or NFD before StripAccents, NFC, Lowercase, Nmt, "
        f"Strip, and Replace of one or two equal characters or of white space. Received: {shown!r}."
    )

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tf_mlm.config import AddedToken, TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.text.vocabulary import Vocabulary
from tf_mlm.text.wordpiece_training import train_vocabulary

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def written(directory: Path, content: bytes) -> Path:
    path = directory / "vocab.txt"
    path.write_bytes(content)
    return path


def lines(*tokens: str, end: str = "\n") -> bytes:
    return "".join(token + end for token in tokens).encode()


def test_ids_are_places() -> None:
    vocabulary = Vocabulary(["a", "[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "##b", "##"])
    assert (vocabulary.mask_id, vocabulary.sep_id, vocabulary.cls_id) == (1, 2, 3)
    assert (vocabulary.unk_id, vocabulary.pad_id) == (4, 5)
    assert vocabulary.special_ids == (5, 4, 3, 2, 1)
    assert vocabulary.continuation_ids == (6,)
    assert (vocabulary.size, len(vocabulary), list(vocabulary)) == (8, 8, list(vocabulary.tokens))
    assert "a" in vocabulary
    assert "b" not in vocabulary
    assert (vocabulary.id_of("a"), vocabulary.id_of("b")) == (0, None)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_marks_are_no_part_of_a_token(tmp_path: Path, end: str, mark: bytes) -> None:
    path = written(tmp_path, mark + lines(*SPECIALS, "été", "a\u2028b", " x", end=end))
    assert Vocabulary.read(path).tokens == (*SPECIALS, "été", "a\u2028b", " x")


def test_blanks_behind_a_token_and_empty_lines_at_the_end_do_not_count(tmp_path: Path) -> None:
    path = written(tmp_path, lines(*SPECIALS, "a \t", " b\u3000", "c\x1f", "", " ", end="\r\n"))
    assert Vocabulary.read(path).tokens == (*SPECIALS, "a", " b", "c\x1f")


def test_empty_and_repeated_lines_have_unused_names(tmp_path: Path) -> None:
    vocabulary = Vocabulary.read(written(tmp_path, lines(*SPECIALS, "a", "", "[unused6]", "a ", "b")))
    assert vocabulary.tokens[5:] == ("[unused5]", "[[unused6]]", "[unused6]", "a", "b")
    assert (vocabulary.unnamed_ids, vocabulary.blank_id) == ({5}, 6)
    assert vocabulary.id_of("a") == 8


def test_tokens_with_ids_of_their_own() -> None:
    ids = {token: index for index, token in enumerate(SPECIALS)}
    vocabulary = Vocabulary.of_ids({**ids, "x": 7}, size=9)
    assert vocabulary.tokens[5:] == ("[unused5]", "[unused6]", "x", "[unused8]")
    assert (vocabulary.pieces, vocabulary.unnamed_ids) == (8, {5, 6, 8})
    with pytest.raises(ConfigError, match=r"gives 4 to 'x' and to '\[MASK\]'"):
        Vocabulary.of_ids({**ids, "x": 4})
    with pytest.raises(ConfigError, match="gives -1 to 'x'"):
        Vocabulary.of_ids({**ids, "x": -1})


def test_special_ids_have_added_special_tokens_too() -> None:
    added = (AddedToken("a", special=True), AddedToken("b"), AddedToken("[SEP]", special=True))
    vocabulary = Vocabulary([*SPECIALS, "a", "b"], TokenizerConfig(added_tokens=added))
    assert vocabulary.special_ids == (0, 1, 2, 3, 4, 5)
    with pytest.raises(ConfigError, match=r"must contain the added tokens; .* lacks b"):
        Vocabulary([*SPECIALS, "a"], TokenizerConfig(added_tokens=added))
    with pytest.raises(ConfigError, match=r"\[UNK\] must be one of the 1 tokens that words are cut into"):
        Vocabulary(SPECIALS, pieces=1)


def test_a_last_line_without_end_counts(tmp_path: Path) -> None:
    assert Vocabulary.read(written(tmp_path, lines(*SPECIALS) + b"last")).tokens[-1] == "last"


def test_write_and_read_give_the_same(tmp_path: Path) -> None:
    config = TokenizerConfig(do_lower_case=False, mask_token="<mask>")
    vocabulary = Vocabulary(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<mask>", "中", "##é", "é\u0085b"], config)
    vocabulary.write(tmp_path / "vocab.txt")
    assert Vocabulary.read(tmp_path / "vocab.txt", config) == vocabulary
    assert (tmp_path / "vocab.txt").read_bytes().endswith("\u0085b\n".encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"vocab\.txt` is empty"),
        (lines("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"), r"vocab\.txt` \(5 tokens\) lacks \[MASK\]\. Add"),
        (lines(*SPECIALS, "a\rb"), r"must not contain a line break; `.*vocab\.txt`, line 6"),
        (lines(*SPECIALS) + b"caf\xe9\n", r"must be UTF-8; `.*vocab\.txt`, line 6 holds the byte 0xe9"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Vocabulary.read(written(tmp_path, content))


def test_a_missing_file_or_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt` does not exist"):
        Vocabulary.read(tmp_path / "nowhere.txt")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Vocabulary.read(tmp_path)


def test_errors_of_a_list_name_the_token() -> None:
    with pytest.raises(ConfigError, match="the vocabulary, token 6 repeats 'a' of token 5"):
        Vocabulary([*SPECIALS, "a", "a"])


def test_training_finds_frequent_words(documentation: list[str]) -> None:
    vocabulary = train_vocabulary(documentation, 2000)
    assert vocabulary.size == 2000
    assert vocabulary.tokens[:5] == TokenizerConfig().special_tokens
    assert {"the", "object", "##s"} <= set(vocabulary)
    assert not any(token.lower() != token for token in vocabulary.tokens[5:])
    assert (
        train_vocabulary(documentation, 2000, TokenizerConfig(do_lower_case=False)).id_of("The") is not None
    )


def test_training_is_the_same_in_every_process(documentation: list[str], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join(documentation[:3000]), encoding="utf-8")
    program = (
        "import sys; from tf_mlm.text.wordpiece_training import train_vocabulary; "
        "train_vocabulary(open(sys.argv[1], encoding='utf-8'), 1500).write(sys.argv[2])"
    )
    digests = set()
    for name in ("first", "second", "third"):
        output = tmp_path / name
        subprocess.run([sys.executable, "-c", program, tmp_path / "text", output], check=True, timeout=120)
        digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 100, "not one word"),
        (["", " \n"], 100, "not one word"),
        (["a"], 5, "must exceed the 5 special tokens"),
    ],
)
def test_training_needs_text_and_room(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_vocabulary(texts, size)


def test_half_an_emoji_is_no_obstacle() -> None:
    assert (
        train_vocabulary(["the \ud83d cat"] * 3, 60).tokens == train_vocabulary(["the  cat"] * 3, 60).tokens
    )


def test_a_small_size_is_kept(documentation: list[str]) -> None:
    assert train_vocabulary(documentation, 40).size == 40

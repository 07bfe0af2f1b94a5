"""Residues in the graph beside transformers' `EsmTokenizer`, and its rules one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference import small_tokenizers

from tf_mlm.config import ModelConfig, TokenizerConfig
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.read_tokenizer import read_preprocessor
from tf_mlm.text.longest_match import LongestMatchTokenizer
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.text.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def preprocessor(tmp_path_factory: pytest.TempPathFactory) -> TextPreprocessor:
    directory = tmp_path_factory.mktemp("esm")
    small_tokenizers.write_tokenizer(directory, "esm")
    sizes = ModelConfig(model_type="esm", vocab_size=33, pad_token_id=1, max_position_embeddings=10_000)
    found = read_preprocessor(directory, sizes)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "tokens", "offsets"),
    [
        ("MKT", ["M", "K", "T"], [(0, 1), (1, 2), (2, 3)]),
        ("M<mask>  K", ["M", "<mask>", "K"], [(0, 1), (1, 7), (9, 10)]),
        ("Méxé K", ["M", "<unk>", "K"], [(0, 1), (1, 6), (7, 8)]),
        ("a b\x1cc", ["<unk>"] * 3, [(0, 1), (2, 3), (4, 5)]),
        ("<null_1><nuL", ["<null_1>", "<unk>", "L"], [(0, 8), (8, 11), (11, 12)]),
        (" ", [], []),
    ],
)
def test_rules(
    preprocessor: TextPreprocessor, text: str, tokens: list[str], offsets: list[tuple[int, int]]
) -> None:
    found = preprocessor([text, "MK"])
    inside = slice(1, int(found.lengths[0]) - 1)
    names = preprocessor.tokens_of(found.token_ids[0, inside]).numpy().tolist()
    assert [name.decode() for name in names] == tokens
    pairs = zip(found.starts[0, inside].numpy(), found.ends[0, inside].numpy(), strict=True)
    assert [tuple(map(int, pair)) for pair in pairs] == offsets


def test_a_byte_that_is_no_character_is_unknown(preprocessor: TextPreprocessor) -> None:
    found = preprocessor([b"M\xffK"])
    assert found.token_ids.numpy().tolist() == [[0, 20, 3, 15, 2]]
    assert found.ends.numpy().tolist() == [[0, 1, 2, 3, 0]]


def test_longer_tokens_go_first() -> None:
    names = {"unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<eos>", "pad_token": "<pad>"}
    config = TokenizerConfig(model="LongestMatch", mask_token="<mask>", **names)
    tokens = ["<cls>", "<pad>", "<eos>", "<unk>", "<mask>", "A", "C", "G", "ACG", "CGA"]
    found = LongestMatchTokenizer(Vocabulary(tokens, config))(["ACGACCGA"])
    assert found.token_ids.numpy().tolist() == [8, 5, 6, 9]
    with pytest.raises(ConfigError, match=r"no white space in it.*'A C'"):
        LongestMatchTokenizer(Vocabulary([*tokens, "A C"], config))


def test_decoding_is_spaces_between_residues(preprocessor: TextPreprocessor) -> None:
    ids = preprocessor(["MK<mask>x"]).token_ids[0]
    assert preprocessor.detokenize(ids) == "M K"
    assert preprocessor.detokenize(ids, skip_special_tokens=False) == "<cls> M K <mask> <unk> <eos>"


@pytest.mark.peers
def test_ids_are_those_of_transformers(preprocessor: TextPreprocessor, tmp_path: Path) -> None:
    import transformers

    small_tokenizers.write_tokenizer(tmp_path, "esm")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    texts = small_tokenizers.residues(3000, seed=0)
    found = preprocessor(texts)
    for row, (text, wanted) in enumerate(zip(texts, theirs(texts)["input_ids"], strict=True)):
        assert found.token_ids[row, : found.lengths[row]].numpy().tolist() == wanted, ascii(text)

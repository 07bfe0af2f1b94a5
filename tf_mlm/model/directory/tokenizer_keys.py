"""What stands in the tokenizer files: the classes that transformers knows, and the keys, by their effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Without the "Fast" that older versions put behind them.
BERT_CLASSES = (
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
)
MPNET_CLASSES = ("MPNetTokenizer",)
ROBERTA_CLASSES = ("RobertaTokenizer",)
ESM_CLASSES = ("EsmTokenizer",)
UNIGRAM_CLASSES: Mapping[str, tuple[str, ...]] = {
    "xlm-roberta": ("XLMRobertaTokenizer",),
    "camembert": ("CamembertTokenizer",),
    "albert": ("AlbertTokenizer", "FNetTokenizer"),
    "deberta-v2": ("DebertaV2Tokenizer",),
}
UNIGRAM_MODELS: Mapping[str, str] = {**{kind: kind for kind in UNIGRAM_CLASSES}, "fnet": "albert"}
"""Which of them a `model_type` has."""
JIEBA_CLASSES = ("RoFormerTokenizer",)
GENERIC_CLASSES = ("PreTrainedTokenizer", "PythonBackend", "TokenizersBackend")
BERT_MODELS = ("bert", "distilbert", "electra", "roformer_v2")
ROBERTA_MODELS = ("roberta",)

SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
OUR_NAMES = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
DEFAULT_TOKENS: Mapping[str, Mapping[str, str]] = {
    "bert": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "roberta": _ROBERTA_TOKENS,
    "mpnet": {**_ROBERTA_TOKENS, "unk_token": "[UNK]"},
    "xlm-roberta": _ROBERTA_TOKENS,
    "camembert": _ROBERTA_TOKENS,
    "albert": {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "<unk>",
        "sep_token": "[SEP]",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "deberta-v2": {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "esm": {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "cls_token": "<cls>",
        "mask_token": "<mask>",
        "eos_token": "<eos>",
    },
    "generic": {},
}
"""What the classes call special tokens that the files do not name."""
MASKS_WITH_LSTRIP = ("camembert", "mpnet")
"""Whose classes let a mask that is a plain string take the blanks before it along."""
BERT_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
ROBERTA_SETTINGS = ("add_prefix_space", "trim_offsets")
SETTINGS = (*BERT_SETTINGS, *ROBERTA_SETTINGS)
MORE_TOKENS = ("additional_special_tokens", "extra_special_tokens")

# Keys of tokenizer_config.json that decide nothing about the ids of a text, in transformers 5 either.
WITHOUT_EFFECT = frozenset(
    {
        "_commit_hash",
        "_from_auto",
        "add_bos_token",
        "add_eos_token",
        "add_prefix_space",
        "add_special_tokens",
        "backend",
        "chat_control_tokens",
        "chat_template",
        "device_map",
        "errors",
        "extra_ids",
        "fast_tokenizer_files",
        "full_tokenizer_file",
        "init_inputs",
        "is_fast",
        "is_local",
        "keep_accents",
        "legacy",
        "local_files_only",
        "max_len_sentences_pair",
        "max_len_single_sentence",
        "max_length",
        "model_input_names",
        "model_specific_special_tokens",
        "name_or_path",
        "pad_to_multiple_of",
        "pad_token_type",
        "pad_token_type_id",
        "padding",
        "padding_side",
        "processor_class",
        "response_schema",
        "response_template",
        "remove_space",
        "return_tensors",
        "slow_tokenizer_class",
        "sp_model_kwargs",
        "spaces_between_special_tokens",
        "special_tokens",
        "special_tokens_map_file",
        "stride",
        "token_type_ids",
        "tokenizer_file",
        "tokenizer_type",
        "trim_offsets",
        "truncation",
        "truncation_strategy",
        "trust_remote_code",
        "unk_id",
        "use_fast",
        "verbose",
        "vocab_file",
        "vocab_size",
        "vocab_type",
    }
)
# Keys that transformers 5 ignores although they once meant something; other values get a warning.
IGNORED: Mapping[str, tuple[Any, ...]] = {
    "auto_map": (None,),
    "clean_text": (True, None),
    "do_basic_tokenize": (True, None),
    "handle_chinese_chars": (True, None),
    "lowercase": (True, None),
    "max_input_chars_per_word": (100, None),
    "never_split": (None, [], ()),
    "wordpieces_prefix": ("##", None),
    "do_word_tokenize": (True, None),
    "do_subword_tokenize": (True, None),
    "word_tokenizer_type": ("basic", None),
    "subword_tokenizer_type": ("wordpiece", None),
    "mecab_kwargs": (None,),
    "sudachi_kwargs": (None,),
    "jumanpp_kwargs": (None,),
}
READ = frozenset(
    {
        *(*SPECIAL_NAMES, *BERT_SETTINGS, *MORE_TOKENS, "added_tokens_decoder", "tokenizer_class"),
        *("model_max_length", "max_len", "clean_up_tokenization_spaces"),
        *("split_special_tokens", "truncation_side", "split_by_punct"),
    }
)

"""Settings as frozen dataclasses: checked when they are made, equal to the JSON they came from.

The field names are those of Hugging Face's `config.json` and `tokenizer_config.json`, so a model
directory needs no translation. Only the standard library is imported here.
"""

from tf_mlm.config.buckets import Buckets
from tf_mlm.config.json_object import check_not_a_pointer, from_json, read_json, to_json, write_json
from tf_mlm.config.limits import Limits
from tf_mlm.config.model import ROBERTA_TYPES, ModelConfig
from tf_mlm.config.switches import SWITCHES
from tf_mlm.config.tokenizer import AddedToken, TokenizerConfig

__all__ = [
    "ROBERTA_TYPES",
    "SWITCHES",
    "AddedToken",
    "Buckets",
    "Limits",
    "ModelConfig",
    "TokenizerConfig",
    "check_not_a_pointer",
    "from_json",
    "read_json",
    "to_json",
    "write_json",
]

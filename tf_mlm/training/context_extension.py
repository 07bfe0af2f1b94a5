"""Context extension: a model goes on with longer texts than it was trained on, by angles that turn slower."""

from __future__ import annotations

import dataclasses

from tf_mlm.config import ModelConfig
from tf_mlm.config.architectures import ARCHITECTURES, Sizes
from tf_mlm.errors import ConfigError
from tf_mlm.model.directory.config_json import check_config
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.text.preprocessor import TextPreprocessor
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import named_variables


def extended(model: MaskedLM, config: TrainConfig) -> MaskedLM:
    """The model with positions for rows of `config.length` tokens, turned by `config.rope_theta`.

    Layers that see all of a text get the new base, those that see a window keep theirs: no distance is new to
    them. Without a base, that of the architecture for this length is taken, if the model's own is not larger.
    Where nothing changes, or no length was asked for, the model is returned as it is.

    Raises:
        ConfigError: for a model without rotary positions, or of a family whose base is fixed.

    References:
        Warner et al. (ModernBERT), https://arxiv.org/abs/2412.13663, section 2.2.2: from 1,024 tokens to
        8,192, with a base of 160,000 in place of 10,000; Xiong et al., https://arxiv.org/abs/2309.16039, on
        why.
    """
    sizes = longer(model.config, config)
    if sizes == model.config:
        return model
    check_config(sizes)
    before, preprocessor = named_variables(model), model.preprocessor
    if preprocessor is not None and sizes.max_length > model.config.max_length:
        preprocessor = TextPreprocessor(
            preprocessor.vocabulary,
            sizes.max_length,
            pad_to_max_length=preprocessor.pad_to_max_length,
            tokenizer=preprocessor.tokenizer,
            limits=preprocessor.limits,
        )
    found = MaskedLM.from_config(sizes, dtype=config.dtype, seed=config.seed, preprocessor=preprocessor)
    turns_alike = sizes.rope_theta == model.config.rope_theta
    for name, variable in named_variables(found).items():
        # Some families keep their rotations among the weights; where they change, the new ones are right.
        is_rotation = name.endswith("/stored")
        if not is_rotation or (turns_alike and variable.shape == before[name].shape):
            variable.assign(before[name].numpy())
    return found


def longer(sizes: ModelConfig, config: TrainConfig) -> ModelConfig:
    """The sizes of `extended`, from those of the model."""
    is_longer = config.length > sizes.max_length and "length" not in config.left_open
    theta = config.rope_theta
    if not is_longer and theta is None:
        return sizes
    if sizes.rope_theta is None:
        asked = f"length={config.length}" if is_longer else f"rope_theta={theta}"
        raise ConfigError(
            "Only rotary positions reach further than a model was trained: learned ones are a table, and end "
            f"with it. Received: {asked} and a {sizes.model_type} with positions for {sizes.max_length} "
            f"tokens. Give --length {sizes.max_length} or less and no --rope-theta, or continue a model with "
            "rotary positions, such as a modernbert."
        )
    if theta is None:
        theta = max(sizes.rope_theta, _theta_of(sizes, config.length))
    positions = max(sizes.max_position_embeddings, config.length + sizes.position_offset)
    return dataclasses.replace(sizes, max_position_embeddings=positions, rope_theta=theta)


def _theta_of(sizes: ModelConfig, length: int) -> float:
    """The base that new models of the architecture have at such a length; else the model's own."""
    if sizes.model_type not in ARCHITECTURES:
        assert sizes.rope_theta is not None
        return sizes.rope_theta
    ids = (sizes.pad_token_id, sizes.pad_token_id, sizes.pad_token_id)
    settings = ARCHITECTURES[sizes.model_type].settings(
        Sizes(length, sizes.num_hidden_layers, sizes.hidden_size, *ids)
    )
    return float(settings["rope_theta"])

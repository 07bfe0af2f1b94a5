"""How each architecture was pretrained, where its paper says otherwise than the defaults for BERT. Only data.

What depends on the size of a run and not on the family (width, batch, learning rate, steps, and the shares
of them that are warm-up and decay) is the same for all. Dropout belongs to the model, and whether rows are
packed follows from its positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECIPES: Mapping[str, Mapping[str, Any]] = {
    # Devlin et al. 2019, https://arxiv.org/abs/1810.04805, sections 3.1 and A.2: the masks, AdamW, a linear
    # schedule, rows of 128 tokens for nine steps in ten. The moments are those that RoBERTa found stabler.
    "bert": {
        "length": 128,
        "mask_rate": 0.15,
        "optimizer": "adamw",
        "schedule": "linear",
        "weight_decay": 0.01,
        "beta_2": 0.98,
        "clip_norm": 1.0,
    },
    # Liu et al. 2019, https://arxiv.org/abs/1907.11692, section 3.1 (rows of full length) and table 9
    # (nothing is clipped).
    "roberta": {"length": 512, "clip_norm": 0.0},
    # Warner et al. 2024, https://arxiv.org/abs/2412.13663, section 2.2 and appendix A, and their
    # yamls/modernbert/modernbert-base-pretrain.yaml. Their weights shrink by 1e-5 in a step at the highest
    # rate, 8e-4; here the decay is a factor of the rate. StableAdamW stands in for clipping.
    "modernbert": {
        "length": 1024,
        "mask_rate": 0.3,
        "optimizer": "stableadamw",
        "schedule": "wsd",
        "weight_decay": 0.0125,
        "clip_norm": 0.0,
    },
    # Lan et al. 2020, https://arxiv.org/abs/1909.11942, section 4.1: LAMB, whose averages are those of You et
    # al., https://arxiv.org/abs/1904.00962.
    "albert": {"length": 512, "optimizer": "lamb", "beta_2": 0.999},
}
BERT = RECIPES["bert"]


def recipe_of(architecture: str | None) -> dict[str, Any]:
    """Every setting that an architecture has a default of its own for; BERT's where it has none.

    Example:
        >>> recipe = recipe_of("modernbert")
        >>> recipe["optimizer"], recipe["beta_2"]
        ('stableadamw', 0.98)
    """
    return {**BERT, **RECIPES.get(architecture or "bert", {})}


def defaults_of(name: str) -> dict[str, Any]:
    """The default of a setting for BERT, and for each architecture with another one; nothing if all agree.

    Example:
        >>> defaults_of("mask_rate"), defaults_of("seed")
        ({'bert': 0.15, 'modernbert': 0.3}, {})
    """
    return {key: recipe[name] for key, recipe in RECIPES.items() if name in recipe}

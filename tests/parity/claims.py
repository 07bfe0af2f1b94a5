"""Every claim, in the order of the table."""

from __future__ import annotations

from parity import (
    byte_level,
    family_fills,
    fill_mask,
    hugging_face,
    keras_hub_model,
    keras_layers,
    mask_generator,
    oddities,
    residues,
    sentencepiece,
    spellings,
    tokenizer,
)

CLAIMS = [
    claim
    for module in (
        keras_layers,
        mask_generator,
        tokenizer,
        byte_level,
        sentencepiece,
        residues,
        hugging_face,
        spellings,
        oddities,
        keras_hub_model,
        fill_mask,
        family_fills,
    )
    for claim in module.CLAIMS
]

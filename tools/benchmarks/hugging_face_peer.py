"""transformers as a contender, from a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contender
from benchmarks.machine import cores


class HuggingFacePeer:
    """`BertForMaskedLM` in inference mode, with one torch thread per core."""

    def __init__(self, directory: Path) -> None:
        import torch
        from transformers import BertForMaskedLM

        torch.set_num_threads(cores())
        self.directory = directory
        self.model = BertForMaskedLM.from_pretrained(directory).eval()

    def fill(
        self, ids: np.ndarray, lengths: np.ndarray, segments: np.ndarray, positions: np.ndarray, top: int
    ) -> Contender:
        """The encoder, and the head at the masked positions only, which its own pipeline does not do."""
        import torch

        tensors = {
            "input_ids": torch.tensor(ids, dtype=torch.long),
            "attention_mask": torch.tensor(np.arange(ids.shape[1]) < lengths[:, None], dtype=torch.long),
            "token_type_ids": torch.tensor(segments, dtype=torch.long),
        }
        index = torch.tensor(positions, dtype=torch.long)[..., None]
        index = index.expand(-1, -1, self.model.config.hidden_size)

        def run() -> np.ndarray:
            with torch.inference_mode():
                hidden = self.model.bert(**tensors).last_hidden_state
                logits = self.model.cls(torch.gather(hidden, 1, index))
                best = logits.topk(top).values
                return (best - logits.logsumexp(-1, keepdim=True)).numpy()

        return run

    def pipeline(self, batch_size: int, top: int) -> Any:
        """Its own `fill-mask`, from raw text."""
        from transformers import AutoTokenizer, pipeline

        tokenizer = AutoTokenizer.from_pretrained(self.directory)
        return pipeline(
            "fill-mask",
            model=self.model,
            tokenizer=tokenizer,
            device="cpu",
            top_k=top,
            batch_size=batch_size,
            tokenizer_kwargs={"truncation": True},
        )

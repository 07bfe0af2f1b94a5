"""transformers as a contender in inference and in training, from a model directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contender
from benchmarks.machine import cores
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.step import Batch


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


class HuggingFaceTraining:
    """`ModernBertForMaskedLM` with its head at the masked places only, and torch's fused AdamW.

    Args:
        directory: of a model without dropout.
        settings: of the optimizer; vectors are not decayed.
        attention: as transformers names it.
        compiled: by `torch.compile`.
    """

    def __init__(
        self, directory: Path, settings: TrainConfig, attention: str, *, compiled: bool = False
    ) -> None:
        import torch
        from transformers import ModernBertForMaskedLM

        torch.set_num_threads(cores())
        model = ModernBertForMaskedLM.from_pretrained(
            directory, attn_implementation=attention, sparse_prediction=True
        ).train()
        matrices = [weight for weight in model.parameters() if weight.ndim > 1]
        vectors = [weight for weight in model.parameters() if weight.ndim == 1]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(settings.beta_1, settings.beta_2),
            eps=settings.epsilon,
            fused=True,
        )
        self._model = torch.compile(model, dynamic=False) if compiled else model

    def steps_of(self, batch: Batch, steps: int) -> Contender:
        """A call takes so many steps and returns their mean loss."""
        import torch

        ids = torch.tensor(batch.token_ids.numpy(), dtype=torch.long)
        positions = torch.tensor(batch.mask_positions.numpy(), dtype=torch.long)
        targets = torch.tensor(batch.mask_ids.numpy(), dtype=torch.long)
        labels = torch.full_like(ids, -100).scatter(1, positions, targets)

        def run() -> float:
            losses = []
            for _ in range(steps):
                loss = self._model(input_ids=ids, labels=labels).loss
                loss.backward()
                self._optimizer.step()
                self._optimizer.zero_grad(set_to_none=True)
                losses.append(loss.detach())
            return float(torch.stack(losses).mean())

        return run

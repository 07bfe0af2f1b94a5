"""transformers in torch on the same device, with the same weights and inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from run import milliseconds
from tensors import inputs_of, weight

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = True
_MODELS: dict[str, Any] = {}


def _model(config: dict[str, Any], dtype: torch.dtype) -> Any:
    key = f"{dtype}"
    if key not in _MODELS:
        made = transformers.AutoConfig.for_model(**config)
        model = transformers.AutoModelForMaskedLM.from_config(made)
        with torch.no_grad():  # parameters that are tied come once, by the name of the first
            for name, parameter in model.named_parameters():
                parameter.copy_(torch.from_numpy(weight(name, parameter.shape)))
        _MODELS[key] = model.to(DEVICE, dtype).eval()
    return _MODELS[key]


def _wait(_: Any) -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def beside(
    config: dict[str, Any], entry: dict[str, Any], ours: dict[str, Any], calls: int, *, compiled: bool
) -> dict[str, Any]:
    """Times of the peer's ways to do the work of a program, and how far its answer is from ours."""
    inputs = {name: torch.tensor(array, device=DEVICE).long() for name, array in inputs_of(entry).items()}
    work = _fill if entry["work"] == "fill" else _train
    found = work(config, entry, inputs, ours, calls, compiled)
    print("    answer: " + ", ".join(f"{name} {value:.2g}" for name, value in found["answer"].items()))
    for name, result in list(found.items())[1:]:
        ratios = [f"{result[kind] / ours[kind]:.2f}" for kind in ("alone", "queued")]
        print(
            f"    {name}: {result['alone']:.2f} ms alone, {result['queued']:.2f} queued; "
            f"over ours {ratios[0]} and {ratios[1]}",
            flush=True,
        )
    return found


def _fill(config: Any, entry: Any, inputs: Any, ours: Any, calls: int, compiled: bool) -> dict[str, Any]:
    dtype = torch.float32 if entry["dtype"] == "float32" else torch.bfloat16
    model, rows = _model(config, dtype), torch.arange(entry["batch"], device=DEVICE)[:, None]
    (body,) = [module for name, module in model.named_children() if name == model.base_model_prefix]
    head = [module for name, module in model.named_children() if name != model.base_model_prefix]

    def top(logits: Any) -> Any:
        return logits.float().softmax(-1).topk(5)

    def all_logits(model: Any = model) -> Any:
        return top(model(input_ids=inputs["ids"]).logits[rows, inputs["positions"]])

    def masked_logits() -> Any:
        states = body(input_ids=inputs["ids"]).last_hidden_state[rows, inputs["positions"]]
        for module in head:
            states = module(states)
        return top(states)

    with torch.inference_mode():
        reference = _model(config, torch.float32)
        logits = reference(input_ids=inputs["ids"]).logits[rows, inputs["positions"]].float()
        probabilities, tokens = (torch.tensor(np.asarray(part)).to(DEVICE) for part in ours["answer"])
        theirs = logits.log_softmax(-1).gather(-1, tokens.long())
        difference = float((theirs - probabilities.log()).abs().max())
        same = float((logits.argmax(-1) == tokens[..., 0]).float().mean())
        found: dict[str, Any] = {
            "answer": {"log-probabilities differ from float32's by": difference, "same first token": same}
        }
        ways: dict[str, Callable[[], Any]] = {"all logits": all_logits, "head at the masks": masked_logits}
        if compiled:
            ways["head at the masks, compiled"] = torch.compile(masked_logits, dynamic=False)
        for name, way in ways.items():
            found[name] = milliseconds(way, _wait, calls)
    return found


def _train(config: Any, entry: Any, inputs: Any, ours: Any, calls: int, compiled: bool) -> dict[str, Any]:
    dropout = entry["work"] == "train"
    if not dropout:
        config = config | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = copy.deepcopy(_model(config, torch.float32)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, fused=DEVICE == "cuda")
    rows = torch.arange(entry["batch"], device=DEVICE)[:, None]
    labels = torch.full_like(inputs["ids"], -100)
    labels[rows, inputs["positions"]] = inputs["targets"]
    mixed = entry["dtype"] == "mixed_bfloat16"

    def step(model: Any) -> Callable[[], Any]:
        def run() -> Any:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE, torch.bfloat16, enabled=mixed):
                loss = model(input_ids=inputs["ids"], labels=labels).loss
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss, norm

        return run

    loss, norm = (value.detach() for value in step(model)())
    metrics = ours["answer"][0]
    found = {
        "answer": {
            "loss differs by": abs(metrics[0] - float(loss)),
            "norm of the gradient differs by": abs(metrics[3] - float(norm)) / float(norm),
        }
    }
    if not dropout:
        return found
    found["eager"] = milliseconds(step(model), _wait, calls)
    if compiled:
        found["compiled"] = milliseconds(step(torch.compile(model, dynamic=False)), _wait, calls)
    return found

"""Every setting of a training run, checked when it is made. Only the standard library is needed here.

The help text of each setting lives in its field, so that a command line can be built from
`dataclasses.fields(TrainConfig)` without loading TensorFlow.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

from tf_mlm.config.architectures import ARCHITECTURES
from tf_mlm.errors import ConfigError
from tf_mlm.training.batch_warmup import BatchWarmup
from tf_mlm.training.recipes import recipe_of

STRATEGIES = ("auto", "cpu", "gpu", "mirrored", "multiworker", "tpu")
OPTIMIZERS = ("adamw", "stableadamw", "lamb", "muon")
SCHEDULES = ("linear", "cosine", "constant", "wsd")
DTYPES = ("float32", "mixed_bfloat16")
LOSSES = ("auto", "plain", "fused")
MASKINGS = ("dynamic", "static")
DEFAULT_ARCHITECTURE = "bert"


def _setting(
    default: Any, help: str, *, choices: tuple[str, ...] | None = None, resumable: bool = False
) -> Any:
    """A dataclass field with its help text; `resumable` settings may change between a stop and a resume."""
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "resumable": resumable}
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train: what is masked, for how long, with which optimizer, where, and what is kept.

    What `tf_mlm.training.recipes` lists has the default of the `architecture`; it is a value as soon as a
    config is made, and `dataclasses.replace` keeps it.

    Field metadata: `help` (one line), `choices` (or None) and `resumable` (whether a resumed run may
    change it; everything else would make the finished weights differ, and is refused by name).

    Raises:
        ConfigError: at construction, naming the setting, the rule and the value received.

    Example:
        >>> from tf_mlm.training.options import TrainConfig
        >>> TrainConfig(length=64, mask_rate=0.15).masks
        10
        >>> TrainConfig(architecture="modernbert").mask_rate
        0.3
    """

    steps: int | None = _setting(None, "Optimizer steps; the default is 10,000, or what `minutes` allows.")
    minutes: float | None = _setting(
        None, "Train for about so many minutes: the number of steps is measured first."
    )
    until_top_1: float | None = _setting(
        None, "Stop once the share of held-out tokens guessed at first reaches this.", resumable=True
    )
    within_minutes: float | None = _setting(
        None, "Shorten the run so that it takes no longer, where its steps would.", resumable=True
    )
    batch_size: int = _setting(64, "Rows of one optimizer step, over all workers and devices together.")
    batch_warmup: str | None = _setting(
        None, "Rows of the first step, and steps until --batch-size is reached by micro-batches, as 16:2000."
    )
    length: int = _setting(None, "Tokens of one row, special tokens included.")
    seed: int = _setting(1, "Seed of the initial weights, the order, the masks and the dropout.")

    architecture: str | None = _setting(
        None,
        f"Family of a new model, which also says how it reads text; the default is {DEFAULT_ARCHITECTURE}.",
        choices=tuple(ARCHITECTURES),
    )
    vocabulary_size: int = _setting(8000, "Tokens of a newly trained vocabulary.")
    hidden_size: int = _setting(256, "Width of a new model.")
    layers: int = _setting(4, "Encoder layers of a new model.")
    heads: int = _setting(4, "Attention heads of a new model.")
    rope_theta: float | None = _setting(
        None, "Base of the rotary angles where layers see all of a text; the default grows with --length."
    )
    dropout: float | None = _setting(
        None, "Dropout rate; the default is the model's own (a new one: 0.1, in modernbert and albert 0)."
    )
    dtype: str = _setting(
        "float32", "Compute type; variables, norms and logits stay float32.", choices=DTYPES
    )

    mask_rate: float | str = _setting(
        None, "Share of the tokens that is predicted; 0.3:0.15 goes from one to the other in the run."
    )
    mask_token_rate: float = _setting(0.8, "Share of those that is shown as the mask token.")
    random_token_rate: float = _setting(0.1, "Share of those that is shown as a random token.")
    whole_word: bool = _setting(False, "Mask all pieces of a word together.")
    packed: bool | None = _setting(
        None, "Documents that share a row do not see each other; the default where positions are rotary."
    )
    masking: str = _setting(
        "dynamic", "New masks in each epoch, or the same ones (static).", choices=MASKINGS
    )

    optimizer: str = _setting(None, "Update rule.", choices=OPTIMIZERS)
    learning_rate: float = _setting(5e-4, "Highest learning rate, reached at the end of the warm-up.")
    schedule: str = _setting(None, "Course of the learning rate after the warm-up.", choices=SCHEDULES)
    warmup: float = _setting(0.06, "Length of the linear warm-up, as a share of all steps.")
    decay: float = _setting(0.1, "Length of the decay that ends wsd, as a share of all steps.")
    weight_decay: float = _setting(None, "Decoupled weight decay; biases and norms are left out.")
    beta_1: float = _setting(0.9, "Decay of the average gradient.")
    beta_2: float = _setting(None, "Decay of the average squared gradient.")
    epsilon: float = _setting(1e-6, "Added to the root of the average squared gradient.")
    clip_norm: float = _setting(None, "Largest global norm of the gradient; 0 turns clipping off.")
    accumulation: int = _setting(1, "Micro-batches that one optimizer step is summed over.")
    recompute: bool = _setting(
        False, "Compute each layer again in the backward pass, which saves most of the memory."
    )
    layer_decay: float = _setting(1.0, "Learning-rate factor from each layer to the one below it.")
    train: str = _setting("all", "What is trained: all, head, or last:N (the head and the last N layers).")
    loss: str = _setting(
        "auto", "Fused never holds all logits; auto takes it for large products.", choices=LOSSES
    )

    held_out: float = _setting(0.05, "Share of the documents kept for evaluation.")
    text_field: str = _setting("text", "The field of a JSON object that holds the document.")
    line_by_line: bool = _setting(
        False, "Each line of a text file is a document; else a blank line ends one."
    )

    strategy: str = _setting("auto", "Devices to train on.", choices=STRATEGIES, resumable=True)
    tpu: str = _setting("local", "Name or address of the TPU for the tpu strategy.", resumable=True)
    steps_per_call: int = _setting(
        10, "Steps the host loop runs before it returns to Python.", resumable=True
    )
    evaluate_every: int = _setting(1000, "Steps between two evaluations.", resumable=True)
    checkpoint_every: int = _setting(500, "Steps between two checkpoints.", resumable=True)
    keep_checkpoints: int = _setting(3, "Newest checkpoints kept, beside the best one.", resumable=True)
    evaluation_rows: int = _setting(2048, "Most held-out rows an evaluation reads.", resumable=True)

    def __post_init__(self) -> None:
        recipe = recipe_of(self.architecture) if isinstance(self.architecture, str) else recipe_of(None)
        left_open = {name: value for name, value in recipe.items() if getattr(self, name) is None}
        for name, value in left_open.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_left_open", frozenset(left_open))
        for field in dataclasses.fields(self):
            self._check_type(field)
        for rule, holds, names in _RULES:
            for name in names:
                value = getattr(self, name)
                self._check(name, value is None or holds(value), rule)
        for field in dataclasses.fields(self):
            choices, value = field.metadata["choices"], getattr(self, field.name)
            if choices and value is not None:
                self._check(field.name, value in choices, f"must be one of {', '.join(choices)}")
        self._check_together()

    def _check_together(self) -> None:
        """What no setting says alone."""
        if self.steps is not None and self.minutes is not None:
            raise ConfigError(
                "Give `steps` or `minutes`, not both: each of them ends the run. "
                f"Received: steps={self.steps!r}, minutes={self.minutes!r}."
            )
        if self.mask_token_rate + self.random_token_rate > 1:
            raise ConfigError(
                "`mask_token_rate` and `random_token_rate` must add up to at most 1; lower one of them. "
                f"Received: {self.mask_token_rate!r} + {self.random_token_rate!r}."
            )
        self._check(
            "masking",
            self.masking == "dynamic" or len(set(self.mask_rates)) == 1,
            "must be dynamic where `mask_rate` changes: static masks are drawn once",
        )
        if self.batch_size % self.accumulation:
            raise ConfigError(
                "`accumulation` must divide `batch_size`; choose a batch that is a multiple of it. "
                f"Received: batch_size={self.batch_size}, accumulation={self.accumulation}."
            )
        if self.rows_of_steps.steps and self.minutes is not None:
            raise ConfigError(
                "`minutes` measures the first steps, which `batch_warmup` makes shorter than the others. "
                f"Received: minutes={self.minutes!r}, batch_warmup={self.batch_warmup!r}. Give `steps`, and "
                "`within_minutes` for a bound."
            )

    def _check_type(self, field: dataclasses.Field[Any]) -> None:
        kind, _, other = str(field.type).partition(" | ")
        value = getattr(self, field.name)
        if other == "None" and value is None:
            return
        holds, rule = {
            "int": (_whole(value), "must be a whole number"),
            "float": (_finite(value), "must be a finite number"),
            "float | str": (
                _finite(value) or (isinstance(value, str) and _two_numbers(value) is not None),
                "must be a finite number, or two of them as in 0.3:0.15",
            ),
            "bool": (isinstance(value, bool), "must be true or false"),
            "str": (isinstance(value, str), "must be a string"),
        }[f"{kind} | {other}" if other == "str" else kind]
        self._check(field.name, holds, rule)

    def _check(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"`{name}` {rule}. Received: {name}={getattr(self, name)!r}.")

    @property
    def left_open(self) -> frozenset[str]:
        """The settings whose defaults the architecture gave."""
        return self._left_open  # type: ignore[attr-defined, no-any-return]

    @property
    def rows_of_steps(self) -> BatchWarmup:
        """How many rows each step has: `batch_size`, or fewer in the `batch_warmup`."""
        return BatchWarmup.of(self.batch_warmup, batch_size=self.batch_size, accumulation=self.accumulation)

    @property
    def masks(self) -> int:
        """Predicted positions of a full row at most: the static size of the masks axis."""
        return max(1, round(max(self.mask_rates) * self.length))

    @property
    def mask_rates(self) -> tuple[float, float]:
        """The share that is predicted in the first step, and in the last."""
        return _rates(self.mask_rate)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rates(value: float | str) -> tuple[float, float]:
    if isinstance(value, str):
        found = _two_numbers(value)
        assert found is not None  # its type was checked
        return found
    return value, value


def _two_numbers(text: str) -> tuple[float, float] | None:
    try:
        first, last = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return (first, last) if math.isfinite(first) and math.isfinite(last) else None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Rule, test and names, behind the check of types; what is None is left out.
_RULES: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    (
        "must be a whole number of at least 1",
        lambda value: value >= 1,
        (
            *("batch_size", "vocabulary_size", "hidden_size", "layers", "heads", "accumulation"),
            *("steps_per_call", "evaluate_every", "checkpoint_every", "keep_checkpoints", "evaluation_rows"),
        ),
    ),
    ("must be at least 1", lambda value: value >= 1, ("steps",)),
    ("must leave room for [CLS], one token and [SEP]", lambda value: value >= 3, ("length",)),
    ("must be a whole number in [0, 2**31)", lambda value: 0 <= value < 2**31, ("seed",)),
    (
        "must be positive",
        lambda value: value > 0,
        ("minutes", "within_minutes", "learning_rate", "epsilon", "rope_theta"),
    ),
    ("must not be negative", lambda value: value >= 0, ("weight_decay", "clip_norm")),
    (
        "must lie between 0 and 1, both excluded",
        lambda value: all(0 < rate < 1 for rate in _rates(value)),
        ("mask_rate", "held_out", "until_top_1"),
    ),
    (
        "must lie in [0, 1]",
        lambda value: 0 <= value <= 1,
        ("mask_token_rate", "random_token_rate", "warmup", "decay"),
    ),
    ("must lie in [0, 1)", lambda value: 0 <= value < 1, ("beta_1", "beta_2", "dropout")),
    ("must lie in (0, 1]", lambda value: 0 < value <= 1, ("layer_decay",)),
    (
        "must be all, head or last:N (as in last:2)",
        lambda value: re.fullmatch(r"all|head|last:\d+", value) is not None,
        ("train",),
    ),
)

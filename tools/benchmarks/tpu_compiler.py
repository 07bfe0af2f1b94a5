"""Compiles the real training step and serving core with the real TPU compiler, on a machine without a TPU.

TensorFlow lowers a compiled function to StableHLO, which needs no device. libtpu, which jax loads,
holds the whole TPU compiler and can compile for a topology that is only described. What comes back
is what would run: whether it compiles, and how much memory of the chip it takes.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tf_mlm.config import ModelConfig
from tf_mlm.model.masked_lm import MaskedLM
from tf_mlm.training.optimizer import Optimizer
from tf_mlm.training.options import TrainConfig
from tf_mlm.training.parameter_groups import parameters
from tf_mlm.training.schedule import learning_rate_schedule
from tf_mlm.training.step import Batch, TrainStep

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A TPU generation: its smallest topology, the accelerator type libtpu expects, memory per core."""

    topology: str
    accelerator: str
    hbm: int


CHIPS = {
    "v4": Chip("v4:2x2x1", "v4-8", 32 * GIB),
    "v5e": Chip("v5e:2x2", "v5litepod-4", 16 * GIB),
    "v5p": Chip("v5p:2x2x1", "v5p-8", 95 * GIB),
    "v6e": Chip("v6e:2x2", "v6e-4", 32 * GIB),
}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one program.

    Attributes:
        work: `train` or `serve`.
        arguments, outputs, temporaries: bytes of the chip's memory. Variables are arguments, and outputs
            again where a step updates them; a TPU updates them in place, so `needed` counts them once.
        flops: of one call.
        error: the compiler's first line, when it does not compile.
    """

    work: str
    batch: int
    length: int
    compiles: bool
    fits: bool
    arguments: int = 0
    outputs: int = 0
    temporaries: int = 0
    needed: int = 0
    flops: float = 0.0
    error: str = ""


class RefusedError(Exception):
    """TensorFlow or the TPU compiler refuses a program; says why in its first line."""


class TpuCompiler:
    """The compiler for one chip.

    Args:
        chip: a name in `CHIPS`.

    Raises:
        ValueError: for an unknown chip.
        ModuleNotFoundError: without jax and libtpu.

    Example:
        >>> compiler = TpuCompiler("v5e")  # doctest: +SKIP
        >>> compiler.train(ModelConfig(), batch=8, length=128).compiles  # doctest: +SKIP
        True
    """

    def __init__(self, chip: str) -> None:
        if chip not in CHIPS:
            raise ValueError(f"The chip must be one of {', '.join(CHIPS)}. Received: {chip!r}.")
        self.chip = CHIPS[chip]
        # libtpu asks the cloud for these, and waits long, when nobody tells it.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ["TPU_ACCELERATOR_TYPE"] = self.chip.accelerator
        try:
            import libtpu  # noqa: F401
            from jax.experimental import topologies
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "The TPU compiler comes with jax and libtpu: run `pip install 'tf-mlm[tpu-aot]'`."
            ) from error
        description = topologies.get_topology_desc(platform="tpu", topology_name=self.chip.topology)
        self._device: Any = description.devices[0]

    def train(
        self,
        config: ModelConfig,
        *,
        batch: int,
        length: int,
        masks: int | None = None,
        recompute: bool = False,
    ) -> Compiled:
        """One optimizer step on one core: mixed bfloat16, AdamW, dropout as the model has it."""
        step, settings = training_step(config, batch, length, "mixed_bfloat16", recompute=recompute)
        masks = masks or settings.masks
        ids, slots = tf.zeros([batch, length], tf.int32), tf.zeros([batch, masks], tf.int32)
        inputs = (ids, tf.fill([batch], length), slots, slots, tf.ones([batch, masks]))
        return self._compile("train", lambda *arrays: step(Batch(*arrays)), inputs, batch, length)

    def serve(self, config: ModelConfig, *, batch: int, length: int, masks: int = 1) -> Compiled:
        """Ids to logits at the masked positions."""
        model = MaskedLM.from_config(config, dtype="mixed_bfloat16", seed=0)
        ids = tf.zeros([batch, length], tf.int32)
        inputs = (ids, tf.fill([batch], length), ids, tf.zeros([batch, masks], tf.int32))
        return self._compile("serve", lambda *arrays: model(*arrays), inputs, batch, length)

    def largest_batch(
        self, program: Callable[..., Compiled], config: ModelConfig, *, length: int
    ) -> Iterator[Compiled]:
        """Every program compiled on the way to the largest batch that fits; the last that fits is it.

        Memory grows by about the same for each row, so two compilations predict the limit; the ones
        around it are then compiled, as only the compiler knows.
        """
        tried: dict[int, Compiled] = {}

        def attempt(batch: int) -> Iterator[Compiled]:
            if batch not in tried:
                tried[batch] = program(config, batch=batch, length=length)
                yield tried[batch]

        yield from attempt(8)
        yield from attempt(32)
        if tried[8].fits and tried[32].fits:
            per_row = max((tried[32].needed - tried[8].needed) / 24, 1.0)
            guess = int(32 + (self.chip.hbm - tried[32].needed) / per_row)
        else:
            guess = 16 if tried[8].fits else 4
        fitting = max((batch for batch, result in tried.items() if result.fits), default=0)
        failing = min((batch for batch, result in tried.items() if not result.fits), default=2**20)
        step = 8
        batch = max(1, guess // step * step)
        while failing - fitting > step and (fitting or failing > 1):
            batch = min(max(batch, fitting + 1), failing - 1)
            yield from attempt(batch)
            if tried[batch].fits:
                fitting, batch = batch, batch + max(step, batch // 16 // step * step)
            else:
                failing, batch = batch, max((fitting + batch) // 2 // step * step, 1)

    def instructions(self, function: Callable[..., Any], inputs: Sequence[tf.Tensor]) -> list[str]:
        """Shape, layout and kind of every instruction the chip would run: equal lists, equal programs.

        Raises:
            RefusedError: when the program does not compile.
        """
        module = self._program(function, inputs).hlo_modules()[0].to_string()
        return re.findall(r"^ *(?:ROOT )?%\S+ = (\S+ [\w-]+)\(", module, re.MULTILINE)

    def _compile(
        self, work: str, function: Callable[..., Any], inputs: Sequence[tf.Tensor], batch: int, length: int
    ) -> Compiled:
        try:
            program = self._program(function, inputs)
        except RefusedError as error:
            return Compiled(work, batch, length, False, False, error=str(error))
        memory = program.get_compiled_memory_stats()
        arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
        in_place = outputs if work == "train" else 0
        needed = arguments + outputs - in_place + memory.temp_size_in_bytes
        return Compiled(
            work,
            batch,
            length,
            compiles=True,
            fits=needed <= self.chip.hbm,
            arguments=arguments,
            outputs=outputs,
            temporaries=memory.temp_size_in_bytes,
            needed=needed,
            flops=float(program.cost_analysis().get("flops", 0.0)),
        )

    def _program(self, function: Callable[..., Any], inputs: Sequence[tf.Tensor]) -> Any:
        import numpy as np
        from jax._src import compiler
        from jax._src.interpreters import mlir
        from jax._src.lib.mlir import ir
        from jaxlib import _jax

        with mlir.make_ir_context():
            module = ir.Module.parse(lowered(function, inputs))
            options = compiler.get_compile_options(
                num_replicas=1, num_partitions=1, device_assignment=np.array([[self._device.id]])
            )
            try:
                return self._device.client.compile(module, _jax.DeviceList((self._device,)), options)
            except Exception as error:  # the compiler's errors have no common type
                raise RefusedError(_first_line(error)) from error


def training_step(
    config: ModelConfig, batch: int, length: int, dtype: str, **settings: Any
) -> tuple[TrainStep, TrainConfig]:
    """A step of a new model in the middle of a run of 1,000, and what it was made from."""
    options = TrainConfig(batch_size=batch, length=length, dtype=dtype, **settings)
    model = MaskedLM.from_config(config, dtype=dtype, seed=0)
    schedule = learning_rate_schedule(options, tf.Variable(1000, dtype=tf.int64, trainable=False))
    return TrainStep.from_config(model, Optimizer(parameters(model), schedule, options), options), options


def lowered(function: Callable[..., Any], inputs: Sequence[tf.Tensor]) -> str:
    """The program as TensorFlow hands it to XLA, in StableHLO.

    Raises:
        RefusedError: when XLA has no such operation.
    """
    traced = tf.function(function, jit_compile=True, autograph=False)
    try:
        text = traced.experimental_get_compiler_ir(*inputs)(stage="stablehlo", platform_name="CPU")
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise RefusedError(_first_line(error)) from error
    # What a step returns comes back through copies in a dialect that jax does not carry.
    return re.sub(r"= mhlo\.copy (%\S+) : (tensor<\S+>)", r"= stablehlo.reshape \1 : (\2) -> \2", text)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]

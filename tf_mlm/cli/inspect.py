"""`tf-mlm inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tf_mlm.cli.console import console, json_option, print_json, table
from tf_mlm.cli.verb import TensorFlowVerb
from tf_mlm.signatures import PORTABLE


@click.command("inspect", cls=TensorFlowVerb)
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def command(path: Path, as_json: bool) -> None:
    """Show what PATH holds: a model directory, a version directory, or a base path of versions.

    Example: tf-mlm inspect models/mlm
    """
    facts = _facts(path)
    if as_json:
        print_json(facts)
        return
    out = console()
    click.echo(f"{path}: {facts['kind']}")
    for key, value in facts.items():
        if key == "kind" or value in (None, {}, []):
            continue
        if key == "signatures":
            signatures = table("signatures", "name", "inputs", "outputs")
            for name, ends in value.items():
                signatures.add_row(name, *("\n".join(ends[end]) for end in ("inputs", "outputs")))
            out.print(signatures)
        elif key == "operations":
            click.echo(f"operations: {len(value)} kinds, all of them in stock TF-Serving (--json lists them)")
        elif isinstance(value, dict):
            pairs = table(key, "", "")
            pairs.show_header = False
            for name, item in value.items():
                pairs.add_row(str(name), item if isinstance(item, str) else json.dumps(item))
            out.print(pairs)
        else:
            click.echo(f"{key}: {value}")


def _facts(path: Path) -> dict[str, Any]:
    from tf_mlm.version_directory import versions

    if (path / "saved_model.pb").is_file():
        return _version_facts(path)
    if (path / "config.json").is_file():
        return _model_facts(path)
    if found := versions(path):
        facts = _version_facts(found[max(found)])
        numbers = ", ".join(map(str, found))
        return {**facts, "kind": f"base path, versions {numbers}. The newest: {facts['kind']}"}
    raise click.ClickException(
        f"`{path}` is neither a model directory (config.json), a version (saved_model.pb) nor a base path "
        "with numbered versions. Check the path."
    )


def _size(path: Path) -> str:
    total = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return f"{total / 1e6:.1f} MB"


def _model_facts(path: Path) -> dict[str, Any]:
    import tf_mlm
    from tf_mlm.model.programs import length_limit

    model = tf_mlm.load(path)
    parameters = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    return {
        "kind": f"model directory ({model.config.model_type})",
        "parameters": f"{parameters:,}",
        "size": _size(path),
        "max_length": length_limit(model),
        "tokenizer": _tokenizer(model),
        "config": json.loads((path / "config.json").read_text(encoding="utf-8")),
    }


def _tokenizer(model: Any) -> str | None:
    """What reads the texts, as a phrase."""
    if model.preprocessor is None:
        return None
    vocabulary = model.preprocessor.vocabulary
    named = vocabulary.size - len(vocabulary.unnamed_ids)
    return f"{vocabulary.config.model}, {named:,} tokens, mask {vocabulary.config.mask_token}"


_PRODUCTS_NEED = {
    "int8": "needs a stock server for x86, whose oneDNN has them",
    "bfloat16": "runs on any stock server, no flag needed, but is slower than float32 on a processor without "
    "avx512_bf16 or amx_bf16",
}


def needs(description: dict[str, Any]) -> str:
    """What an export is, and what it needs of a server."""
    arithmetic = description.get("arithmetic", "float")
    parts = []
    if description["xla"]:
        parts.append("with XLA: a stock server needs --xla_cpu_compilation_enabled=true")
    if arithmetic != "float":
        parts.append(f"with {arithmetic} products: {_PRODUCTS_NEED[arithmetic]}")
    if not parts:
        return "export without XLA: runs on any stock server, no flag needed"
    has_twins = any(name.endswith(PORTABLE) for name in description["signatures"])
    others = " (or --enable_model_warmup=false and the `_portable` signatures)" if has_twins else ""
    return f"export {'; '.join(parts)}{others}"


def _version_facts(path: Path) -> dict[str, Any]:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import dtypes  # type: ignore[import-untyped]

    from tf_mlm.export.description import read_description

    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((path / "saved_model.pb").read_bytes())

    def ends(infos: Any) -> list[str]:
        lines = []
        for alias, info in sorted(infos.items()):
            sizes = ["?" if dim.size == -1 else str(dim.size) for dim in info.tensor_shape.dim]
            lines.append(f"{alias} {dtypes.as_dtype(info.dtype).name} ({', '.join(sizes)})")
        return lines

    signatures = {
        name: {"inputs": ends(signature.inputs), "outputs": ends(signature.outputs)}
        for graph in proto.meta_graphs
        for name, signature in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }
    description = read_description(path)
    kind = "SavedModel"
    if description:
        kind = needs(description)
    shown = (
        "top_k",
        "max_length",
        "long_texts",
        "limits",
        "programs",
        "warmup_records",
        "buckets",
        "model",
        "versions",
        "evaluation",
        "weights",
        "quantization",
        "arithmetic",
        "accuracy",
        "tuning",
        "operations",
    )
    return {
        "kind": kind,
        "size": _size(path),
        **{key: description[key] for key in shown if key in description},
        "signatures": signatures,
    }

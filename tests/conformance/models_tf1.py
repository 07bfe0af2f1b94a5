"""Small TF1-style exports (graph, session, signature definitions) with answers one can compute by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")  # TF1 exports are deprecated, and are what is wanted here
Signatures = dict[str, "tf.compat.v1.SignatureDef"]

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

# The dtypes of the `dtypes` model. Signature and dtype have the same name.
DTYPES = (
    tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.uint32, tf.uint64,
    tf.bool, tf.string, tf.float16, tf.bfloat16, tf.complex64, tf.complex128,
)  # fmt: skip


def signature(
    inputs: Mapping[str, tf.Tensor], outputs: Mapping[str, tf.Tensor], method: str = PREDICT
) -> Any:
    info = v1.saved_model.build_tensor_info
    return v1.saved_model.build_signature_def(
        {name: info(tensor) for name, tensor in inputs.items()},
        {name: info(tensor) for name, tensor in outputs.items()},
        method,
    )


def write(path: Path, build: Callable[[], Signatures], tags: Sequence[str] = ("serve",)) -> Path:
    """Exports the graph that `build` makes to the version directory `path`."""
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = build()
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(session, list(tags), signature_def_map=signatures)
        builder.save()
    return path


def half_plus(constant: float) -> Callable[[], Signatures]:
    """`y = 0.5 x + constant`, `y2 = 0.5 x + 3`, `y3 = 0.5 x2 + constant`: the classic test model.

    Predict takes `x` directly. Classify and regress signatures parse `x` (required) and `x2` (default 0)
    from serialized examples; `regress_x2_to_y3` and `classify_x2_to_y3` take a float tensor instead, as
    upstream's do, and so can only fail when they run.
    """

    def build() -> Signatures:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        parsed = v1.parse_example(
            serialized,
            {
                "x": v1.FixedLenFeature([1], tf.float32),
                "x2": v1.FixedLenFeature([1], tf.float32, default_value=[0.0]),
            },
        )
        x = tf.identity(parsed["x"], name="x")
        a = v1.Variable(0.5, name="a", use_resource=False)
        b = v1.Variable(constant, name="b", use_resource=False)
        c = v1.Variable(3.0, name="c", use_resource=False)
        y = tf.add(tf.multiply(a, x), b, name="y")
        y2 = tf.add(tf.multiply(a, x), c, name="y2")
        x2 = tf.identity(parsed["x2"], name="x2")
        y3 = tf.add(tf.multiply(a, x2), c, name="y3")
        return {
            "serving_default": signature({"x": x}, {"y": y}),
            "classify_x_to_y": signature({"inputs": serialized}, {"scores": y}, CLASSIFY),
            "regress_x_to_y": signature({"inputs": serialized}, {"outputs": y}, REGRESS),
            "regress_x_to_y2": signature({"inputs": serialized}, {"outputs": y2}, REGRESS),
            "classify_x2_to_y3": signature({"inputs": x2}, {"scores": y3}, CLASSIFY),
            "regress_x2_to_y3": signature({"inputs": x2}, {"outputs": y3}, REGRESS),
        }

    return build


def add_constant(constant: float) -> Callable[[], Signatures]:
    """`y = x + constant`, so that an answer tells which version gave it."""

    def build() -> Signatures:
        x = v1.placeholder(tf.float32, [None], name="x")
        offset = v1.Variable(constant, name="offset")
        return {"serving_default": signature({"x": x}, {"y": tf.add(x, offset, name="y")})}

    return build


def dtypes() -> Signatures:
    """An echo `x → y` for every dtype, under the dtype's name."""
    signatures = {}
    for dtype in DTYPES:
        x = v1.placeholder(dtype, name=f"{dtype.name}_x")
        signatures[dtype.name] = signature({"x": x}, {"y": tf.identity(x, name=f"{dtype.name}_y")})
    signatures["serving_default"] = signatures["float32"]
    return signatures


def strings() -> Signatures:
    """Echoes of a string tensor under names with and without the `_bytes` suffix."""
    text = v1.placeholder(tf.string, name="text")
    plain, encoded = tf.identity(text, name="plain"), tf.identity(text, name="encoded")
    length = tf.strings.length(text, name="length")
    return {
        "serving_default": signature({"text": text}, {"text": plain, "length": length}),
        "plain": signature({"text": text}, {"text": plain}),
        "bytes": signature({"text": text}, {"image_bytes": encoded}),
        "bytes_and_length": signature({"text": text}, {"image_bytes": encoded, "length": length}),
    }


def pair() -> Signatures:
    """Two inputs `a` and `b`; `with_default` lets `b` default to 10."""
    a = v1.placeholder(tf.float32, name="a")
    b = v1.placeholder(tf.float32, name="b")
    total, difference = tf.add(a, b, name="total"), tf.subtract(a, b, name="difference")
    both = {"sum": total, "difference": difference}
    with_default = signature({"a": a, "b": b}, both)
    with_default.defaults["b"].CopyFrom(tf.make_tensor_proto(10.0, dtype=tf.float32))
    # `columns` has inputs that need not share a first dimension.
    columns = signature(
        {"a": a, "b": b}, {"a": tf.identity(a, name="a_out"), "b": tf.identity(b, name="b_out")}
    )
    return {
        "serving_default": signature({"a": a, "b": b}, both),
        "with_default": with_default,
        "columns": columns,
    }


def mixed() -> Signatures:
    """Four inputs of four dtypes, echoed."""
    kinds = {"ints": tf.int32, "texts": tf.string, "floats": tf.float32, "doubles": tf.float64}
    inputs = {name: v1.placeholder(dtype, name=name) for name, dtype in kinds.items()}
    outputs = {name: tf.identity(tensor, name=f"{name}_out") for name, tensor in inputs.items()}
    return {"serving_default": signature(inputs, outputs)}


def shapes() -> Signatures:
    """Outputs whose shapes row-form answers cannot or can barely carry, and odd signatures."""
    x = v1.placeholder(tf.float32, name="x")
    total = tf.reduce_sum(x, name="total")
    same = tf.identity(x, name="same")
    doubled = tf.concat([x, x], axis=0, name="doubled")
    none = tf.identity(x[:0], name="none")
    constant = tf.constant([1.0, 2.0], name="constant")
    return {
        "serving_default": signature({"x": x}, {"y": same}),
        "scalar": signature({"x": x}, {"y": total}),
        "scalar_and_rows": signature({"x": x}, {"total": total, "y": same}),
        "uneven": signature({"x": x}, {"doubled": doubled, "same": same}),
        "zero_rows": signature({"x": x}, {"y": none}),
        "zero_and_some_rows": signature({"x": x}, {"none": none, "same": same}),
        "no_inputs": signature({}, {"y": constant}),
        "odd_method": signature({"x": x}, {"y": same}, "tensorflow/serving/odd"),
    }


def examples() -> Signatures:
    """Classify and regress signatures that are right, and one of every way to be wrong.

    Examples have an optional feature `x` (default −1). `classes` and `scores` have two columns.
    """
    serialized = v1.placeholder(tf.string, [None], name="serialized")
    features = {
        "x": v1.FixedLenFeature([], tf.float32, default_value=-1.0),
        "name": v1.FixedLenFeature([], tf.string, default_value="none"),
        "count": v1.FixedLenFeature([], tf.int64, default_value=-1),
    }
    parsed = v1.parse_example(serialized, features)
    x, name, count = parsed["x"], parsed["name"], parsed["count"]
    scores = tf.stack([x, x * 2], axis=1, name="scores")
    classes = tf.stack([tf.fill(tf.shape(x), "low"), tf.fill(tf.shape(x), "high")], axis=1, name="classes")
    names = tf.stack([name, tf.strings.as_string(count)], axis=1, name="names")
    source = {"inputs": serialized}

    def classify(outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor] = source) -> Any:
        return signature(inputs, outputs, CLASSIFY)

    def regress(outputs: Mapping[str, tf.Tensor], inputs: Mapping[str, tf.Tensor] = source) -> Any:
        return signature(inputs, outputs, REGRESS)

    wrong_name = {"examples": serialized}
    two_inputs = {"inputs": serialized, "more": v1.placeholder(tf.string, name="more")}
    return {
        "serving_default": classify({"classes": classes, "scores": scores}),
        "classes_only": classify({"classes": classes}),
        "scores_only": classify({"scores": scores}),
        "features": classify({"classes": names}),
        "column": regress({"outputs": tf.expand_dims(x, 1)}),
        "vector": regress({"outputs": x}),
        "no_method": signature(source, {"outputs": x}, ""),
        "classify_wrong_input": classify({"scores": scores}, wrong_name),
        "classify_two_inputs": classify({"scores": scores}, two_inputs),
        "classify_three_outputs": classify({"classes": classes, "scores": scores, "x": x}),
        "classify_wrong_outputs": classify({"labels": classes}),
        "classify_rank_one": classify({"scores": x}),
        "classify_float_classes": classify({"classes": scores}),
        "classify_double_scores": classify({"scores": tf.cast(scores, tf.float64)}),
        "classify_half_batch": classify({"scores": scores[:1]}),
        "classify_uneven": classify({"classes": classes, "scores": scores[:, :1]}),
        "regress_wrong_input": regress({"outputs": x}, wrong_name),
        "regress_two_inputs": regress({"outputs": x}, two_inputs),
        "regress_two_outputs": regress({"outputs": x, "more": x}),
        "regress_wrong_output": regress({"y": x}),
        "regress_wide": regress({"outputs": scores}),
        "regress_double": regress({"outputs": tf.cast(x, tf.float64)}),
        "regress_half_batch": regress({"outputs": x[:1]}),
    }


def slow() -> Signatures:
    """`y = x` after `steps` matrix products: `busy` keeps a core for seconds when asked to."""
    x = v1.placeholder(tf.float32, [None], name="x")
    steps = v1.placeholder(tf.int32, [None], name="steps")
    limit = tf.reduce_max(tf.concat([steps, [0]], axis=0))

    def body(step: tf.Tensor, matrix: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return step + 1, tf.matmul(matrix, matrix)

    _, last = v1.while_loop(
        lambda step, _: step < limit, body, [tf.constant(0), tf.eye(256)], parallel_iterations=1
    )
    y = tf.add(x, 0.0 * last[0, 0], name="y")
    return {"serving_default": signature({"x": x, "steps": steps}, {"y": y})}


def batch_view() -> Signatures:
    """Shows each request the batch it was run in: its size, its width, and the request's own padded rows."""
    x = v1.placeholder(tf.float32, [None, None], name="x")
    shape = tf.shape(x)
    rows = tf.fill([shape[0]], shape[0], name="rows")
    columns = tf.fill([shape[0]], shape[1], name="columns")
    doubled = tf.multiply(x, 2.0, name="doubled")
    return {
        "serving_default": signature({"x": x}, {"doubled": doubled, "rows": rows, "columns": columns}),
        "doubled": signature({"x": x}, {"doubled": doubled}),
        "scalar": signature({"x": x}, {"total": tf.reduce_sum(x, name="total")}),
        "wrong_rows": signature({"x": x}, {"first": tf.identity(x[:1], name="first")}),
    }

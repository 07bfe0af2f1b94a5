"""Small TF2 exports: `tf.Module`s, a Keras model, and TF-Text ops."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2


class Scale(tf.Module):
    """`serving_default` multiplies by 3 and `custom_signature_key` by 10, for a float of any shape."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="a")])
    def __call__(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output_0": a * self.factor}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="a")])
    def custom(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"output_0": a * 10.0}


def write_scale(path: Path) -> Path:
    module = Scale()
    signatures = {"serving_default": module.__call__, "custom_signature_key": module.custom}
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


class HalfPlusTwo(tf.Module):
    """The TF2 spelling of `half_plus_two`: `0.5 x + 2` for predict, and from serialized examples."""

    def __init__(self) -> None:
        super().__init__()
        self.a = tf.Variable(0.5)
        self.b = tf.Variable(2.0)

    def compute(self, x: tf.Tensor) -> tf.Tensor:
        return self.a * x + self.b

    def parse(self, serialized: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": self.compute(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": self.compute(self.parse(inputs))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self.compute(self.parse(inputs))}


def write_half_plus_two(path: Path) -> Path:
    """TF2 exports call every method `predict`; two are rewritten, as upstream's converter does."""
    module = HalfPlusTwo()
    signatures = {
        "serving_default": module.predict,
        "classify_x_to_y": module.classify,
        "regress_x_to_y": module.regress,
    }
    tf.saved_model.save(module, str(path), signatures=signatures)
    file = path / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    definitions = saved_model.meta_graphs[0].signature_def
    definitions["classify_x_to_y"].method_name = "tensorflow/serving/classify"
    definitions["regress_x_to_y"].method_name = "tensorflow/serving/regress"
    file.write_bytes(saved_model.SerializeToString())
    return path


def write_keras(path: Path) -> Path:
    """A Keras dense layer with fixed weights: `[[1]]` gives `[[2]]`."""
    import keras

    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones", bias_initializer="ones")]
    )
    model.export(str(path), verbose=False)
    return path


class Whitespace(tf.Module):
    """Splits text at blanks with a TF-Text op and joins the tokens with `|`."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def __call__(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        import tensorflow_text

        tokens = tensorflow_text.WhitespaceTokenizer().tokenize(text)
        return {"joined": tf.strings.reduce_join(tokens, axis=-1, separator="|")}


def write_tf_text(path: Path) -> Path:
    module = Whitespace()
    tf.saved_model.save(module, str(path), signatures=module.__call__)
    return path

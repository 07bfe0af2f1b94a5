"""Which library Keras computes with."""

from __future__ import annotations

import os


def check_backend() -> None:
    """An error in one line, unless Keras 3 computes with TensorFlow.

    Raises:
        ImportError: naming the variable or file that says otherwise.
    """
    named = os.environ.get("KERAS_BACKEND")
    if named not in (None, "", "tensorflow"):
        raise _refusal(f"KERAS_BACKEND={named}", "Set KERAS_BACKEND=tensorflow before Keras is imported")
    if os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true"):
        raise ImportError(
            "tf_mlm.keras holds layers of Keras 3, and TF_USE_LEGACY_KERAS="
            f"{os.environ['TF_USE_LEGACY_KERAS']} asks for Keras 2, whose models do not take them. Unset it; "
            "or use tf_mlm.MaskedLMHead and the other plain modules, which a layer of Keras 2 tracks."
        )
    import keras

    if not keras.__version__.startswith("3"):
        raise ImportError(
            f"tf_mlm.keras needs Keras 3. Received: keras {keras.__version__}. Run `pip install 'keras>=3'`."
        )
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise _refusal(
            f"the backend {backend!r}, from ~/.keras/keras.json or keras.config.set_backend",
            "Set KERAS_BACKEND=tensorflow, which goes before that file",
        )


def _refusal(received: str, advice: str) -> ImportError:
    return ImportError(
        f"tf_mlm.keras computes with TensorFlow, and Keras does not. Received: {received}. {advice}; or use "
        "tf_mlm.MaskedLMHead and the other plain modules, which do not depend on it."
    )

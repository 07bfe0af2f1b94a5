"""What a server that speaks TensorFlow Serving's protocols must do, as cases anybody can run.

`tools/conformance` runs them against any server; `test_conformance.py` runs them against the embedded one.
The expectations were written from the documented behaviour of `tensorflow_model_server`, not from our code.
"""

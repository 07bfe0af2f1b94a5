"""What can go wrong: one tree of exceptions and one of warnings.

    TfMlmError
    ├── InvalidInputError               what was asked breaks a rule
    ├── ConfigError                     a setting or a file breaks a rule
    │   └── UnsupportedTokenizerError   a tokenizer has a part without a counterpart here
    ├── CheckpointError                 weights that cannot be used
    ├── TrainingStateError              a file of a training run that cannot be read or written
    ├── TrainingDivergedError           loss, gradient or weights are not finite any more
    ├── VersionExistsError              an export would replace a version
    ├── UnservableOperationError        an export needs what stock TF-Serving does not have
    ├── ExportMismatchError             an export does not answer as its model
    ├── AnswerError                     a server's answer is none of the signature asked
    │   ├── MissingOutputsError         ... as outputs are missing
    │   └── DecoderError                ... as it describes tokens in a way that is unknown here
    └── ServingError                    a failure with a canonical code (`tf_mlm.serving.errors`)
        └── ClientError                 ... told to a client (`tf_mlm.serving.client.error`)

    TfMlmWarning
    ├── ConfigWarning, TokenizerWarning, NewHeadWarning      while a model directory is read
    ├── SameFileWarning, UnknownTokensWarning                about texts to train on
    ├── SlowProcessorWarning                                 about an export and the machine it is for
    └── ReplacedTargetWarning                                about targets to score

Most are also the built-in exception that fits, such as `ValueError`.
"""

from __future__ import annotations


class TfMlmError(Exception):
    """The base of every error that is raised on purpose."""


class InvalidInputError(TfMlmError, ValueError):
    """What was asked breaks a rule; the message says which, what was received and what to do next.

    `FillMask`, `Client` and the command line raise it, or a kind of it, for the same faults.
    """


class ConfigError(TfMlmError, ValueError):
    """A setting breaks a rule. The message states the rule, the value received and the way out."""


class UnsupportedTokenizerError(ConfigError):
    """A part of a tokenizer has no counterpart here. The message names the part, the key and the value."""


class CheckpointError(TfMlmError, ValueError):
    """A checkpoint cannot be used. The message names the file, and the tensors or lines at fault."""


class TrainingStateError(TfMlmError, RuntimeError):
    """A file of a run could not be written or read. Checkpoints written before are untouched."""


class TrainingDivergedError(TfMlmError, ArithmeticError):
    """The loss, the gradient or the weights became NaN or infinite."""


class VersionExistsError(TfMlmError, FileExistsError):
    """The version to be written is already there; it has not been touched."""


class UnservableOperationError(TfMlmError, ValueError):
    """The graph uses an operation, or an attribute of one, that stock TF-Serving does not have."""


class ExportMismatchError(TfMlmError, RuntimeError):
    """The export, loaded again, does not answer as the model it was made from."""


class AnswerError(TfMlmError, ValueError):
    """An answer that is none of the signature that was asked."""


class MissingOutputsError(AnswerError):
    """An answer without some of the signature's outputs."""


class DecoderError(AnswerError):
    """A description of a decoder that cannot be followed."""


class TfMlmWarning(UserWarning):
    """The base of every warning: something has no effect, or not the one that might be expected."""


class ConfigWarning(TfMlmWarning):
    """`config.json` has keys that nothing here reads."""


class TokenizerWarning(TfMlmWarning):
    """Something in the directory's tokenizer files has no effect or no counterpart here, and what."""


class NewHeadWarning(TfMlmWarning):
    """The checkpoint holds an encoder only: the masked-LM head starts from random weights."""


class SameFileWarning(TfMlmWarning):
    """A file was named twice, under different names; it is read once."""


class UnknownTokensWarning(TfMlmWarning):
    """Much of the text is unknown to the vocabulary: what is learnt or measured says little about it."""


class SlowProcessorWarning(TfMlmWarning):
    """An export is slower on this machine's processor than another one of the same model would be."""


class ReplacedTargetWarning(TfMlmWarning):
    """A target outside the vocabulary; its first token was scored in its place."""


_ASSERTION = "assertion failed: ["


def plain_words(message: str) -> str:
    """The words of a rule that a graph found broken, without the place in the graph.

    Args:
        message: what TensorFlow says, here or through a server; any other message comes back as it is.

    Example:
        >>> from tf_mlm.errors import plain_words
        >>> plain_words("assertion failed: [Sizes must be even. Received:] [3 5]\\n\\t [[{{node Assert}}]]")
        'Sizes must be even. Received: 3 5.'
    """
    if _ASSERTION not in message:
        return message
    words = message.split(_ASSERTION, 1)[1].split("\n", 1)[0].rstrip().removesuffix("]")
    words = words.replace("] [", " ")
    return words if words.endswith(".") else f"{words}."

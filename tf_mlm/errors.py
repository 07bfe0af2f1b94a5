"""What goes wrong in one way everywhere: the kind of error, and its words."""

from __future__ import annotations


class InvalidInputError(ValueError):
    """What was asked breaks a rule; the message says which, what was received and what to do next.

    `FillMask`, `Client` and the command line raise it, or a kind of it, for the same faults.
    """


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

"""`tf-mlm <verb>`: one file per verb, imported when the verb is used; `--help` never loads TensorFlow."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any

import click

from tf_mlm.lean_import import import_tensorflow_alone

# Verb → its one-line help, so that listing the verbs imports none of them.
VERBS = {
    "demo": "Train, export, serve and ask a small model, on text every Python has.",
    "train": "Pretrain or adapt a masked language model on your text.",
    "evaluate": "Held-out loss, perplexity, top-1 and top-5 of one or two models.",
    "vocab": "Learn a vocabulary from text.",
    "export": "Write one SavedModel that takes raw strings.",
    "inspect": "Show what a model directory, a version or a base path holds.",
    "serve": "Serve an export over gRPC and REST.",
    "fill": "Fill the masks of texts.",
    "score": "Pseudo-log-likelihood and pseudo-perplexity of texts.",
    "embed": "Vectors of texts, from the model's last layer.",
    "tokenize": "Tokens, ids and byte offsets of texts; or whole files to TFRecords.",
    "page": "Look at a model in a browser.",
    "convert": "Turn a KerasHub or Google BERT checkpoint into a model directory.",
    "bench": "Time this installation against its peers.",
}


class LazyGroup(click.Group):
    """Imports `tf_mlm.cli.<verb>` when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        return importlib.import_module(f"tf_mlm.cli.{name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="tf-mlm")
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and TensorFlow's log.")
@click.pass_context
def group(ctx: click.Context, debug: bool) -> None:
    """Masked-language modelling in TensorFlow, from text to a served answer.

    Example: tf-mlm demo
    """
    ctx.obj = {"debug": debug}
    if not debug:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # What was found matters to a user, the line of code that found it does not.
        warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"


def main(arguments: list[str] | None = None) -> None:
    """The entry point: exit code 0, 1 for an error (in one line), 2 for wrong usage."""
    import_tensorflow_alone()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if debug:  # before the verb or behind it
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    try:
        group.main(arguments, prog_name="tf-mlm", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        usage = isinstance(error, click.UsageError) and error.ctx
        hint = f" See: {usage.command_path} --help" if usage else ""
        click.echo(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # `tf-mlm ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        click.echo(f"Error: {_one_line(error)}", err=True)
        sys.exit(1)


def _one_line(error: Any) -> str:
    """What a person needs of an error; TensorFlow's graph errors carry the rule between brackets."""
    is_tensorflow = hasattr(error, "op")  # whose text adds where in the graph it happened
    text = (error.message if is_tensorflow else str(error)) or type(error).__name__
    if "assertion failed: [" in text:
        text = text.split("assertion failed: ", 1)[1].split("\n", 1)[0].replace("] [", " ").strip("[]")
    if isinstance(error, OSError) and error.filename:
        text = f"{error.strerror}: `{error.filename}`. Check the path, and what you may do there."
    text = " ".join(str(text).split())
    # These say what was wrong in their own words; of any other error the type helps too.
    kinds = ValueError | OSError | RuntimeError | ArithmeticError
    spoken = isinstance(error, kinds) or is_tensorflow or hasattr(error, "hint")
    return text if spoken else f"{type(error).__name__}: {text}"

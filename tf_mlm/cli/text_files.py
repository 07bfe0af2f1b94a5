"""How the verbs that read files of text read them: the same options, with the same meaning."""

from __future__ import annotations

import click

text_field_option = click.option(
    "--text-field",
    default="text",
    show_default=True,
    help="The field of a JSON object that holds its text.",
)
line_by_line_option = click.option(
    "--line-by-line",
    is_flag=True,
    help="Each line of a text file is a document; else a blank line ends one.",
)

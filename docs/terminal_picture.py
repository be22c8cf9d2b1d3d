"""Turns a terminal's screen, with its colours, into the SVG pictures of the README and the docs.

`tmux capture-pane -p -e -t SESSION | python docs/terminal_picture.py TITLE > docs/images/NAME.svg`
"""

import io
import sys

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Read the screen from standard input, write the SVG to standard output."""
    lines = sys.stdin.read().rstrip().splitlines()
    width = max(Text.from_ansi(line).cell_len for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True, crop=False)
    sys.stdout.write(console.export_svg(title=sys.argv[1], font_aspect_ratio=0.61))


if __name__ == "__main__":
    main()

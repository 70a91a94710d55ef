"""``python -m s4_codec`` is the command ``s4-codec``."""

from ._cli import run

run()

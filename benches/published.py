"""The published s4-codec 1.5, in a process of its own: its import name is that of this package.

    pip install --no-deps --target FOLDER s4-codec==1.5.1
    python benches/columns.py --published FOLDER
    python benches/objects.py --published FOLDER

This file is the client, and, run as a program, the server: it runs code that it is given once, and
then calls one of that code's functions whenever it is told to.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO


class Published:
    """The server's process, which ends with this object.

    ``code`` finds ``data`` among its variables, and defines the functions that :meth:`run` names.
    """

    def __init__(self, folder: Path, code: str, data: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(folder)},
        )
        self.name = f"s4-codec {self._call((code, data))}"

    def run(self, function: str) -> None:
        """Calls a function."""
        self._call(function)

    def _call(self, message: object) -> object:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        pickle.dump(message, process.stdin)
        process.stdin.flush()
        return pickle.load(process.stdout)

    def __del__(self) -> None:
        self._process.kill()
        self._process.communicate()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers requests until they end."""
    import s4_codec

    code, data = pickle.load(requests)
    variables = {"data": data}
    exec(code, variables)
    answer: object = s4_codec.__version__
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        try:
            variables[pickle.load(requests)]()
        except EOFError:
            return
        answer = None


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)

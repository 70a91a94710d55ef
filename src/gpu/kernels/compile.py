"""Compile kernels.cu to kernels.ptx with NVRTC; no GPU is needed.

pip install nvidia-cuda-nvrtc-cu12==12.0.140
python src/gpu/kernels/compile.py
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
#: The oldest PTX that has all that the kernels use, so that old drivers accept it.
PTX_VERSION = ".version 6.0"


def nvrtc() -> ctypes.CDLL:
    """The library of the installed package."""
    files = importlib.metadata.files("nvidia-cuda-nvrtc-cu12") or []
    [path] = [file for file in files if file.name == "libnvrtc.so.12"]
    return ctypes.CDLL(str(path.locate()))


def compile_ptx(source: str) -> str:
    """The PTX of a source; ends the program with the compiler's messages if it has errors."""
    library = nvrtc()
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    options = (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_50")
    status = library.nvrtcCompileProgram(program, len(options), options)
    size = ctypes.c_size_t()
    what = "ProgramLog" if status else "PTX"
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, text)
    if status:
        sys.exit(text.value.decode())
    return text.value.decode()


def main() -> None:
    """Write the file."""
    ptx = compile_ptx((FOLDER / "kernels.cu").read_text())
    body = ptx[ptx.index(".version") :].split("\n", 1)[1]
    text = f"// From kernels.cu, by compile.py.\n\n{PTX_VERSION}\n{body}"
    (FOLDER / "kernels.ptx").write_text(text.replace("\x00", "").rstrip() + "\n")


if __name__ == "__main__":
    main()

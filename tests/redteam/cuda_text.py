"""What can be said of CUDA C++ candidates without nvcc and without a GPU; `test_honest.py` asks.

Such a candidate keeps its device code in KERNELS and its host code in LAUNCHER. NVRTC, which PyTorch brings,
compiles the first to machine code; g++ reads the second against PyTorch's headers, with every kernel reduced to its
declaration and every launch to a call.
"""

import ast
import ctypes
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from corpus import Entry

_SUCCESS = 0
_CONSTANT = re.compile(r"^constexpr .+;$", re.MULTILINE)
_KERNEL = re.compile(r'(?:extern "C" )?(?P<head>(?:template <[^>]*>\s*)?)__global__ (?P<sign>void \w+\([^)]*\)) \{')
_LAUNCH = re.compile(r"<<<(?P<shape>.*?)>>>\((?P<arguments>.*?)\);", re.DOTALL)
_INCLUDE = re.compile(r"^#include .+$", re.MULTILINE)
# What load_inline puts above CUDA sources (torch/utils/cpp_extension.py).
_IMPLICIT = ("#include <torch/types.h>", "#include <cuda.h>", "#include <cuda_runtime.h>")
# It includes the headers of cuSPARSE and cuSOLVER, which want more of the toolkit than pip installs.
_CONTEXT = "#include <ATen/cuda/CUDAContext.h>"
_STREAMS = "#include <c10/cuda/CUDAStream.h>\nnamespace at::cuda { using namespace c10::cuda; }"


def texts_of(entry: Entry) -> dict[str, str]:
    """The module-level strings of a candidate by name."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(entry.source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def nvrtc_path() -> Path | None:
    """NVRTC among the libraries that pip installed with PyTorch; None where PyTorch came without CUDA."""
    found = [file for root in sys.path if root for file in Path(root).glob("nvidia/*/lib/libnvrtc.so.*")]
    return next((file for file in found if "builtins" not in file.name), None)


def compiled_kernels(nvrtc: Path, kernels: str, arch: str) -> str:
    """Compile device code for `arch` (`sm_90`, …); the compiler's errors, empty if there are none."""
    library = ctypes.CDLL(str(nvrtc))
    program = ctypes.c_void_p()
    made = library.nvrtcCreateProgram(ctypes.byref(program), kernels.encode(), b"kernels.cu", 0, None, None)
    if made != _SUCCESS:
        raise OSError(f"NVRTC made no program: error {made}")
    options = (ctypes.c_char_p * 2)(f"--gpu-architecture={arch}".encode(), b"--std=c++17")
    outcome = library.nvrtcCompileProgram(program, len(options), options)
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return "" if outcome == _SUCCESS else log.value.decode()


def host_text(entry: Entry) -> tuple[list[str], str]:
    """A candidate's includes, and its host code in a namespace of its own, its lines named after it."""
    texts = texts_of(entry)
    kernels, launcher = texts["KERNELS"], texts["LAUNCHER"]
    declared = [f"{found['head']}{found['sign']};" for found in _KERNEL.finditer(kernels)]
    calls = _LAUNCH.sub(r"(\g<arguments>); checked_launch(\g<shape>);", _INCLUDE.sub("", launcher))
    body = "\n".join((*_CONSTANT.findall(kernels), *declared, f'#line 1 "{entry.name}"', calls))
    return _INCLUDE.findall(launcher), f"namespace {entry.name} {{\n{body}\n}}"


def host_errors(entries: Sequence[Entry]) -> str:
    """What g++ says of the host code of all candidates at once: PyTorch's headers take longer than all of them."""
    from torch.utils.cpp_extension import include_paths

    parts = [host_text(entry) for entry in entries]
    includes = dict.fromkeys((*_IMPLICIT, *(line for lines, _ in parts for line in lines)))
    launch = "inline void checked_launch(dim3, dim3, size_t = 0, cudaStream_t = nullptr) {}"
    head = "\n".join(includes).replace(_CONTEXT, _STREAMS)
    text = "\n".join((head, launch, *(body for _, body in parts)))
    # Triton brings the compiler's own headers, which PyTorch's packages lack.
    places = ("nvidia/*/include/cuda.h", "triton/backends/nvidia/include/cuda.h")
    toolkit = [file.parent for place in places for root in sys.path if root for file in Path(root).glob(place)]
    folders = [f"-isystem{folder}" for folder in (*include_paths("cpu"), *toolkit)]
    command = ["g++", "-std=c++17", "-fsyntax-only", "-w", "-x", "c++", *folders, "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stderr

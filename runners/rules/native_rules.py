"""Rules on the C++, CUDA and SYCL text inside a candidate; `static_walk.py` calls it for string constants.

A pattern list, not a parser: native code is held by the jail, and this layer only turns the obvious away
early and with a reason. Comments are left out, so that prose such as "early exit (mask)" harms nobody; what
is a comment is told by C++'s own token rules, raw strings and digit separators included.
"""

import re
from collections.abc import Iterator

from everforge.runners.rules.static_registrations import PYTORCH_NAMESPACES

_PROCESSES = "starts or ends processes; report errors with TORCH_CHECK"
_THREADS = "starts threads; use OpenMP or at::parallel_for"
_CODE = "loads or looks up code at run time"
_FILES = "touches files or the environment"
_CLOCK = "reads a clock"
_DEFERS = "defers work past the call"
_SYSTEM = "reaches the operating system"
_PYTHON = "reaches into the Python interpreter"
_HOOKS = "can intercept the operations the harness itself performs"
_MEASURES = "measures or profiles, and timing belongs to the harness"

# Calls: reason and function names.
_FUNCTIONS = (
    (_PROCESSES, "fork vfork execv execve execvp execl execlp execle system popen posix_spawn kill raise"),
    (_PROCESSES, "signal sigaction setitimer alarm exit _exit _Exit quick_exit abort atexit at_quick_exit"),
    (_SYSTEM, "ptrace prctl syscall"),
    (_THREADS, "pthread_create thrd_create"),
    (_CODE, "dlopen dlsym dlmopen dladdr dl_iterate_phdr mprotect"),
    (_FILES, "fopen freopen fdopen open openat creat mmap shm_open opendir readlink"),
    (_FILES, "getenv setenv putenv secure_getenv"),
    (_CLOCK, "clock_gettime gettimeofday clock __rdtsc __rdtscp cudaEventElapsedTime cuEventElapsedTime"),
    (_HOOKS, "addGlobalCallback addThreadLocalCallback SetAllocator SetCPUAllocator registerImpl registerFallback"),
    (_MEASURES, "cudaProfilerStart cudaProfilerStop"),
    (_DEFERS, "cudaLaunchHostFunc cudaStreamAddCallback cuLaunchHostFunc"),
)
# Headers: reason and what stands between the angle brackets.
_HEADERS = (
    (_THREADS, r"thread|future"),
    (_CLOCK, r"chrono|ctime|time\.h"),
    (_MEASURES, r"cupti\w*\.h|nvml\.h"),
    (_FILES, r"fcntl\.h|filesystem|dirent\.h|fstream"),
    # sys/mman.h is there for madvise, which asks for large pages; mapping files and code is refused by name above.
    (_SYSTEM, r"unistd\.h|sys/(?!mman)\w+\.h|netinet/\w+\.h|signal\.h|csignal|dlfcn\.h"),
)
_TOKENS = (
    (_THREADS, r"std::(?:j?thread|async)\b"),
    (_CLOCK, r"std::chrono\b|\brdtscp?\b"),
    (_FILES, r"\b[io]?fstream\b|std::filesystem\b|/proc/|\benviron\b"),
    (_HOOKS, rf"\bTORCH_LIBRARY(?:_IMPL|_FRAGMENT)?\s*\(\s*(?:{'|'.join(sorted(PYTORCH_NAMESPACES))})\s*,"),
    (_PYTHON, r"\bPy(?:Run|Import|Eval|Sys|Frame|GC|Thread|Interpreter|Code|Object_(?:Get|Set)Attr)\w*"),
    (_PYTHON, r"\bPy(?:Module_GetDict|_AddPendingCall)\b|\.attr\s*\("),
    (_PYTHON, r"\b(?:py|pybind11)::(?:eval|exec|globals|locals|module_?::import)\b"),
)
# A call after a dot or an arrow is a method, of torch or of the candidate's own.
_PATTERNS = (
    *((re.compile(rf"(?<![.\w])(?<!->)(?:{'|'.join(n.split())})\s*\("), why) for why, n in _FUNCTIONS),
    *((re.compile(rf"#\s*include\s*<(?:{pattern})>"), why) for why, pattern in _HEADERS),
    *((re.compile(pattern), why) for why, pattern in _TOKENS),
)
# Literals and numbers are matched so that a comment sign inside one starts no comment.
_LEXEMES = re.compile(
    r"""(?P<comment>//(?:\\[ \t]*\r?\n|[^\n])*|/\*.*?(?:\*/|\Z))
    |R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)"
    |"(?:\\.|[^"\\\n])*"
    |'(?:\\.|[^'\\\n])*'
    |\.?\d(?:'?[\w.])*""",
    re.VERBOSE | re.DOTALL,
)


def native_refusals(text: str) -> Iterator[tuple[int, str]]:
    """Each forbidden thing in a native source: the line within the text, from 0, and the reason."""
    text = _LEXEMES.sub(_blank_comment, text)
    for pattern, why in _PATTERNS:
        found = pattern.search(text)
        if found is not None:
            line = text.count("\n", 0, found.start())
            yield line, f"native code with {found.group().strip(' (')!r}: it {why}"


def is_refused_function(name: str) -> bool:
    """Whether a C function of this name may not be called; ctypes finds those of libc in any library."""
    return any(name in functions.split() for _, functions in _FUNCTIONS)


def _blank_comment(lexeme: re.Match[str]) -> str:
    return lexeme.group() if lexeme["comment"] is None else " " + "\n" * lexeme.group().count("\n")

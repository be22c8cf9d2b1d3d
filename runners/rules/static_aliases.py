"""What a candidate's names stand for: which are modules or members of modules, and which are built kernels.

`static_walk.py` asks, so that a rule about `torch.cuda.Event` also sees `E` after
`from torch.cuda import Event as E` or `E = torch.cuda.Event`. The answer ignores order and branches: a name
bound to a module anywhere counts as that module everywhere, except where it is a function's parameter.
"""

import ast
from collections.abc import Iterator

from everforge.runners.rules.static_names import LOADER_FUNCTIONS, LONG_CHAIN, LONGEST_CHAIN

# Assignments are followed through this many links; an honest candidate needs one or two.
_ALIAS_PASSES = 8


class Aliases:
    """The names of one module, resolved. An attribute of `self` is kept as `.name`."""

    def __init__(self, tree: ast.Module) -> None:
        self._paths: dict[str, str] = {}
        self._built: set[str] = set()
        nodes = list(ast.walk(tree))
        for node in nodes:
            self._paths.update(_imported_names(node))
        pairs = [pair for node in nodes for pair in _bound_values(node)]
        for _ in range(_ALIAS_PASSES):
            if not self._learn(pairs):
                break

    def _learn(self, pairs: list[tuple[str, ast.expr]]) -> bool:
        """Follow every binding by one more link; whether anything new came of it."""
        before = len(self._paths) + len(self._built)
        for name, value in pairs:
            path = self.path_of(value)
            if path is not None and not name.endswith("()"):
                self._paths.setdefault(name, path)
            if self.is_built_kernel(value):
                self._built.add(name)
        return len(self._paths) + len(self._built) > before

    def path_of(self, node: ast.AST, shadowed: frozenset[str] = frozenset()) -> str | None:
        """The dotted path an expression such as `F.relu` stands for; None if its root is no import."""
        names: list[str] = []
        while isinstance(node, ast.Attribute) and not _is_self(node.value):
            names.append(node.attr)
            node = node.value
            if len(names) > LONGEST_CHAIN:
                return LONG_CHAIN
        root = _key_of(node)
        if root is None or root in shadowed or root not in self._paths:
            return None
        return _canonical([*self._paths[root].split("."), *reversed(names)])

    def is_built_kernel(self, node: ast.AST) -> bool:
        """Whether an expression is what the extension loader returned, its file name, or it opened by ctypes."""
        if isinstance(node, ast.Attribute) and node.attr == "__file__":
            node = node.value
        if isinstance(node, ast.Call):
            path, name = self.path_of(node.func), _key_of(node.func)
            if path == "ctypes.CDLL":
                return len(node.args) == 1 and self.is_built_kernel(node.args[0])
            return path in LOADER_FUNCTIONS or f"{name}()" in self._built
        return _key_of(node) in self._built


def _canonical(parts: list[str]) -> str:
    """The path with detours cut off: `torch.nn.functional.torch.hub` is `torch.hub`."""
    for index in range(len(parts) - 1, 0, -1):
        # `torch._inductor.config.triton` is a group of settings, not the module.
        if parts[index] == "torch" or (parts[index] == "triton" and parts[index - 1] != "config"):
            parts = parts[index:]
            break
    return LONG_CHAIN if len(parts) > LONGEST_CHAIN or parts[0] == LONG_CHAIN else ".".join(parts)


def _imported_names(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield (alias.asname, _canonical(alias.name.split("."))) if alias.asname else (root, root)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield alias.asname or alias.name, _canonical([*node.module.split("."), alias.name])


def _bound_values(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names and the values bound to them; what a function `f` returns is bound to `f()`."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from _unpacked(target, node.value)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield from _unpacked(node.target, node.value)
    elif isinstance(node, ast.FunctionDef):
        for inner in ast.walk(node):
            if isinstance(inner, ast.Return) and inner.value is not None:
                yield f"{node.name}()", inner.value


def _unpacked(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    key = _key_of(target)
    if key is not None:
        yield key, value
    elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for part, item in zip(target.elts, value.elts, strict=False):
            yield from _unpacked(part, item)


def _key_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and _is_self(node.value):
        return f".{node.attr}"
    return None


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")

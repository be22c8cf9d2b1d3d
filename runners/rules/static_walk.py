"""The walk over a candidate's syntax tree that finds what it may not do; `static_rules.py` reports it.

It decides on what a name resolves to (`static_aliases.py`) and on tables of names (`static_names.py`).
"""

import ast
import re
from collections.abc import Iterator
from enum import StrEnum

from everforge.runners.rules import static_names as names
from everforge.runners.rules.native_rules import is_refused_function, native_refusals
from everforge.runners.rules.static_aliases import Aliases
from everforge.runners.rules.static_registrations import REGISTRATIONS, passed_on, registration_refusal


class Rule(StrEnum):
    """Which rule a source breaks. The first two say that it is no candidate at all."""

    SYNTAX = "syntax"
    MODEL_CLASS = "model-class"
    SIZE = "size"
    ENCODING = "encoding"
    IMPORT = "import"
    NAME = "name"
    ATTRIBUTE = "attribute"
    BUILTIN = "builtin"
    PATCH = "patch"
    SUBCLASS = "subclass"
    LIBRARY = "library"
    TEXT = "text"
    NATIVE = "native"


# The source line, from 1, the rule broken there, and why it is a rule.
BrokenRule = tuple[int, Rule, str]
_Found = Iterator[tuple[Rule, str]]
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_ATTRIBUTE_CALLS = frozenset(("getattr", "setattr", "delattr", "__setattr__"))


class Walk:
    """One walk over one tree, with a stack of its own: hostile trees are deeper than Python recurses."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._aliases = Aliases(tree)
        nodes = list(ast.walk(tree))
        self._builds_native = any(_mentions_loader(node) for node in nodes)
        self._defined = {node.name for node in nodes if isinstance(node, _Definition)}
        self._called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        # Strings that stand alone as statements and, as the walk goes on, parts of longer texts already read.
        self._read_texts = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        self._parameters: frozenset[str] = frozenset()

    def broken_rules(self) -> Iterator[BrokenRule]:
        """Every broken rule, some of them more than once."""
        stack: list[tuple[ast.AST, frozenset[str]]] = [(self._tree, frozenset())]
        while stack:
            node, self._parameters = stack.pop()
            line = getattr(node, "lineno", 1)
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield from ((line + below, rule, why) for below, rule, why in self._of_text(node))
            else:
                yield from ((line, rule, why) for rule, why in self._of_node(node))
            stack += _children_with_parameters(node, self._parameters)

    def _of_node(self, node: ast.AST) -> _Found:
        match node:
            case ast.Import() | ast.ImportFrom():
                return self._of_import(node)
            case ast.Attribute():
                return self._of_attribute(node)
            case ast.Name():
                return self._of_name(node)
            case ast.Call():
                return self._of_call(node)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._of_definition(node)
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                return self._of_assignment(node.value)
            case ast.MatchClass():  # `case object(os=found)` reads an attribute too
                return ((Rule.ATTRIBUTE, why) for why in map(names.attribute_refusal, node.kwd_attrs) if why)
        return iter(())

    def _of_import(self, node: ast.Import | ast.ImportFrom) -> _Found:
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif node.level or node.module is None:
            yield Rule.IMPORT, "relative import: a candidate is one file"
            return
        else:
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        for path in paths:
            why = names.import_refusal(path)
            if why is not None:
                yield Rule.IMPORT, why

    def _of_attribute(self, node: ast.Attribute) -> _Found:
        path = self._aliases.path_of(node, self._parameters)
        why = (path and names.path_refusal(path)) or names.attribute_refusal(node.attr)
        if why:
            yield Rule.ATTRIBUTE, why
        if path in REGISTRATIONS and id(node) not in self._called:
            yield Rule.ATTRIBUTE, passed_on(path)
        if is_refused_function(node.attr) and self._aliases.is_built_kernel(node.value):
            yield Rule.LIBRARY, f".{node.attr} of a built library: it is the system's, not the kernel's own"
        if not isinstance(node.ctx, ast.Load) and not (path and names.is_setting(path)):
            yield from self._of_assignment(node.value)

    def _of_assignment(self, owner: ast.expr) -> _Found:
        """What is wrong with assigning to an attribute or an item of `owner`."""
        path = self._aliases.path_of(owner, self._parameters)
        if path is not None and not names.is_setting(path):
            yield Rule.PATCH, f"assignment into {path}: what is imported stays as it is"
        elif _is_a_class_lookup(owner):
            yield (
                Rule.PATCH,
                "assignment into the class of an object, which need not be the candidate's own: name the class",
            )

    def _of_name(self, node: ast.Name) -> _Found:
        if node.id in self._parameters:
            return
        if isinstance(node.ctx, ast.Load):
            if node.id in names.BUILTIN_REFUSALS:
                yield Rule.BUILTIN, f"{node.id}: it {names.BUILTIN_REFUSALS[node.id]}"
            if id(node) in self._called:
                return
            if node.id in _ATTRIBUTE_CALLS:
                yield Rule.BUILTIN, f"{node.id} passed on: call it where the attribute's name can be read"
            path = self._aliases.path_of(node)
            if path in REGISTRATIONS:
                yield Rule.ATTRIBUTE, passed_on(path)
        elif not names.dunder_is_plain(node.id):
            yield Rule.NAME, f"definition of {node.id}: it changes how the interpreter treats this code"

    def _of_definition(self, node: _Definition) -> _Found:
        if node.name in names.TENSOR_PROTOCOL_METHODS:
            yield Rule.SUBCLASS, f"{node.name}: torch's own operations stay as they are"
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            if self._aliases.path_of(base, self._parameters) in names.TENSOR_CLASSES:
                yield Rule.SUBCLASS, f"{node.name} derives from torch.Tensor: outputs are plain tensors"

    def _of_call(self, node: ast.Call) -> _Found:
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        path = self._aliases.path_of(node.func, self._parameters)
        if path in REGISTRATIONS:
            why = registration_refusal(path, node, self._defined)
            if why is not None:
                yield Rule.ATTRIBUTE, why
        if function in _ATTRIBUTE_CALLS:
            yield from self._of_attribute_call(function, node)
        elif function == "type" and len(node.args) > 1 and isinstance(node.func, ast.Name):
            yield Rule.BUILTIN, "type with three arguments: write the class out"
        elif path == "ctypes.CDLL" and not self._aliases.is_built_kernel(node):
            yield Rule.LIBRARY, "ctypes.CDLL may only open the library that load or load_inline has built"

    def _of_attribute_call(self, function: str, node: ast.Call) -> _Found:
        """`getattr(owner, name)` and its kin, as if the attribute were written out."""
        arguments = node.args
        if isinstance(node.func, ast.Attribute) and _is_super(node.func.value):
            arguments = [node.func.value, *arguments]  # super().__setattr__(name, value)
        if len(arguments) < 2 or any(isinstance(argument, ast.Starred) for argument in arguments[:2]):
            yield Rule.BUILTIN, f"{function} without a plain object and attribute name"
            return
        owner, name = arguments[0], arguments[1]
        if function != "getattr":
            yield from self._of_assignment(owner)
        path = self._aliases.path_of(owner, self._parameters)
        leading, is_whole = _leading_text(name)
        if is_whole:
            why = names.attribute_refusal(leading) or (path and names.path_refusal(f"{path}.{leading}"))
            if why:
                yield Rule.ATTRIBUTE, why
        elif path is not None or self._is_code(owner):
            yield Rule.ATTRIBUTE, f"{function} with a name made at run time, on a module, class or function"
        elif not isinstance(name, ast.Name) and names.could_become_refused(leading):
            yield Rule.ATTRIBUTE, f"{function} with a name put together: begin it with a plain text"

    def _is_code(self, owner: ast.expr) -> bool:
        """Whether an expression is a function or a class, whose attributes lead into the interpreter.

        A name in a variable passes on anything else: looping over parameter names is honest and common.
        """
        if isinstance(owner, ast.Name):
            return owner.id in self._defined
        if isinstance(owner, ast.Attribute):
            return owner.attr in self._defined or owner.attr.startswith("__")
        return isinstance(owner, ast.Lambda) or _is_a_class_lookup(owner)

    def _of_text(self, node: ast.Constant | ast.JoinedStr | ast.BinOp) -> Iterator[tuple[int, Rule, str]]:
        """What a string says, each with its line counted from the string's first."""
        if id(node) in self._read_texts:
            return
        parts = list(_text_parts(node))
        self._read_texts.update(map(id, parts))
        text = "".join(part for part in map(_literal, parts) if part is not None)
        for hidden in names.HIDDEN_NAMES:
            found = re.search(rf"\b{hidden}\b", text)
            if found is not None:
                yield text.count("\n", 0, found.start()), Rule.TEXT, f"{hidden} in a string: a hidden lookup"
        if text.startswith(names.SYSTEM_DIRECTORIES):
            yield 0, Rule.TEXT, f"the path {text[:40]!r}: files of the system belong to the harness"
        if self._builds_native:
            yield from ((line, Rule.NATIVE, why) for line, why in native_refusals(text))


def _children_with_parameters(node: ast.AST, parameters: frozenset[str]) -> Iterator[tuple[ast.AST, frozenset[str]]]:
    """Children with the function parameters in force there: a parameter called `compile` is no builtin."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        yield from ((child, parameters) for child in ast.iter_child_nodes(node))
        return
    inside = parameters | {child.arg for child in ast.walk(node.args) if isinstance(child, ast.arg)}
    body = node.body if isinstance(node.body, list) else [node.body]
    yield from ((child, inside) for child in body)
    # Defaults, decorators and annotations are evaluated outside, where the parameter does not exist.
    in_body = set(map(id, body))
    yield from ((child, parameters) for child in ast.iter_child_nodes(node) if id(child) not in in_body)


def _mentions_loader(node: ast.AST) -> bool:
    """Whether a node names the extension loader: an import, an attribute or a string."""
    mentioned = (getattr(node, field, None) for field in ("name", "module", "attr", "value"))
    return any(isinstance(text, str) and "cpp_extension" in text for text in mentioned)


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def _is_a_class_lookup(node: ast.expr) -> bool:
    """Whether an expression is `type(x)`, `x.__class__` or another object's `__dict__`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "type"
    if not isinstance(node, ast.Attribute):
        return False
    is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
    return node.attr == "__class__" or (node.attr == "__dict__" and not is_own)


def _leading_text(node: ast.expr) -> tuple[str, bool]:
    """The literal text a string expression starts with, and whether that is all of it."""
    whole = _literal(node)
    if whole is not None:
        return whole, True
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        node = node.left
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return (_literal(node) or "").partition("%")[0], False


def _text_parts(node: ast.AST) -> Iterator[ast.AST]:
    """A constant, or the pieces of an f-string or of a sum of them in order, the inner nodes included."""
    pending = [node]
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, ast.JoinedStr):
            pending += reversed(part.values)
        elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
            pending += [part.right, part.left]


def _literal(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

"""The stub of the extension has the names and arguments of the extension."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import medalist.search
from medalist.search import _ann

STUB = ast.parse((Path(medalist.search.__file__).parent / "_ann.pyi").read_text())


def members(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    return {node.name: node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def arguments(node: ast.stmt) -> list[tuple[str, bool]]:
    """Return the names of the arguments, and whether each has a default."""
    assert isinstance(node, ast.FunctionDef)
    names = [argument.arg for argument in node.args.args if argument.arg != "self"]
    required = len(names) - len(node.args.defaults)
    return [(name, place >= required) for place, name in enumerate(names)]


def arguments_of(function: Any) -> list[tuple[str, bool]]:
    """Return the same for a function of the extension, read from the signature that nanobind stores."""
    signature = function.__nb_signature__[0][0]
    plain = re.sub(r"ndarray\[[^]]*\]", "object", signature).replace("\\", "")  # not valid in an annotation
    return arguments(ast.parse(f"{plain}: ...").body[0])


def test_module_and_stub_have_the_same_names() -> None:
    public = {name for name in vars(_ann) if not name.startswith("_")}
    assert public == set(members(STUB.body))
    core = members(STUB.body)["Core"]
    assert isinstance(core, ast.ClassDef)
    own = {name for name in vars(_ann.Core) if not name.startswith("_") or name in ("__init__", "__len__")}
    assert own == set(members(core.body))


def functions(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return the functions that take arguments; properties are left out."""
    plain = {name: node for name, node in members(body).items() if isinstance(node, ast.FunctionDef)}
    return {name: node for name, node in plain.items() if not is_property(node)}


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list)


CORE = members(STUB.body)["Core"]
assert isinstance(CORE, ast.ClassDef)
METHODS = functions(CORE.body)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_methods_have_the_arguments_of_the_stub(name: str) -> None:
    assert arguments_of(getattr(_ann.Core, name)) == arguments(METHODS[name])


def test_functions_of_the_module_have_the_arguments_of_the_stub() -> None:
    for name, node in functions(STUB.body).items():
        assert arguments_of(getattr(_ann, name)) == arguments(node)


def test_properties_of_the_stub_are_none_that_can_be_called() -> None:
    for name in set(members(CORE.body)) - set(METHODS):
        assert isinstance(vars(_ann.Core)[name], property)


def test_errors_are_exceptions() -> None:
    for error in (_ann.FileError, _ann.Interrupted):
        assert issubclass(error, Exception)

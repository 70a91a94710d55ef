"""What the reference needs of the docstrings: an extension of Griffe, for zensical.toml.

The docstrings are in reStructuredText's terms and in those of the extension module:

- ``:func:`decode``` becomes a link to the object, double backquotes single ones;
- an interactive example before any section becomes a block of code;
- what follows ``#:`` documents an attribute;
- a class of the extension module has its parameters in ``__new__``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):`~?([\w.]+)`")
#: ``>>>`` and all lines up to an empty one, as far as the first section.
EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.M | re.S)
SECTION = re.compile(r"^\w+\n---", re.M)
LITERAL = re.compile(r"``([^`\n]+)``")


def objects(parent: griffe.Module | griffe.Class) -> Iterator[griffe.Object]:
    """The object and all that it defines itself."""
    yield parent
    for member in parent.members.values():
        if isinstance(member, (griffe.Module, griffe.Class)):
            yield from objects(member)
        elif isinstance(member, griffe.Object):
            yield member


def fenced(text: str) -> str:
    """The text with its examples before the first section in fences."""
    section = SECTION.search(text)
    end = section.start() if section else len(text)
    start = text[:end].replace("  # doctest: +SKIP", "")
    return EXAMPLE.sub(r"```pycon\n\g<0>\n```", start) + text[end:]


def comment(obj: griffe.Object) -> str:
    """The lines before an attribute that start with ``#:``."""
    assert isinstance(obj.filepath, Path)
    lines, text = obj.lines_collection[obj.filepath], list[str]()
    number = (obj.lineno or 1) - 2
    while number >= 0 and lines[number].strip().startswith("#:"):
        text.insert(0, lines[number].strip().removeprefix("#:").strip())
        number -= 1
    return "\n".join(text)


def target(obj: griffe.Object, name: str, package: griffe.Module) -> str:
    """The path of what a role names, seen from the object that has the docstring."""
    scope: griffe.Object | griffe.Alias | None = obj
    if name.startswith(f"{package.name}."):
        scope, name = package, name.removeprefix(f"{package.name}.")
    while scope is not None:
        first, *rest = name.split(".")
        # Aliases too: a class inherits, a module imports.
        if not scope.is_function and not scope.is_attribute and first in scope.all_members:
            found = scope.all_members[first]
            for part in rest:
                found = found.all_members[part]
            return str(found.canonical_path)
        scope = scope.parent
    # What a class names of those that inherit from it.
    for each in objects(package):
        if each.path.endswith(f".{name}"):
            return each.path
    raise LookupError(f"{obj.path}: expected a role with a name of {package.name}, found {name}")


def linked(text: str, obj: griffe.Object, package: griffe.Module) -> str:
    """The text with its roles as links."""

    def link(match: re.Match[str]) -> str:
        return f"[`{match[1]}`][{target(obj, match[1], package)}]"

    return ROLE.sub(link, text)


class Docstrings(griffe.Extension):
    """Rewrites the docstrings of a package when all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for obj in objects(pkg):
            if isinstance(obj, griffe.Class) and "__new__" in obj.members:
                obj.members.setdefault("__init__", obj.members["__new__"])
            if obj.is_attribute and not obj.docstring and (text := comment(obj)):
                obj.docstring = griffe.Docstring(text, parent=obj)
            if obj.docstring:
                text = LITERAL.sub(r"`\1`", obj.docstring.value)
                obj.docstring.value = fenced(linked(text, obj, pkg))

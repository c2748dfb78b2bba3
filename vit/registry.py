"""A package whose modules are members of one registry: adding a file adds a member."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import TypeVar

M = TypeVar("M")


class Registry(Mapping[str, M]):
    """The member of each module of a package, by the module's name; a module is imported when it is asked for.

    Args:
        package: full name of the imported package, which holds members only.
        kind: what each module has in its variable `MEMBER`.
    """

    def __init__(self, package: str, kind: type[M]) -> None:
        self._package, self._kind = package, kind
        self._loaded: dict[str, M] = {}

    def __getitem__(self, name: str) -> M:
        if name not in self._loaded:
            if name not in self:
                raise KeyError(name)
            member = importlib.import_module(f"{self._package}.{name}").MEMBER
            assert isinstance(member, self._kind)
            self._loaded[name] = member
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in list(self)

    def __iter__(self) -> Iterator[str]:
        folders = sys.modules[self._package].__path__
        return iter(sorted(module.name for module in pkgutil.iter_modules(folders)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

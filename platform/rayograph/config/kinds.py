"""The registries: which kinds there are of a seam, each known by one line here or by whoever brings it.

A kind is a declaration with a field `kind`, and names what does its work: `implemented_by`, a "module:name" that is
imported when the work begins, or the class itself. Kinds come from three places: this package (`built_in`), installed
packages (an entry point in the group `rayograph.<seam>`), and a job file, which calls `register`.
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import SerializeAsAny, WrapValidator
from pydantic_core import PydanticCustomError

from rayograph.config.base import Declaration

D = TypeVar("D", bound=Declaration)


class Kind(Declaration):
    """A declaration that is one of several of its seam."""

    implemented_by: ClassVar[str | type] = ""
    kind: str


class Kinds:
    """The kinds of one seam."""

    def __init__(self, seam: str, built_in: Mapping[str, str], default: str | None = None) -> None:
        """`built_in` maps a kind to its declaration's "module:name"; `default` is meant where no kind is said."""
        self.seam, self.default = seam, default
        self._places = dict(built_in)
        self._known: dict[str, type[Declaration]] = {}

    def register(self, declaration: type[D]) -> type[D]:
        """Add a kind; usable as a decorator. Raises ValueError for a name that is taken by another."""
        name = kind_of(declaration)
        taken = self._known.get(name)
        if name in self._places or (taken is not None and taken.__qualname__ != declaration.__qualname__):
            raise ValueError(f"{self.seam}: kind {name!r} is there already")
        self._known[name] = declaration
        return declaration

    def names(self) -> list[str]:
        """All kinds by name, those of installed packages too."""
        return sorted({*self._places, *self._known, *(point.name for point in self._installed())})

    def declaration(self, kind: str) -> type[Declaration]:
        """The declaration of a kind. Raises KeyError for an unknown one."""
        if kind not in self._known:
            if kind in self._places:
                self._known[kind] = imported(self._places[kind])
            else:
                self._known[kind] = next(point for point in self._installed() if point.name == kind).load()
        return self._known[kind]

    def annotation(self, base: type[Declaration]) -> Any:
        """The type of a field that takes any kind of this seam: read by its `kind`, written whole."""
        return Annotated[SerializeAsAny[base], WrapValidator(self._read)]  # type: ignore[misc,valid-type]

    def _read(self, given: Any, _: Any) -> Declaration:
        """A declaration as it is; a mapping by its kind."""
        kind: Any = None
        if isinstance(given, Declaration):
            kind = kind_of(type(given))
        elif isinstance(given, Mapping):
            kind = given.get("kind", self.default)
        if kind not in self.names():
            expected = ", ".join(map(repr, self.names()))
            raise PydanticCustomError("unknown_kind", "{said}", {"said": f"expected one of {expected}, got {kind!r}"})
        return self.declaration(kind).model_validate(given)

    def _installed(self) -> Any:
        return entry_points(group=f"rayograph.{self.seam}")


def kind_of(declaration: type[Declaration]) -> str:
    """The name that a declaration has among its seam's kinds."""
    return str(declaration.model_fields["kind"].default)


def imported(place: str) -> Any:
    """What "module:name" means."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def implementation(declared: Kind) -> Any:
    """What does a declared kind's work, imported now."""
    place = declared.implemented_by
    return imported(place) if isinstance(place, str) else place

"""The registries: which kinds there are of a seam, each known by one line here or by whoever brings it.

A kind is a declaration with a field `kind`, and names what does its work: `implemented_by`, a "module:name" that is
imported when the work begins, or the class itself. Kinds come from three places: this package (`built_in`), installed
packages (an entry point in the group `rayograph.<seam>`), and a module beside a job file, which calls `register`.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoints, entry_points
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import GetCoreSchemaHandler, SerializeAsAny, ValidationError
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, PydanticKnownError
from pydantic_core.core_schema import ErrorType, no_info_wrap_validator_function

from rayograph.config import extensions
from rayograph.config.declaration import Declaration
from rayograph.errors import ConfigError

D = TypeVar("D", bound=Declaration)

UNKNOWN_KIND = "unknown_kind"
"""The type of pydantic's finding for one; its context says it in words (config/reading/explain.py)."""


class Kind(Declaration):
    """A declaration that is one of several of its seam."""

    implemented_by: ClassVar[str | type] = ""
    kind: str


class Kinds:
    """The kinds of one seam. As a field's mark, `Annotated[SerializeAsAny[Base], KINDS]`, it makes the field take any.

    A mapping is read by its `kind`; what is declared is written whole, a kind's own fields too.
    """

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
        extensions.registering(declaration.__module__)
        return declaration

    def names(self) -> list[str]:
        """Return all kinds by name, those of installed packages too."""
        extensions.load()
        return sorted({*self._places, *self._known, *(point.name for point in self._installed())})

    def declaration(self, kind: str) -> type[Declaration]:
        """Return the declaration of a kind. Raises KeyError for an unknown one, ConfigError for a broken one."""
        found = self._find(kind)
        if found is None:
            raise KeyError(kind)
        return found

    def _find(self, kind: str) -> type[Declaration] | None:
        if kind not in self._known and kind not in self._places:
            extensions.load()
        if kind not in self._known:
            place = self._places.get(kind) or next((p.value for p in self._installed() if p.name == kind), None)
            if place is None:
                return None
            try:
                self._known[kind] = imported(place)
            except (ImportError, AttributeError) as error:
                raise ConfigError(f"{self.seam}: kind {kind!r} cannot be imported from {place}: {error}") from error
        return self._known[kind]

    def loaded(self) -> list[type[Declaration]]:
        """Return the declarations of this package, and those of others that are in use."""
        return [self.declaration(kind) for kind in {**self._places, **self._known}]

    def annotation(self, base: type[Declaration]) -> Any:
        """Return the type of a field that takes any kind of this seam, where it is only known when the program runs."""
        return Annotated[SerializeAsAny[base], self]  # type: ignore[misc,valid-type]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read by `kind` what the base alone would refuse."""
        return no_info_wrap_validator_function(self._read, handler(source))

    def _read(self, given: object, is_of_the_seam: Callable[[object], object]) -> object:
        """A declaration as it is; a mapping by its kind, which findings carry in their place as a union's do."""
        if isinstance(given, Kind):
            kind: object = given.kind
        elif isinstance(given, Mapping):
            kind = given.get("kind", self.default)
        else:
            raise PydanticKnownError("model_attributes_type")
        declaration = self._find(kind) if isinstance(kind, str) else None
        if declaration is None or not isinstance(kind, str):
            expected = ", ".join(map(repr, self.names()))
            got = "none" if kind is None else repr(kind)
            raise PydanticCustomError(UNKNOWN_KIND, "{said}", {"said": f"expected one of {expected}, got {got}"})
        if isinstance(given, Kind):
            return is_of_the_seam(given)
        try:
            return is_of_the_seam(declaration.model_validate(given))
        except ValidationError as error:
            raise _below(kind, error) from None

    def _installed(self) -> EntryPoints:
        return entry_points(group=f"rayograph.{self.seam}")


def _below(kind: str, error: ValidationError) -> ValidationError:
    """The same findings, each a step deeper."""
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                type=found["type"]
                if found["type"] in get_args(ErrorType)
                else PydanticCustomError(found["type"], "{said}", found.get("ctx")),
                loc=(kind, *found["loc"]),
                input=found["input"],
                ctx=found.get("ctx", {}),
            )
            for found in error.errors(include_url=False)
        ],
    )


def kind_of(declaration: type[Declaration]) -> str:
    """Return the name that a declaration has among its seam's kinds."""
    return str(declaration.model_fields["kind"].default)


def imported(place: str) -> Any:
    """Return what "module:name" names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def implementation(declared: Kind) -> Any:
    """Import what does a declared kind's work."""
    place = declared.implemented_by
    return imported(place) if isinstance(place, str) else place

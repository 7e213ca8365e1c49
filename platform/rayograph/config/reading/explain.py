"""From pydantic's findings to the one line a person needs: field, what was expected, what came."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from rayograph.config.kinds import UNKNOWN_KIND, Kinds
from rayograph.errors import ConfigError

MOST_FINDINGS, MOST_CHARACTERS = 8, 120

Models = type[BaseModel] | tuple[type[BaseModel], ...]
"""One declaration, or the members of a union or a seam."""

_BOUNDS = ("ge", "gt", "le", "lt")


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return '; did you mean x?' for the nearest known name (of dotted ones, by the last part), else them all."""
    by_last = {name.rpartition(".")[2]: name for name in sorted(known, key=lambda name: -name.count("."))}
    near = difflib.get_close_matches(wrong, by_last, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {by_last[near[0]]!r}?"
    return f"; known: {', '.join(sorted(name for name in by_last.values() if '.' not in name))}"


def field_paths(model: Models, within: frozenset[type[BaseModel]] = frozenset()) -> list[str]:
    """Return a declaration's fields, those of the declarations inside it dotted.

    Not of one inside its own kind, as a condition among several may be: `within` are those that are looked into.
    """
    if isinstance(model, tuple):
        return [path for member in model for path in field_paths(member, within)]
    if model in within:
        return []
    within, paths = within | {model}, []
    for name, field in model.model_fields.items():
        name, inner = field.alias or name, _models_of(field)
        paths += [name] + [f"{name}.{deeper}" for deeper in (field_paths(inner, within) if inner else [])]
    return paths


def explain(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Return every finding of `error` on one line, each field by its dotted path below `where`."""
    return ConfigError(told(error.errors(include_url=False), model, where))


def told(findings: Sequence[ErrorDetails], model: type[BaseModel] | None, where: str) -> str:
    """Return findings as pydantic lists them, in one line; of many the first few."""
    more = f"; and {len(findings) - MOST_FINDINGS} more" if len(findings) > MOST_FINDINGS else ""
    return "; ".join(_finding(details, model, where) for details in findings[:MOST_FINDINGS]) + more


def _finding(details: ErrorDetails, model: type[BaseModel] | None, where: str) -> str:
    names: list[str] = []
    owner: Models | None = model
    field: FieldInfo | None = None
    key_follows = False
    for part in details["loc"]:
        known = getattr(owner, "model_fields", {}).get(part)
        member = None if key_follows else tagged(owner, part)
        if member is None:
            names.append(str(part))
        key_follows = known is not None and get_origin(known.annotation) is dict
        owner = member or (_models_of(known) if known else owner)
        field = known or field
    path = ".".join([where, *names] if where else names)
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: no such field{suggestion(names[-1], field_paths(owner) if owner else ())}"
        case "missing":
            return f"{path}: expected a value, got none"
        case "value_error":
            return f"{path}: {details['ctx']['error']}" if path else str(details["ctx"]["error"])
        case "union_tag_invalid":
            return f"{path}.kind: expected one of {details['ctx']['expected_tags']}, got {details['ctx']['tag']!r}"
        case found if found == UNKNOWN_KIND:
            return f"{path}.kind: {details['ctx']['said']}"
        case "union_tag_not_found":
            kinds = ", ".join(
                repr(member.model_fields["kind"].default) for member in (declarations_of(field) if field else ())
            )
            return f"{path}.kind: expected one of {kinds}, got none"
        case "finite_number" | "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            expected = _range(field) or details["msg"].replace("Input should be", "expected a number,")
            expected = expected.replace("a number, a finite number", "a finite number")
            return f"{path}: {expected}, got {shown(details['input'])}"
        case _:
            message = details["msg"][:1].lower() + details["msg"][1:]
            return f"{path}: {message}, got {shown(details['input'])}"


def shown(value: object) -> str:
    """Return what came, cut where it is long: a line stays a line."""
    text = repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… ({len(text):,} characters)"


def _range(field: FieldInfo | None) -> str | None:
    """What a field's bounds let through, in words; None where it has none, or several of them."""
    found = [] if field is None else [limits for limits in _limits(field.annotation, field.metadata) if limits[1]]
    if not found or any(limits != found[0] for limits in found):
        return None
    kind, limits = found[0]
    what = "a whole number" if kind is int else "a number"
    low, high = (_written(limits.get(name, limits.get(beyond))) for name, beyond in (("ge", "gt"), ("le", "lt")))
    if not low:
        return f"expected {what} {'up to' if 'le' in limits else 'below'} {high}"
    if not high:
        return f"expected {what} {'from' if 'ge' in limits else 'above'} {low}{' on' if 'ge' in limits else ''}"
    below = f"to {high}" if "le" in limits else f"to below {high}"
    return f"expected {what} from {low} {below}" if "ge" in limits else f"expected {what} above {low}, up {below}"


def _written(limit: float | None) -> str:
    """A bound as people write it; nothing for none."""
    if limit is None:
        return ""
    return f"{int(limit):,}" if limit == int(limit) and (isinstance(limit, int) or abs(limit) < 1e9) else f"{limit:g}"


def _limits(annotation: object, metadata: Iterable[object]) -> list[tuple[object, dict[str, float]]]:
    """(type, bounds) of every number within an annotation: its own metadata's, or else that of its parts."""
    own = {name: limit for part in metadata for name in _BOUNDS if (limit := getattr(part, name, None)) is not None}
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return _limits(inner, [*metadata, *(part for mark in marks for part in getattr(mark, "metadata", [mark]))])
    if annotation in (int, float):
        return [(annotation, own)]
    return [found for part in get_args(annotation) for found in _limits(part, metadata)]


def declarations_of(field: FieldInfo) -> list[type[BaseModel]]:
    """Return every declaration that a field may hold; of a seam, those that are loaded."""
    found = _models_of(field)
    return [] if found is None else list(_members(found))


def _models_of(field: FieldInfo) -> Models | None:
    """As `_model_within`, of a field, whose own marks stand beside its annotation."""
    return _of_seam(field.metadata) or _model_within(field.annotation)


def _of_seam(marks: Iterable[object]) -> tuple[type[BaseModel], ...] | None:
    return next((tuple(mark.loaded()) for mark in marks if isinstance(mark, Kinds)), None)


def _members(found: Models) -> tuple[type[BaseModel], ...]:
    return found if isinstance(found, tuple) else (found,)


def _model_within(annotation: object) -> Models | None:
    """The declaration inside `X`, `X | None` or `Annotated[X, …]`; a union or a seam stays as its members."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated and (kinds := _of_seam(get_args(annotation)[1:])):
        return kinds
    found = [models for part in get_args(annotation) if (models := _model_within(part)) is not None]
    if len(found) == 1:
        return found[0]
    return tuple(model for models in found for model in _members(models)) or None


def tagged(owner: Models | None, part: object) -> type[BaseModel] | None:
    """Return, of a union's members, the one whose `kind` is `part`."""
    members = owner if isinstance(owner, tuple) else ()
    return next((m for m in members if "kind" in m.model_fields and m.model_fields["kind"].default == part), None)

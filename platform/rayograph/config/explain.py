"""From pydantic's findings to the one line a person needs: field, what was expected, what came."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from rayograph.errors import ConfigError

MOST_FINDINGS, MOST_CHARACTERS = 8, 120


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """'; did you mean x?' for the nearest known name (of dotted ones, by the last part), else the list of them."""
    by_last = {name.rpartition(".")[2]: name for name in sorted(known, key=lambda name: -name.count("."))}
    near = difflib.get_close_matches(wrong, by_last, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {by_last[near[0]]!r}?"
    return f"; known: {', '.join(sorted(name for name in by_last.values() if '.' not in name))}"


def field_paths(model: Any) -> list[str]:
    """A declaration's fields, those of the declarations inside it dotted."""
    if isinstance(model, tuple):
        return [path for member in model for path in field_paths(member)]
    paths = []
    for name, field in model.model_fields.items():
        name, inner = field.alias or name, _model_within(field.annotation)
        paths += [name] + [f"{name}.{deeper}" for deeper in (field_paths(inner) if inner else [])]
    return paths


def explain(error: ValidationError, model: type[BaseModel], where: str) -> ConfigError:
    """Every finding of `error` on one line, each field by its dotted path below `where`."""
    return ConfigError(told(error.errors(include_url=False), model, where))


def told(findings: Sequence[Any], model: type[BaseModel] | None, where: str) -> str:
    """Findings as pydantic lists them, in one line; of many the first few."""
    more = f"; and {len(findings) - MOST_FINDINGS} more" if len(findings) > MOST_FINDINGS else ""
    return "; ".join(_finding(details, model, where) for details in findings[:MOST_FINDINGS]) + more


def _finding(details: Any, model: type[BaseModel] | None, where: str) -> str:
    names: list[str] = []
    owner: Any = model
    key_follows = False
    for part in details["loc"]:
        field = getattr(owner, "model_fields", {}).get(part)
        member = None if key_follows else _tagged(owner, part)
        if member is None:
            names.append(str(part))
        key_follows = field is not None and get_origin(field.annotation) is dict
        owner = member or (_model_within(field.annotation) if field else owner)
    path = ".".join([where, *names] if where else names)
    match details["type"]:
        case "extra_forbidden":
            return f"{path}: no such field{suggestion(names[-1], field_paths(owner))}"
        case "missing":
            return f"{path}: expected a value, got none"
        case "value_error":
            return f"{path}: {details['ctx']['error']}" if path else str(details["ctx"]["error"])
        case _:
            message = details["msg"][:1].lower() + details["msg"][1:]
            return f"{path}: {message}, got {_shown(details['input'])}"


def _shown(value: Any) -> str:
    """What came, cut where it is long: a line stays a line."""
    text = repr(value)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}… ({len(text):,} characters)"


def _model_within(annotation: Any) -> Any:
    """The declaration inside `X`, `X | None` or `Annotated[X, …]`; a union of several stays as its members."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    members = [_model_within(member) for member in get_args(annotation)]
    members = [member for member in members if member is not None]
    if not members:
        return None
    return members[0] if len(members) == 1 else tuple(members)


def _tagged(owner: Any, part: Any) -> Any:
    """Of a union's members, the one whose `kind` is `part`."""
    members = owner if isinstance(owner, tuple) else ()
    flat = [inner for member in members for inner in (member if isinstance(member, tuple) else (member,))]
    return next((m for m in flat if "kind" in m.model_fields and m.model_fields["kind"].default == part), None)

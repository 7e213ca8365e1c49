"""What an artifact's key says of a declaration: the fields that differ from their defaults, and versions.

A field that a later release adds is at its default in every job of before, so it moves no key. A changed meaning, or a
changed default, raises the `version` of its declaration, and moves the keys of all that holds one.
"""

from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from rayograph.config.declaration import NOT_IN_KEY, Declaration
from rayograph.config.stage_base import StageBase
from rayograph.json_types import Json


def decisive(stage: StageBase) -> dict[str, Json]:
    """Return, as JSON, what of a stage decides what it makes, beside its inputs and its seed."""
    said = _said(stage)
    return {
        "said": {name: value for name, value in said.items() if name not in stage.inputs},
        "versions": _versions(stage, ""),
    }


def _said(declaration: Declaration) -> dict[str, Json]:
    """The fields that differ from their defaults, and the tag that tells one declaration of a union from another."""
    found: dict[str, Json] = {}
    for name, field in type(declaration).model_fields.items():
        value = getattr(declaration, name)
        if NOT_IN_KEY not in field.metadata and (_is_tag(field) or _differs(value, field)):
            found[name] = _plain(value)
    return found


def _versions(value: object, path: str) -> dict[str, int]:
    """Those above 1 of the declarations in `value`, by their dotted place, said or not."""
    found: dict[str, int]
    parts: list[tuple[str, object]]
    if isinstance(value, Declaration):
        found = {} if value.version == 1 else {path: value.version}
        parts = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, list | tuple):
        found, parts = {}, [(str(number), part) for number, part in enumerate(value)]
    else:
        return {}
    for name, part in parts:
        found |= _versions(part, f"{path}.{name}" if path else name)
    return found


def _is_tag(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and get_args(field.annotation) == (field.default,)


def _differs(value: object, field: FieldInfo) -> bool:
    return field.is_required() or bool(value != field.get_default(call_default_factory=True, validated_data={}))


def _plain(value: object) -> Json:
    match value:
        case Declaration():
            return _said(value)
        case list() | tuple():
            return [_plain(part) for part in value]
        case _:
            jsonable: Json = to_jsonable_python(value)
            return jsonable

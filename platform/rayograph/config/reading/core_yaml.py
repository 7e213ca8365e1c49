"""YAML 1.2 by its core schema, which is what people who write YAML today mean (yaml.org/spec/1.2.2, sec. 10.3.2).

PyYAML reads YAML 1.1, where 010 is eight, 1:30 is ninety, 1e3 is text and `no` is false. Here 010 is ten, 0o17 is
fifteen, 1e3 and 1e-3 are numbers, and 1:30, 2020-01-01, yes, no, on, off are text. What is written here is quoted
wherever the two versions differ, so that either reads the same.
"""

import re
from collections.abc import Callable, Hashable
from typing import ClassVar

import yaml

Resolvers = dict[str, list[tuple[str, re.Pattern[str]]]]
"""By the first letter of a plain scalar: the tags that it may have, and what each looks like."""

_TAG = "tag:yaml.org,2002:"
_CORE = {
    "null": (re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), list("-+0123456789")),
    "float": (
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        list("-+.0123456789"),
    ),
}


def _resolvers(known: Resolvers) -> Resolvers:
    """PyYAML's table by first letters of what a plain scalar is: what is `known` first, then the core schema."""
    table = {first: list(pairs) for first, pairs in known.items()}
    for name, (pattern, firsts) in _CORE.items():
        for first in firsts:
            table.setdefault(first, []).append((_TAG + name, re.compile(rf"(?:{pattern.pattern})$")))
    return table


class CoreLoader(yaml.SafeLoader):
    """PyYAML's safe loader with the core schema and its tags in the place of 1.1's; a key twice is refused."""

    yaml_implicit_resolvers: ClassVar[Resolvers] = _resolvers({})  # type: ignore[misc]

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Hashable, object]:
        """As the safe loader, but for YAML 1.1's merge keys, which are keys as any other."""
        if not isinstance(node, yaml.MappingNode):
            return super().construct_mapping(node, deep)  # type: ignore[arg-type]  # it refuses all others
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "expected a plain key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"expected the key {key!r} once, found it again", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """0o is octal, 0x hexadecimal, all else decimal."""
        text = node.value
        try:
            return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_core_float(self, node: yaml.ScalarNode) -> float:
        """Of 1.2's spellings."""
        text = node.value.lower()
        try:
            return float(text.replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error

    def construct_core_bool(self, node: yaml.ScalarNode) -> bool:
        """Of 1.2's spellings."""
        if not _CORE["bool"][0].fullmatch(node.value):
            raise yaml.constructor.ConstructorError(None, None, "expected true or false", node.start_mark)
        return node.value.lower() == "true"

    yaml_constructors: ClassVar[dict[str | None, Callable[..., object]]] = {
        None: yaml.SafeLoader.yaml_constructors[None],
        _TAG + "null": yaml.SafeLoader.construct_yaml_null,
        _TAG + "bool": construct_core_bool,
        _TAG + "int": construct_core_int,
        _TAG + "float": construct_core_float,
        _TAG + "str": yaml.SafeLoader.construct_yaml_str,
        _TAG + "seq": yaml.SafeLoader.construct_yaml_seq,
        _TAG + "map": yaml.SafeLoader.construct_yaml_map,
    }


class _Dumper(yaml.SafeDumper):
    """Writes plainly only what is the same in both versions."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeDumper.yaml_implicit_resolvers)


def load(text: str) -> object:
    """The one document that a text holds; None for one without any. Raises yaml.YAMLError."""
    return _loaded(text)[0]


def load_value(text: str) -> object:
    """The value that a text is. Raises yaml.YAMLError, for one that is empty or holds such: null is written `null`."""
    value, node = _loaded(text)
    try:
        empty = _holds_nothing(node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    if empty:
        raise yaml.YAMLError("expected a value, got none (null is written null)")
    return value


def dump(value: object, unicode: bool = True) -> str:
    """As block style, in the order given, for readers of YAML 1.1 and 1.2 alike; without `unicode` in ASCII alone."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=unicode))


def _holds_nothing(node: yaml.Node | None) -> bool:
    """Whether there is no value, here or somewhere within."""
    match node:
        case yaml.MappingNode():
            return any(_holds_nothing(inner) for _, inner in node.value)
        case yaml.SequenceNode():
            return any(_holds_nothing(inner) for inner in node.value)
        case yaml.ScalarNode():
            return node.value == "" and node.style is None and node.tag.endswith(":null")
    return True


def _loaded(text: str) -> tuple[object, yaml.Node | None]:
    """A text's value and its node."""
    loader = CoreLoader(text)
    try:
        node = loader.get_single_node()
        return (None, None) if node is None else (loader.construct_document(node), node)
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    finally:
        loader.dispose()

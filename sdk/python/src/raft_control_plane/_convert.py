"""JSON values to and from the types that functions are annotated with.

Dataclasses, pydantic models, enums and containers of them are known by their annotation;
anything else is passed on as JSON gives it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from collections import abc
from typing import Any

_LISTS: dict[Any, type] = {
    list: list, tuple: tuple, set: set, frozenset: frozenset,
    abc.Sequence: list, abc.Iterable: list, abc.Collection: list, abc.MutableSequence: list, abc.Set: set,
}  # fmt: skip
_DICTS = (dict, abc.Mapping, abc.MutableMapping)


def is_model(annotation: object) -> bool:
    """Reports whether an annotation is a class whose JSON is an object of its fields."""
    return isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or _is_pydantic(annotation))


def to_json(value: object) -> bytes:
    """Encodes a value.

    Raises:
        ValueError: it holds NaN or an infinity, which JSON cannot say.
        TypeError: it holds something that has no JSON form.

    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()
    except ValueError as error:
        if "JSON compliant" in str(error):
            raise ValueError("JSON knows neither NaN nor infinity: give None or a string in its place") from None
        raise


def from_json(data: bytes, annotation: object) -> Any:
    """Decodes a value for an annotation; nothing at all stands for null.

    Raises:
        ValueError: it is no JSON.
        TypeError: it does not fit the annotation.

    """
    if not data:
        return convert(None, annotation)
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}; annotate with bytes to take it as it is") from None
    return convert(value, annotation)


def convert(value: Any, annotation: Any) -> Any:  # noqa: PLR0911 - one for each kind of type
    """Turns what JSON gave into what an annotation asks for, as far as it says."""
    origin = typing.get_origin(annotation)
    args = typing.get_args(annotation)
    if origin is typing.Annotated:
        return convert(value, args[0])
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, args)
    kind = origin or annotation
    if is_model(annotation):
        return _convert_model(value, annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return annotation(value)
    if annotation is float and type(value) is int:
        return float(value)  # JSON of other languages writes 1.0 as 1
    try:
        container = _LISTS.get(kind)
    except TypeError:  # an annotation that cannot be a key
        return value
    if container is not None and isinstance(value, list):
        return _convert_list(value, container, args)
    if kind in _DICTS and isinstance(value, dict) and len(args) == 2:
        return {_convert_key(k, args[0]): convert(v, args[1]) for k, v in value.items()}
    return value


def _convert_union(value: Any, options: tuple[Any, ...]) -> Any:
    if value is None and type(None) in options:
        return None
    for option in options:
        if option is type(None) or not _may_be(value, option):
            continue
        try:
            return convert(value, option)
        except (TypeError, ValueError):  # the next one may fit
            continue
    return value


def _may_be(value: Any, option: Any) -> bool:
    if is_model(option):
        return isinstance(value, dict)
    kind = typing.get_origin(option) or option
    if kind in (int, float, str, bool):
        return isinstance(value, (int, float) if kind is float else kind)
    return True


def _convert_list(value: list[Any], container: type, args: tuple[Any, ...]) -> Any:
    if container is tuple and args and args[-1] is not Ellipsis:
        if len(args) != len(value):
            raise TypeError(f"a tuple of {len(args)} is asked for, and {len(value)} are given")
        return tuple(convert(item, arg) for item, arg in zip(value, args, strict=True))
    return container(convert(item, args[0]) if args else item for item in value)


def _convert_key(key: str, annotation: Any) -> Any:
    return annotation(key) if annotation in (int, float) else convert(key, annotation)


def _convert_model(value: Any, model: Any) -> Any:
    if _is_pydantic(model):
        return model.model_validate(value)
    if not isinstance(value, dict):
        raise TypeError(f"{model.__name__} is asked for, and {json.dumps(value)[:80]} is no object")
    hints = typing.get_type_hints(model, include_extras=True)
    names = {field.name for field in dataclasses.fields(model) if field.init}
    unknown = sorted(value.keys() - names)
    if unknown:
        raise TypeError(f"{model.__name__} has no field {', '.join(unknown)}: it has {', '.join(sorted(names))}")
    return model(**{name: convert(item, hints.get(name)) for name, item in value.items()})


def _plain(value: Any) -> Any:
    """Is what json.dumps asks about a value that it does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json")
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, abc.Mapping):
        return dict(value)
    # Scalars and arrays of NumPy, PyTorch and the like.
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    raise TypeError(
        f"{type(value).__name__} has no JSON form: give JSON values, dataclasses, pydantic models or, as a whole, bytes"
    )


def _is_pydantic(kind: object) -> bool:
    return isinstance(kind, type) and callable(getattr(kind, "model_validate", None)) and hasattr(kind, "model_fields")

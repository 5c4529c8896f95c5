"""How the arguments and the result of a function become bytes.

- One parameter that is annotated with a dataclass or a pydantic model: the payload is
  that object as JSON, as a Go worker with a struct for its arguments has it.
- One parameter that is annotated with bytes: the payload is these bytes.
- Otherwise the payload is a JSON object of the arguments by their names.
"""

from __future__ import annotations

import inspect
import typing
from collections import abc
from typing import TYPE_CHECKING, Any

from ._convert import convert, from_json, is_model, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_PAYLOAD_BYTES = 1 << 20
_GENERATORS = (abc.Generator, abc.Iterator, abc.Iterable)


class Signature:
    """The parameters and the result type of one function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = getattr(function, "__qualname__", repr(function))
        self._signature = inspect.signature(function)
        self._hints = _hints(function)
        for parameter in self._signature.parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise TypeError(
                    f"{self.name}: parameter {parameter} has no name to send an argument under: "
                    "use parameters that can be given by keyword"
                )
        self._whole = self._whole_parameter()
        self.result_type = self._result_type(generator=inspect.isgeneratorfunction(function))

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Encodes the arguments of a call; raises TypeError as the call itself would."""
        bound = self._bind(*args, **kwargs)
        if self._whole is not None:
            bound.apply_defaults()
            value = bound.arguments[self._whole]
            data = as_bytes(value) if self._hints.get(self._whole) is bytes else to_json(value)
            return checked(data, "the arguments")
        arguments = dict(bound.arguments)
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        return checked(to_json(arguments), "the arguments")

    def decode(self, payload: bytes) -> dict[str, Any]:
        """Returns the keyword arguments that a payload stands for."""
        if self._whole is not None:
            hint = self._hints.get(self._whole)
            return {self._whole: payload if hint is bytes else from_json(payload, hint)}
        arguments = from_json(payload, Any) if payload else {}
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise TypeError(f"the payload of {self.name} must be a JSON object of its arguments by name")
        self._bind(**arguments)  # says what is missing or too much
        return {name: convert(value, self._hints.get(name)) for name, value in arguments.items()}

    def encode_result(self, value: Any) -> bytes:
        """Encodes what the function returned: bytes as they are, anything else as JSON."""
        is_bytes = isinstance(value, (bytes, bytearray, memoryview))
        return checked(as_bytes(value) if is_bytes else to_json(value), "the result")

    def decode_result(self, data: bytes) -> Any:
        """Decodes what the function returned, by its annotation."""
        return data if self.result_type is bytes else from_json(data, self.result_type)

    def _bind(self, *args: Any, **kwargs: Any) -> inspect.BoundArguments:
        try:
            return self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._signature}: {error}") from None

    def _whole_parameter(self) -> str | None:
        """Returns the name of the parameter that is the whole payload, if one is."""
        parameters = list(self._signature.parameters.values())
        if len(parameters) != 1 or parameters[0].kind is inspect.Parameter.VAR_KEYWORD:
            return None
        hint = self._hints.get(parameters[0].name)
        return parameters[0].name if hint is bytes or is_model(hint) else None

    def _result_type(self, *, generator: bool) -> Any:
        hint = self._hints.get("return", Any)
        if not generator:
            return hint
        if typing.get_origin(hint) in _GENERATORS and len(args := typing.get_args(hint)) == 3:
            return args[2]
        return Any


def as_bytes(value: Any) -> bytes:
    """Returns a value that is bytes already."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes are asked for, and {type(value).__name__} is given")
    return bytes(value)


def checked(data: bytes, what: str) -> bytes:
    """Raises ValueError if data is more than a payload may be."""
    if len(data) > MAX_PAYLOAD_BYTES:
        raise ValueError(
            f"{what} take {len(data)} bytes, at most {MAX_PAYLOAD_BYTES} are allowed: "
            "store what is larger elsewhere and pass its URI"
        )
    return data


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}

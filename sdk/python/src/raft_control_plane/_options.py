"""Where a task may run and how it is tried again: options that are classes of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from ._gen.controlplane.v1.task_pb import Constraints as ConstraintsMessage
from ._gen.controlplane.v1.task_pb import LabelOperator, LabelSelector, SpotUse
from ._gen.controlplane.v1.task_pb import RetryPolicy as RetryPolicyMessage
from ._time import duration

__all__ = ["Constraints", "RetryPolicy", "Selector"]

Operator = Literal["in", "not in", "exists", "does not exist", ">"]
Spot = Literal["allowed", "only", "never"]

_OPERATORS: dict[str, LabelOperator] = {
    "in": LabelOperator.IN,
    "not in": LabelOperator.NOT_IN,
    "exists": LabelOperator.EXISTS,
    "does not exist": LabelOperator.DOES_NOT_EXIST,
    ">": LabelOperator.GREATER_THAN,
}
_SPOT: dict[str, SpotUse] = {"allowed": SpotUse.UNSPECIFIED, "only": SpotUse.ONLY, "never": SpotUse.NEVER}
MICROS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Selector:
    """What must hold for a label of a node, for example ``Selector("cuda", ">", ["11"])``."""

    key: str
    """The label's key, 1 to 63 bytes."""
    operator: Operator
    """"in" and "not in" take 1 to 32 values, ">" one whole number, the others none. A node without
    the label meets "not in"."""
    values: Sequence[str] = ()
    """Each at most 256 bytes."""

    def __post_init__(self) -> None:
        if self.operator not in _OPERATORS:
            raise ValueError(f"operator: {self.operator!r} is not known: give one of {', '.join(_OPERATORS)}")
        if isinstance(self.values, str):
            raise TypeError(f"values: {self.values!r} is one text: give a list of them")

    def message(self) -> LabelSelector:
        """Makes the contract's message."""
        return LabelSelector(key=self.key, operator=_OPERATORS[self.operator], values=list(self.values))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constraints:
    """On which nodes a task may run; all that is given must hold. Lists have at most 32 items of 1 to 63 bytes."""

    providers: Sequence[str] = ()
    """The node's cloud is one of these, such as "aws"."""
    regions: Sequence[str] = ()
    """Its region is one of these, such as "us-east-1"."""
    zones: Sequence[str] = ()
    """Its zone is one of these."""
    instance_types: Sequence[str] = ()
    """Its instance type is one of these, such as "p5.48xlarge"."""
    labels: Mapping[str, str] | Sequence[Selector] = ()
    """Its labels are as these: values by key, or at most 32 selectors."""
    spot: Spot = "allowed"
    """Whether it may be a spot machine: "allowed", "only" or "never"."""
    max_price: float = 0.0
    """It costs at most so many US dollars an hour, up to 1,000,000; no bound when 0. A node whose price is not
    known does not meet a bound."""
    node: str = ""
    """It is this node."""
    gpu_models: Sequence[str] = ()
    """The GPUs that the task gets are of one of these models, by whole words: "h100" is met by "NVIDIA H100 80GB
    HBM3". At most 16; only with resources={"gpus": …}."""
    min_gpu_memory: int = 0
    """Each of them has at least so many bytes of memory."""
    preferred_regions: Sequence[str] = ()
    """A node in one of these is taken first, if one has room: a wish, no condition."""

    def __post_init__(self) -> None:
        for field in ("providers", "regions", "zones", "instance_types", "gpu_models", "preferred_regions"):
            if isinstance(getattr(self, field), str):
                raise TypeError(f"{field}: {getattr(self, field)!r} is one text: give a list of them")
        if self.spot not in _SPOT:
            raise ValueError(f"spot: {self.spot!r} is not known: give allowed, only or never")
        if not 0 <= self.max_price <= 1_000_000:
            raise ValueError(f"max_price: {self.max_price} is out of range: give 0 to 1,000,000 US dollars an hour")

    def message(self) -> ConstraintsMessage:
        """Makes the contract's message."""
        labels = self.labels
        if isinstance(labels, Mapping):
            labels = [Selector(key, "in", [value]) for key, value in labels.items()]
        return ConstraintsMessage(
            providers=list(self.providers),
            regions=list(self.regions),
            zones=list(self.zones),
            instance_types=list(self.instance_types),
            labels=[selector.message() for selector in labels],
            spot=_SPOT[self.spot],
            max_price_micros_per_hour=round(self.max_price * MICROS),
            node_id=self.node,
            gpu_models=list(self.gpu_models),
            min_gpu_memory_bytes=self.min_gpu_memory,
            preferred_regions=list(self.preferred_regions),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long a task waits between failures, while its ``retries`` last, and after which it is tried again."""

    initial_backoff: float = 1.0
    """Seconds before the first retry, 0.001 to 86,400."""
    max_backoff: float | None = None
    """Bound of the waits in seconds, 0.001 to 86,400; 300, or initial_backoff if that is longer, when None."""
    multiplier: float = 2.0
    """By which each wait is longer than the one before, 1 to 100."""
    jitter: float = 0.25
    """Part of the wait by which it is shorter or longer, by chance, 0 to 1."""
    exit_codes: Sequence[int] = ()
    """If there are any, only failures with one of these exit codes are tried again: at most 64, 0 to 255."""

    def __post_init__(self) -> None:
        within("initial_backoff", self.initial_backoff, 0.001, 86_400)
        within("max_backoff", self.max_backoff, 0.001, 86_400)
        within("multiplier", self.multiplier, 1, 100)
        within("jitter", self.jitter, 0, 1)
        if self.max_backoff is not None and self.max_backoff < self.initial_backoff:
            raise ValueError(
                f"max_backoff: {self.max_backoff} s is shorter than initial_backoff: make it as long at least"
            )

    def message(self) -> RetryPolicyMessage:
        """Makes the contract's message."""
        return RetryPolicyMessage(
            initial_backoff=duration(self.initial_backoff),
            max_backoff=duration(self.max_backoff) if self.max_backoff is not None else None,
            multiplier=self.multiplier,
            jitter=self.jitter,
            exit_codes=list(self.exit_codes),
        )


def within(option: str, value: float | None, low: float, high: float) -> None:
    """Refuses a number beyond its limits; None stands for no number."""
    if value is not None and not low <= value <= high:
        raise ValueError(f"{option}: {value} is out of range: give {low:,} to {high:,}")

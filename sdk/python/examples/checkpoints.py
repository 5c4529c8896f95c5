"""A training loop in the manner of PyTorch that survives the loss of its worker.

    python checkpoints.py

Each epoch ends with a checkpoint, written whole or not at all; an attempt goes on where the
one before got to. When the worker is stopped or the task cancelled, Cancelled is raised in
the loop and the last checkpoint stands. With PyTorch installed it trains a small network;
without, a line is fitted by hand in the same loop.

The directory of the checkpoints must be one that all workers share.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol

from raft_control_plane import Worker, current

worker = Worker()


class Model(Protocol):
    """What the loop needs of a model."""

    def step(self) -> float:
        """Trains for one epoch and returns the loss."""

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint has to hold, as JSON can."""

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""


@worker.task(retries=3, max_lost_attempts=10)
def train(epochs: int, folder: str) -> Generator[dict[str, float], None, float]:
    """Trains to the end, and yields each epoch's loss as progress."""
    checkpoint = Path(folder, f"{current().task_id}.json")
    model, begin, loss = make_model(), 0, float("inf")
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        model.load(saved["model"])
        begin, loss = saved["epoch"], saved["loss"]
        print(f"attempt {current().attempt} goes on at epoch {begin}")
    for epoch in range(begin, epochs):
        loss = model.step()
        save(checkpoint, {"epoch": epoch + 1, "loss": loss, "model": model.state()})
        yield {"epoch": epoch + 1, "loss": loss}
    return loss


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint beside the old one and takes its place in one step."""
    # A name of its own for each attempt: the one before may not have ended everywhere yet.
    fresh = path.with_suffix(f".{current().attempt}.tmp")
    with fresh.open("w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def make_model() -> Model:
    """Returns a network if PyTorch is there, and a line otherwise."""
    try:
        return Network()
    except ImportError:
        return Line()


class Line:
    """Fits y = 3x + 1 by gradient descent."""

    def __init__(self) -> None:
        self._weight, self._bias = 0.0, 0.0

    def step(self) -> float:
        """Trains for one epoch and returns the loss."""
        loss = 0.0
        for _ in range(200):
            x = random.uniform(-1, 1)
            error = self._weight * x + self._bias - (3 * x + 1)
            self._weight -= 0.1 * error * x
            self._bias -= 0.1 * error
            loss += error * error / 200
        return loss

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint has to hold."""
        return {"weight": self._weight, "bias": self._bias}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._weight, self._bias = state["weight"], state["bias"]


class Network:
    """Fits the same with PyTorch."""

    def __init__(self) -> None:
        import torch  # noqa: PLC0415 - optional

        self._torch = torch
        self._net = torch.nn.Linear(1, 1)
        self._optimizer = torch.optim.SGD(self._net.parameters(), lr=0.1)

    def step(self) -> float:
        """Trains for one epoch and returns the loss."""
        torch = self._torch
        loss = torch.zeros(())
        for _ in range(20):
            x = torch.rand(64, 1) * 2 - 1
            loss = torch.nn.functional.mse_loss(self._net(x), 3 * x + 1)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return float(loss.item())

    def state(self) -> dict[str, Any]:
        """Returns what a checkpoint has to hold."""
        return {name: tensor.tolist() for name, tensor in self._net.state_dict().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self._net.load_state_dict({name: self._torch.tensor(value) for name, value in state.items()})


def main() -> None:
    """Runs a worker here and one training."""
    with tempfile.TemporaryDirectory() as folder, worker:
        print(f"loss: {train.submit(20, folder).result():.6f}")


if __name__ == "__main__":
    main()

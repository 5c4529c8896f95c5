"""Sweeps over a classifier of handwritten digits, by scikit-learn.

    pip install raft-control-plane scikit-learn tqdm
    python digits_sklearn.py

It needs a control plane (`raft-node serve`); RAFT_NODE_SERVER says where, if not here.
"""

from __future__ import annotations

from raft_control_plane import Worker

worker = Worker()


@worker.task(retries=2, timeout=120, resources={"cpu": 1})
def accuracy(c: float, gamma: float) -> float:
    """Trains one classifier and returns its accuracy on what it has not seen."""
    # Imported where it is used: who only submits need not have it.
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415
    from sklearn.svm import SVC  # noqa: PLC0415

    images, digits = load_digits(return_X_y=True)
    seen, unseen, seen_digits, unseen_digits = train_test_split(images, digits, random_state=0)
    model = SVC(C=c, gamma=gamma).fit(seen, seen_digits)
    score = float(model.score(unseen, unseen_digits))
    print(f"C={c} gamma={gamma}: {score:.4f}")
    return score


def main() -> None:
    """Runs a worker here and a sweep on all workers that there are."""
    with worker:
        points = accuracy.sweep(c=[0.1, 1, 10], gamma=[0.0001, 0.001, 0.01], progress=True)
    best = max(points, key=lambda point: point.result)
    print(f"best: {best.result:.4f} with {best.params}")


if __name__ == "__main__":
    main()

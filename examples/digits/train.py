#!/usr/bin/env python3
"""Train a softmax regression on the handwritten digits beside this file.

Needs Python 3.8 or newer and nothing else. Prints one line per epoch, and as the
last line of standard output one JSON object with the outcome: the agent stores
that line as the task's result. The same arguments on the same Python give the
same model, "seconds" apart.

Exit status: 0 done, 1 the training diverged, 2 a bad argument, 143 stopped by SIGTERM.
"""

import argparse
import gzip
import json
import math
import operator
import os
import random
import signal
import sys
import time

CLASSES = 10
PIXELS = 64
PIXEL_MAX = 16
VALIDATION_EVERY = 5
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "digits.csv.gz")


class Diverged(Exception):
    """The loss is no longer a finite number."""


def load(path=DATA):
    """Return [(pixels, label)]; pixels are 0 to 1, followed by a constant 1 for the bias."""
    samples = []
    with gzip.open(path, "rt", encoding="ascii") as lines:
        for number, line in enumerate(lines, 1):
            values = [int(value) for value in line.split(",")]
            if len(values) != PIXELS + 1:
                raise ValueError("%s line %d: %d values, want %d" % (path, number, len(values), PIXELS + 1))
            samples.append(([value / PIXEL_MAX for value in values[:PIXELS]] + [1.0], values[PIXELS]))
    return samples


def split(samples):
    """Return (training, validation): every fifth image of each digit validates.

    It depends on nothing but the data, so all settings are measured on the same images.
    """
    seen = [0] * CLASSES
    training, validation = [], []
    for sample in samples:
        label = sample[1]
        seen[label] += 1
        (validation if seen[label] % VALIDATION_EVERY == 0 else training).append(sample)
    return training, validation


def probabilities(weights, pixels):
    """Return the softmax of the ten scores."""
    scores = [sum(map(operator.mul, row, pixels)) for row in weights]
    top = max(scores)  # exp() of a difference cannot overflow
    powers = [math.exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def cross_entropy(predicted, label):
    # The floor is the smallest positive float: log(0) is an error in Python.
    return -math.log(max(predicted[label], 5e-324))


def step(weights, batch, learning_rate, l2):
    """Update the weights in place by one mini-batch; return the sum of its losses."""
    gradient = [[0.0] * (PIXELS + 1) for _ in range(CLASSES)]
    loss = 0.0
    for pixels, label in batch:
        errors = probabilities(weights, pixels)
        loss += cross_entropy(errors, label)
        errors[label] -= 1.0
        for digit, error in enumerate(errors):
            gradient[digit] = [g + error * pixel for g, pixel in zip(gradient[digit], pixels)]
    rate = learning_rate / len(batch)
    decay = 1.0 - learning_rate * l2
    for row, change in zip(weights, gradient):
        bias = row[PIXELS] - rate * change[PIXELS]  # the bias is not regularised
        row[:] = [w * decay - rate * g for w, g in zip(row, change)]
        row[PIXELS] = bias
    return loss


def epoch(weights, samples, settings, order):
    """Go once through the samples in a new order; return the mean loss on the way."""
    samples = samples[:]
    order.shuffle(samples)
    loss = 0.0
    for start in range(0, len(samples), settings.batch_size):
        loss += step(weights, samples[start:start + settings.batch_size], settings.learning_rate, settings.l2)
    if not math.isfinite(loss):
        raise Diverged("the loss is %s: use a smaller --learning-rate or --l2" % loss)
    return loss / len(samples)


def evaluate(weights, samples):
    """Return (share of digits recognised, mean loss)."""
    right, loss = 0, 0.0
    for pixels, label in samples:
        predicted = probabilities(weights, pixels)
        right += predicted.index(max(predicted)) == label
        loss += cross_entropy(predicted, label)
    return right / len(samples), loss / len(samples)


def train(settings, log=print):
    """Train by the settings; return the outcome as a dict that JSON can hold."""
    started = time.perf_counter()
    training, validation = split(load())
    order = random.Random(settings.seed)
    weights = [[0.0] * (PIXELS + 1) for _ in range(CLASSES)]
    for number in range(1, settings.epochs + 1):
        train_loss = epoch(weights, training, settings, order)
        log("epoch %d/%d loss %.4f" % (number, settings.epochs, train_loss))
    accuracy, loss = evaluate(weights, validation)
    return {
        "accuracy": round(accuracy, 6),
        "loss": round(loss, 6),
        "train_loss": round(train_loss, 6),
        "learning_rate": settings.learning_rate,
        "l2": settings.l2,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "seed": settings.seed,
        "seconds": round(time.perf_counter() - started, 3),
    }


def number(kind, least, above=False):
    """Return an argparse type: a finite number that is at least (or above) `least`."""
    def parse(text):
        value = kind(text)
        if not math.isfinite(value) or value < least or (above and value == least):
            raise argparse.ArgumentTypeError("%s is not %s %s" % (text, "above" if above else "at least", least))
        return value
    parse.__name__ = kind.__name__
    return parse


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description="Train a softmax regression on handwritten digits.")
    parser.add_argument("--learning-rate", type=number(float, 0, above=True), default=0.1, help="step of SGD (default %(default)s)")
    parser.add_argument("--l2", type=number(float, 0), default=1e-4, help="weight of the L2 penalty (default %(default)s)")
    parser.add_argument("--batch-size", type=number(int, 1), default=16, help="images per step (default %(default)s)")
    parser.add_argument("--epochs", type=number(int, 1), default=30, help="passes over the training images (default %(default)s)")
    parser.add_argument("--seed", type=number(int, 0), default=1, help="order of the images (default %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings = parse_args(argv)
    try:
        outcome = train(settings, log=lambda line: print(line, flush=True))
    except Diverged as reason:
        print("train.py: %s" % reason, file=sys.stderr)
        return 1
    print(json.dumps(outcome, allow_nan=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

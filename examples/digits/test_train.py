"""Tests of the training: its data, its determinism and its command line."""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import unittest

import train

HERE = os.path.dirname(os.path.abspath(__file__))


def settings(**changes):
    values = dict(learning_rate=0.3, l2=0.0, batch_size=16, epochs=2, seed=1)
    values.update(changes)
    return argparse.Namespace(**values)


def start(*arguments):
    return subprocess.Popen([sys.executable, os.path.join(HERE, "train.py")] + list(arguments),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)


class DataTest(unittest.TestCase):
    def test_file_is_the_one_that_its_readme_describes(self):
        with open(train.DATA, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        with open(os.path.join(HERE, "data", "README.md"), encoding="utf-8") as file:
            self.assertIn(digest, file.read())

    def test_all_images_load(self):
        samples = train.load()
        self.assertEqual(len(samples), 1797)
        self.assertEqual({label for _, label in samples}, set(range(10)))
        self.assertTrue(all(len(pixels) == 65 and pixels[64] == 1.0 for pixels, _ in samples))
        self.assertEqual(max(max(pixels) for pixels, _ in samples), 1.0)

    def test_split_has_a_fifth_of_each_digit(self):
        training, validation = train.split(train.load())
        self.assertEqual(len(training) + len(validation), 1797)
        for digit in range(10):
            seen = sum(label == digit for _, label in training + validation)
            self.assertEqual(sum(label == digit for _, label in validation), seen // 5)


class TrainTest(unittest.TestCase):
    def outcome(self, **changes):
        value = train.train(settings(**changes), log=lambda line: None)
        value.pop("seconds")
        return value

    def test_same_seed_same_outcome(self):
        first = self.outcome()
        self.assertEqual(first, self.outcome())
        self.assertNotEqual(first["loss"], self.outcome(seed=2)["loss"])

    def test_it_learns(self):
        self.assertGreater(self.outcome()["accuracy"], 0.9)

    def test_l2_keeps_weights_small(self):
        # With its weights held at zero the model can only guess: loss ln 10.
        self.assertAlmostEqual(self.outcome(l2=3.0)["loss"], 2.3, delta=0.4)

    def test_step_follows_the_gradient(self):
        samples = train.load()[:8]
        weights = [[0.01 * ((digit * 7 + pixel * 3) % 11) for pixel in range(65)] for digit in range(10)]

        def loss(pixel, change):
            moved = [row[:] for row in weights]
            moved[3][pixel] += change
            return sum(train.cross_entropy(train.probabilities(moved, pixels), label) for pixels, label in samples) / 8

        stepped = [row[:] for row in weights]
        train.step(stepped, samples, learning_rate=1.0, l2=0.0)
        for pixel in (2, 20, 37, 64):
            slope = (loss(pixel, 1e-5) - loss(pixel, -1e-5)) / 2e-5
            self.assertAlmostEqual(weights[3][pixel] - stepped[3][pixel], slope, places=6)

    def test_divergence_is_an_error(self):
        with self.assertRaisesRegex(train.Diverged, "smaller --learning-rate"):
            self.outcome(learning_rate=1e200, l2=1e200)


class CommandTest(unittest.TestCase):
    def test_last_line_is_the_outcome(self):
        process = start("--epochs", "2", "--learning-rate", "0.5", "--l2", "0.01", "--batch-size", "32", "--seed", "3")
        out, err = process.communicate()
        self.assertEqual((process.returncode, err), (0, ""))
        lines = out.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertTrue(all(re.match(r"epoch \d/2 loss \d\.\d{4}$", line) for line in lines[:-1]), lines)
        value = json.loads(lines[-1])
        self.assertEqual([value[key] for key in ("learning_rate", "l2", "batch_size", "epochs", "seed")], [0.5, 0.01, 32, 2, 3])
        self.assertTrue(0 < value["accuracy"] <= 1 and value["seconds"] > 0)

    def test_bad_arguments_are_named(self):
        for flag, value in (("--learning-rate", "0"), ("--learning-rate", "nan"), ("--l2", "-1"),
                            ("--batch-size", "0"), ("--epochs", "x"), ("--seed", "-1")):
            process = start(flag, value)
            _, err = process.communicate()
            self.assertEqual(process.returncode, 2, err)
            self.assertIn(flag, err)

    def test_sigterm_stops_it(self):
        process = start("--epochs", "100000")
        process.stdout.readline()  # it is training
        process.send_signal(signal.SIGTERM)
        process.communicate()
        self.assertEqual(process.returncode, 143)


if __name__ == "__main__":
    unittest.main()

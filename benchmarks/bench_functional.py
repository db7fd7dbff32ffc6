"""Losses of logits with their gradients: ours, and torch's forward and backward passes, one thread each."""

import numpy as np

import xentropy as xe

from .measuring import ratio

try:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
except ImportError:
    torch = None

SHAPES = {  # (rows, classes), 4 million logits each
    "4e5x10": (400_000, 10),
    "4e4x100": (40_000, 100),
    "26666x150": (26_666, 150),
    "4e3x1000": (4_000, 1_000),
    "125x32000": (125, 32_000),
}


class CrossEntropy:
    params = (list(SHAPES), ["float64", "float32"], ["labels", "smoothed", "soft"])
    param_names = ("problem", "dtype", "target")

    def setup(self, name, dtype, target):
        if torch is None:
            raise NotImplementedError("needs torch")  # asv leaves the benchmark out
        n, n_classes = SHAPES[name]
        rng = np.random.default_rng(0)
        self.z = rng.standard_normal((n, n_classes)).astype(dtype)
        self.y = rng.integers(0, n_classes, n)
        if target == "soft":
            y = rng.gamma(0.5, size=(n, n_classes))
            self.y = (y / y.sum(axis=1, keepdims=True)).astype(dtype)
        self.smoothing = 0.1 if target == "smoothed" else 0.0

    def run_ours(self):
        return xe.cross_entropy(self.y, self.z, label_smoothing=self.smoothing, return_grad=True)

    def time_one_thread(self, name, dtype, target):
        self.run_ours()

    def track_ratio_one_thread(self, name, dtype, target):
        torch.set_num_threads(1)
        z, y = torch.from_numpy(self.z.copy()).requires_grad_(), torch.from_numpy(self.y)

        def run_torch():
            z.grad = None
            loss = cross_entropy(z, y, label_smoothing=self.smoothing)
            loss.backward()
            return loss.item()

        if not np.isclose(self.run_ours()[0], run_torch(), rtol=1e-4):
            raise AssertionError("the losses differ")
        return ratio(run_torch, self.run_ours, n_threads=1)


class BinaryCrossEntropy:
    params = (["float64", "float32"],)
    param_names = ("dtype",)

    def setup(self, dtype):
        if torch is None:
            raise NotImplementedError("needs torch")
        rng = np.random.default_rng(0)
        self.z = rng.standard_normal(1_000_000).astype(dtype)
        self.y = rng.integers(0, 2, 1_000_000).astype(dtype)

    def run_ours(self):
        return xe.binary_cross_entropy(self.y, self.z, return_grad=True)

    def time_one_thread(self, dtype):
        self.run_ours()

    def track_ratio_one_thread(self, dtype):
        torch.set_num_threads(1)
        z, y = torch.from_numpy(self.z.copy()).requires_grad_(), torch.from_numpy(self.y)

        def run_torch():
            z.grad = None
            binary_cross_entropy_with_logits(z, y).backward()

        return ratio(run_torch, self.run_ours, n_threads=1)


for _benchmark in (CrossEntropy, BinaryCrossEntropy):
    _benchmark.track_ratio_one_thread.unit = "times as fast as torch"

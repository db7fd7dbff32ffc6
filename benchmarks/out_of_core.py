"""Memory, bytes read and time of fits of X that stays in a file, under a limit of the memory of the process.

``python -m benchmarks.out_of_core`` writes X and y to a temporary folder, fits each way in a process of its own, whose
memory RLIMIT_DATA limits, and compares with a plain read of the file. Before each fit the pages of the file are dropped
from the page cache, where the file system allows it. ``--help`` lists the sizes that can be set.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

BLOCK = 50_000  # rows that are written at a time


def write(folder, rows, features, classes):
    """X.npy in float64 and y.npy, with features in different units."""
    rng = np.random.default_rng(0)
    unit, coef = np.logspace(-3, 3, features), rng.standard_normal((features, classes)) / np.sqrt(features)
    X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float64, shape=(rows, features))
    y = np.empty(rows, dtype=np.int8)
    for i in range(0, rows, BLOCK):
        block = rng.standard_normal((min(BLOCK, rows - i), features))
        y[i : i + BLOCK] = (2.0 * block @ coef + rng.gumbel(size=(len(block), classes))).argmax(axis=1)
        X[i : i + BLOCK] = block * unit
    X.flush()
    np.save(folder / "y.npy", y)


def forget(path):
    """Drop the pages of a file from the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def status(name):
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1e3


def bytes_read():
    """Bytes that this process has asked for, from the page cache or from the disk, without those of memory maps."""
    (line,) = (line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])


def plain_read(folder):
    buffer = bytearray(1 << 24)
    with open(folder / "X.npy", "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def rows_from_file(folder):
    """X through a callable that reads the file, as one reads any other format."""
    import xentropy as xe

    mapped = np.load(folder / "X.npy", mmap_mode="r")
    (n, d), start, step = mapped.shape, mapped.offset, max(1, (1 << 24) // (8 * mapped.shape[1]))

    def blocks():
        with open(folder / "X.npy", "rb", buffering=0) as file:
            file.seek(start)
            for i in range(0, n, step):
                block = np.empty((min(step, n - i), d))
                view = memoryview(block).cast("B")
                while len(view):
                    view = view[file.readinto(view) :]
                yield block

    return xe.RowBlocks(blocks)


def child(way, folder, limit_mb):
    import xentropy as xe

    y = np.load(folder / "y.npy")
    xe.SoftmaxClassifier(max_iter=2).fit(np.random.default_rng(0).standard_normal((100, 3)), np.arange(100) % 3)
    base = status("RssAnon")
    if limit_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, resource.RLIM_INFINITY))
    peak, done = [0.0], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak[0] = max(peak[0], status("RssAnon"))

    threading.Thread(target=watch, daemon=True).start()
    before, wall, cpu = bytes_read(), time.perf_counter(), time.process_time()
    evaluations = 0
    if way == "plain read":
        plain_read(folder)
    else:
        X = np.load(folder / "X.npy", mmap_mode="r")
        X = {"memmap": X, "RowBlocks(memmap)": xe.RowBlocks(X), "RowBlocks(callable)": rows_from_file(folder)}[way]
        model = xe.SoftmaxClassifier().fit(X, y)
        evaluations = int(max(model.history_["n_evaluations"], default=1))
    took = time.perf_counter() - wall, time.process_time() - cpu, bytes_read() - before
    done.set()
    print(json.dumps([way, *took, evaluations, base, peak[0]]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--limit-mb", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        child(options.way, options.folder, options.limit_mb)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write(folder, options.rows, options.features, options.classes)
        size = (folder / "X.npy").stat().st_size
        print(f"X takes {size / 1e9:.2f} GB; RLIMIT_DATA {options.limit_mb} MB")
        print(f"{'':20s} {'seconds':>8s} {'CPU s':>7s} {'GB read':>8s} {'evaluations':>12s}   anonymous MB (before)")
        for way in ("plain read", "memmap", "RowBlocks(memmap)", "RowBlocks(callable)"):
            forget(folder / "X.npy")
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.out_of_core", "--way", way, "--folder", str(folder)]
                + ["--limit-mb", str(options.limit_mb)],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                print(f"{way:20s} failed: {done.stderr.splitlines()[-1]}")
                continue
            _, wall, cpu, read, evaluations, base, peak = json.loads(done.stdout)
            print(f"{way:20s} {wall:8.2f} {cpu:7.2f} {read / 1e9:8.2f} {evaluations:12d} {peak:14.0f} ({base:.0f})")


if __name__ == "__main__":
    main()

"""The long run: ``python tests/fuzz --seconds 3600 --seed N``, or ``python tests/fuzz KIND --seed N --case I``.

Each kind of cases runs in a process of its own, so that a crash, or a case that does not end, names its case and the
others go on. The status is 1 if a case failed.
"""

import argparse
import faulthandler
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import kinds  # noqa: E402
import numpy as np  # noqa: E402

MOST_FAILURES = 5  # of a kind: one fault is met again and again
MOST_SECONDS = 120  # for a case; most take milliseconds


def parsed():
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"one of {', '.join(kinds.KINDS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for all kinds together (default: 60)")
    parser.add_argument("--cases", type=int, help="so many cases of each kind instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run only this case, in this process")
    parser.add_argument("--without", action="append", default=[], metavar="KIND", help="leave out this kind")
    parser.add_argument("--progress", help=argparse.SUPPRESS)  # the file in which a child says which case it is at
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    for kind in [*args.kinds, *args.without]:
        if kind not in kinds.KINDS:
            parser.error(f"there is no kind {kind!r}; the kinds are {', '.join(kinds.KINDS)}")
    args.kinds = [kind for kind in args.kinds or kinds.KINDS if kind not in args.without]
    return args


def run_cases(kind, args):
    """Cases of one kind, in this process, until the time is up, or some have failed."""
    progress = np.memmap(args.progress, np.int64, "r+", shape=2)  # the case, and the failures so far
    end, canary = time.monotonic() + args.seconds, kinds.canary()
    index = args.first
    while index < args.cases if args.cases is not None else time.monotonic() < end:
        progress[0] = index
        faulthandler.dump_traceback_later(MOST_SECONDS, exit=True)
        try:
            kinds.one_case(kind, args.seed, index)
        except Exception:
            traceback.print_exc(limit=-4)
            progress[1] += 1
            if progress[1] >= MOST_FAILURES:
                break
        index += 1
    faulthandler.cancel_dump_traceback_later()
    progress[0] = index
    assert kinds.canary() == canary, f"after cases of {kind}, a fit gives other bits than before"


def watch(kind, seconds, args):
    """The same in a child, which is started again after a crash. Returns how many cases ran, and how many failed."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(16))
        file.flush()
        progress = np.memmap(file.name, np.int64, "r+", shape=2)
        end = time.monotonic() + seconds
        while True:
            limit = ["--cases", str(args.cases)] if args.cases is not None else []
            child = subprocess.run(
                [
                    *(sys.executable, "-P", "-X", "faulthandler", str(HERE), kind, "--seed", str(args.seed), *limit),
                    *("--seconds", str(end - time.monotonic()), "--first", str(progress[0]), "--progress", file.name),
                ]
            )
            if child.returncode == 0 or progress[1] >= MOST_FAILURES:
                return int(progress[0]), int(progress[1])
            if child.returncode in (-signal.SIGINT, 130):
                raise KeyboardInterrupt
            died = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
            print(f"{kind} ended with {died} at python tests/fuzz {kind} --seed {args.seed} --case {progress[0]}")
            progress[:] += 1


def main():
    args = parsed()
    if args.case is not None:
        for kind in args.kinds:
            kinds.one_case(kind, args.seed, args.case)
        return 0
    if args.progress:
        run_cases(args.kinds[0], args)
        return 0
    n_failed = 0
    for kind in args.kinds:
        start = time.monotonic()
        n_cases, failed = watch(kind, args.seconds / len(args.kinds), args)
        n_failed += failed
        print(f"{kind:22} {n_cases:8} cases {failed:4} failed {time.monotonic() - start:8.1f} s", flush=True)
    return int(n_failed > 0)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")  # threads also where there is one core
    sys.exit(main())

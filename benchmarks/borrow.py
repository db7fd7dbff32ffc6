"""Let this environment import the packages of the one that XENTROPY_BENCH_SITE names, after its own: see ./compare."""

import os
import sysconfig
from pathlib import Path

if __name__ == "__main__":
    Path(sysconfig.get_path("purelib"), "borrowed.pth").write_text(os.environ["XENTROPY_BENCH_SITE"] + "\n")

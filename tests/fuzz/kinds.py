"""The kinds of cases by name: functions of a random generator, which raise where they find a fault."""

import sys
import warnings
import zlib

import csr
import functions
import models
import numpy as np
from cases import pick

from xentropy import SoftmaxClassifier
from xentropy._kernels._dispatch import ISA, available_isas, choose_isa

KINDS = {
    "cross_entropy": functions.cross_entropy,
    "binary_cross_entropy": functions.binary_cross_entropy,
    "softmax": functions.softmax,
    "linear_cross_entropy": functions.linear_cross_entropy,
    "metrics": functions.metrics,
    "containers": functions.containers,
    "csr": csr.spoilt_csr,
    "fits": models.fits,
    "label_fits": models.label_fits,
    "attributes": models.attributes,
}
if sys.platform == "linux":  # which has guard pages, forks and limits of memory
    import pages
    import process

    KINDS |= {
        "pages": pages.pages,
        "misfits": pages.misfits,
        "interrupts": process.interrupts,
        "threads": process.threads,
        "forks": process.forks,
        "memory": process.memory,
        "leaks": process.leaks,
    }


def one_case(kind, seed, index):
    """Run a case, which these three numbers determine. An error says how to run it again."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), index])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            choose_isa(pick(rng, available_isas()))
            KINDS[kind](rng)
    except BaseException as error:
        error.add_note(f"to run this case again: python tests/fuzz {kind} --seed {seed} --case {index}")
        raise
    finally:
        choose_isa(ISA)


def canary():
    """The bits of a fit, which no case may change."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 7))
    clf = SoftmaxClassifier().fit(X, np.arange(300) % 3)
    return clf.coef_.tobytes() + clf.predict_proba(X).tobytes()

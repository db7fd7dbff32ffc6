"""Writes coefficients.h, the polynomials and constants of elementary.h.

    python tools/generate_coefficients.py > xentropy/_kernels/coefficients.h        (needs mpmath)

Both reductions are classical (W. J. Cody and W. Waite, Software Manual for the Elementary Functions, 1980;
P. T. P. Tang, ACM TOMS 15(2), 1989 and 16(4), 1990). The polynomials are minimax, by the Remez exchange algorithm.
"""

from mpmath import exp, fabs, floor, log, lu_solve, matrix, mp, mpf, sqrt

mp.prec = 200


def remez(f, weight, low, high, degree, n_iter=12, n_grid=4000):
    """Coefficients, lowest first, that minimise max |weight(x) (p(x) - f(x))| on [low, high], and this maximum."""
    n = degree + 2
    grid = [low + (high - low) * (1 - mp.cos(mp.pi * i / n_grid)) / 2 for i in range(n_grid + 1)]
    grid = [x for x in grid if weight(x) != 0]
    values, weights = [f(x) for x in grid], [weight(x) for x in grid]
    points = [round(i * (len(grid) - 1) / (n - 1)) for i in range(n)]
    for _ in range(n_iter):
        rows = [[grid[i] ** k for k in range(degree + 1)] + [(-1) ** s / weights[i]] for s, i in enumerate(points)]
        solution = lu_solve(matrix(rows), matrix([values[i] for i in points]))
        p = list(solution)[: degree + 1]
        error = [w * (mp.polyval(p[::-1], x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        runs, start = [], 0  # the extremum of each run of one sign
        for i in range(1, len(error) + 1):
            if i == len(error) or (error[i] > 0) != (error[start] > 0):
                runs.append(max(range(start, i), key=lambda j: fabs(error[j])))
                start = i
        while len(runs) > n:  # drop the smaller end
            runs = runs[1:] if fabs(error[runs[0]]) < fabs(error[runs[-1]]) else runs[:-1]
        if len(runs) < n:
            break
        points = runs
    return p, max(fabs(e) for e in error)


def head(x, bits):
    """x truncated to `bits` significant bits."""
    shift = mpf(2) ** (bits - 1 - int(floor(log(fabs(x), 2))))
    return floor(x * shift) / shift


def literal(x, is_float):
    """The nearest float or double in hexadecimal, which needs no rounding to decimals."""
    if is_float:
        with mp.workprec(24):
            return float(+x).hex() + "f"
    return float(x).hex()


def define(name, *values):
    print(f"#define {name}", ", \\\n    ".join(values))


def main():
    print("/* Written by tools/generate_coefficients.py: do not edit. */")
    print("#ifndef XENTROPY_COEFFICIENTS_H\n#define XENTROPY_COEFFICIENTS_H\n")
    half = log(2) / 2 * mpf("1.0001")  # the rounding of x / log 2 is not exact

    # exp(r) = 1 + r + r^2 q(r) for |r| <= log(2) / 2, and q minimises the relative error. The product of n and the
    # head of log 2 is exact.
    for real, degree, head_bits in ("double", 9, 41), ("float", 4, 15):
        q, error = remez(lambda r: (exp(r) - 1 - r) / r**2, lambda r: r**2 / exp(r), -half, half, degree)
        print(f"/* {real}: relative error of the polynomial 2^{float(log(error, 2)):.1f} */")
        is_float = real == "float"
        define(f"XE_EXP_POLY_{real}", *(literal(c, is_float) for c in reversed(q)))
        high = head(log(2), head_bits)
        define(f"XE_LN2_HIGH_{real}", literal(high, is_float))
        define(f"XE_LN2_LOW_{real}", literal(log(2) - high, is_float))
        define(f"XE_LOG2E_{real}", literal(1 / log(2), is_float))
        print()

    # log(1 + f) = 2 s + s R(z), s = f / (2 + f), z = s^2, R(z) = z q(z): 1/sqrt(2) <= 1 + f < sqrt(2), or 0 <= f <= 1
    def series(z):
        s = sqrt(z)
        return (log((1 + s) / (1 - s)) - 2 * s) / (s * z)

    def define_log(name, top, degree, is_float):
        q, error = remez(series, lambda z: z / 2, mpf(0), top**2, degree)
        real = "float" if is_float else "double"
        print(f"/* log1p, {real}: relative error of the polynomial 2^{float(log(error, 2)):.1f} */")
        define(name, *(literal(c, is_float) for c in reversed(q)))

    define_log("XE_LOG_POLY", (sqrt(2) - 1) / (sqrt(2) + 1), 6, False)
    print()
    define_log("XE_LOG1P_POLY_double", mpf(1) / 3, 9, False)
    define_log("XE_LOG1P_POLY_float", mpf(1) / 3, 3, True)
    print("\n#endif")


if __name__ == "__main__":
    main()

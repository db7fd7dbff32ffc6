/* What one core of this machine can do at most: read memory, multiply and add. Compiled and timed by floor.py. */
#include <stddef.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef double vec __attribute__((vector_size(BYTES), aligned(8)));
enum { LANES = BYTES / sizeof(double) };

#define EACH(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)

/* sum of n numbers, n a multiple of 12 vectors: as fast as they can be read */
double read_all(const double *x, ptrdiff_t n)
{
#define DECLARE(k) vec s##k = {0};
#define ADD(k) s##k += *(const vec *)(x + i + (k) * LANES);
    EACH(DECLARE)
    for (ptrdiff_t i = 0; i < n; i += 12 * LANES) { EACH(ADD) }
    vec sum = {0};
#define TOTAL(k) sum += s##k;
    EACH(TOTAL)
    return sum[0] + sum[LANES - 1];
}

/* n times 12 independent multiply-adds of vectors; 24 LANES n operations */
double multiply_add(ptrdiff_t n)
{
    vec a = {0}, b = {0};
    a += 0.999, b += 1e-3;
#define START(k) vec t##k = {k};
#define STEP(k) t##k = t##k * a + b;
    EACH(START)
    for (ptrdiff_t i = 0; i < n; i++) { EACH(STEP) }
    vec sum = {0};
#define FINISH(k) sum += t##k;
    EACH(FINISH)
    return sum[0] + sum[LANES - 1];
}

int lanes(void)
{
    return LANES;
}

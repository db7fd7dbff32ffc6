/* Every kernel for one instruction set: XE_ISA names it, the compiler's flags decide it. */
#include "coefficients.h"
#include "kernels.h"
#include "phi.h"

#include <math.h>
#include <string.h>

#define XE_PASTE_(a, b, c) a##_##b##_##c
#define XE_PASTE(a, b, c) XE_PASTE_(a, b, c)
#define XE(name) XE_PASTE(name, REAL, XE_ISA)
#define XE_DOUBLE(name) XE_PASTE(name, double, XE_ISA)
#define XE_COEFFICIENTS_(name, real) XE_##name##_##real
#define XE_COEFFICIENTS__(name, real) XE_COEFFICIENTS_(name, real)
#define XE_COEFFICIENTS(name) XE_COEFFICIENTS__(name, REAL)

/* Width of a vector in bytes; 0 where the compiler has no vector extensions. */
#if defined(XE_BYTES) /* -DXE_BYTES=0: the code of other compilers, to test it with this one */
#elif !defined(__has_builtin)
#define XE_BYTES 0
#elif !__has_builtin(__builtin_shufflevector)
#define XE_BYTES 0
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#define XE_BYTES 64
#elif defined(__AVX2__) && defined(__FMA__)
#define XE_BYTES 32
#else
#define XE_BYTES 16
#endif
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define XE_FMA 1
#else
#define XE_FMA 0
#endif
#if XE_BYTES > 16
#include <immintrin.h>
#endif

#if defined(__GNUC__)
#define XE_INLINE static inline __attribute__((always_inline, unused))
#define XE_HOT static __attribute__((noinline)) /* its machine code has a name: tests/test_simd.py reads it */
#define XE_PREFETCH(address) __builtin_prefetch(address, 0, 2) /* into L2 */
#define XE_PREFETCH_L1(address) __builtin_prefetch(address, 0, 3)
#else
#define XE_INLINE static inline
#define XE_HOT static
#define XE_PREFETCH(address) ((void)(address))
#define XE_PREFETCH_L1(address) ((void)(address))
#endif
/* A vector that several products use is loaded once: gcc 12 would rather load it again for each. */
#if XE_BYTES > 16
#define XE_KEEP(a) __asm__("" : "+v"(a))
#else
#define XE_KEEP(a) ((void)0)
#endif

/* The address of a row is computed once, its vectors lie at constant offsets: gcc 12 would rather add up each of theirs. */
#if defined(__GNUC__)
#define XE_KEEP_ADDRESS(p) __asm__("" : "+r"(p))
#else
#define XE_KEEP_ADDRESS(p) ((void)0)
#endif

#define XE_UNROLL _Pragma(XE_UNROLL_PRAGMA)
#if defined(__clang__)
#define XE_UNROLL_PRAGMA "clang loop unroll(full)"
#elif defined(__GNUC__)
#define XE_UNROLL_PRAGMA "GCC unroll 16" /* register tiles are arrays with constant bounds */
#else
#define XE_UNROLL_PRAGMA ""
#endif

/* double first: loops over rows of float logits keep their losses in vectors of doubles */
#define REAL double
#define XE_IS_FLOAT 0
#define EXP exp
#include "kernel_set.h"
#undef REAL
#undef XE_IS_FLOAT
#undef EXP

#define REAL float
#define XE_IS_FLOAT 1
#define EXP expf
#include "kernel_set.h"

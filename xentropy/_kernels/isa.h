/* What a translation unit of the kernels is made for: one instruction set and one type of logits and gradients.
 *
 * How the sources are included. The build compiles kernels.c once for each instruction set, whose flags the compiler
 * gets and whose name is XE_ISA, and for each type: XE_OF_FLOAT is 1 for float, 0 for double. Within a unit, the
 * kernels are ordinary headers with include guards: REAL is the type, and XE(name) ends the name with both. Losses
 * are doubles for either type, so a unit of floats needs vectors of doubles too: the files below vectors.h (simd.h,
 * the simd_<isa>.h, vector_extensions.h, elementary.h) are templates, without include guards, which vectors.h
 * includes for each type. Opened alone, a template includes vectors.h instead, and any header is that of the
 * baseline and of doubles.
 */
#ifndef XENTROPY_ISA_H
#define XENTROPY_ISA_H

#ifndef XE_ISA
#define XE_ISA baseline
#endif
#ifndef XE_OF_FLOAT
#define XE_OF_FLOAT 0
#endif

#define XE_PASTE_(a, b, c) a##_##b##_##c
#define XE_PASTE(a, b, c) XE_PASTE_(a, b, c)
#define XE(name) XE_PASTE(name, REAL, XE_ISA)
#define XE_DOUBLE(name) XE_PASTE(name, double, XE_ISA)

/* What the instruction set offers: the registers, the width of a vector, and the operations. */
#if defined(XE_SIMD) /* -DXE_SIMD='"simd_scalar.h"': the code of other compilers, to test it with this one */
#elif !defined(__has_builtin)
#define XE_SIMD "simd_scalar.h"
#elif !__has_builtin(__builtin_shufflevector)
#define XE_SIMD "simd_scalar.h"
#elif defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#define XE_SIMD "simd_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#define XE_SIMD "simd_avx2.h"
#else
#define XE_SIMD "simd_baseline.h"
#endif
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define XE_FMA 1
#else
#define XE_FMA 0
#endif

#if defined(__GNUC__)
#define XE_INLINE static inline __attribute__((always_inline, unused))
#define XE_HOT static __attribute__((noinline)) /* its machine code has a name: tests/test_simd.py reads it */
#define XE_PREFETCH(address) __builtin_prefetch(address, 0, 2) /* into L2 */
#define XE_PREFETCH_L1(address) __builtin_prefetch(address, 0, 3)
/* The address of a row is computed once, and its vectors lie at constant offsets: gcc 12 would compute each of
 * theirs. */
#define XE_KEEP_ADDRESS(p) __asm__("" : "+r"(p))
#else
#define XE_INLINE static inline
#define XE_HOT static
#define XE_PREFETCH(address) ((void)(address))
#define XE_PREFETCH_L1(address) ((void)(address))
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

#endif

/* Vectors of doubles, and of REAL where that is float. REAL and its vectors are the last ones defined: V is a
 * vector, VL the number of its lanes, M a mask, H a short vector, HL its lanes, and VD and VLD are V and VL of
 * doubles. */
#ifndef XENTROPY_VECTORS_H
#define XENTROPY_VECTORS_H

#include "coefficients.h"
#include "isa.h"

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define REAL double
#define XE_IS_FLOAT 0
#include "simd.h"
#include "elementary.h"
#if XE_OF_FLOAT
#undef REAL
#undef XE_IS_FLOAT
#define REAL float
#define XE_IS_FLOAT 1
#include "simd.h"
#include "elementary.h"
#endif

#endif

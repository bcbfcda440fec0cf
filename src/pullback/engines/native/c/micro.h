/* Vectors as wide as the machine's, and the tile of a matrix product that stays in registers. */
#ifndef PULLBACK_MICRO_H
#define PULLBACK_MICRO_H

#include "fma.h"
#include "pullback.h"

#define VECTOR FMA_WIDTH /* bytes */
#if VECTOR == 64
#define ROWS 8    /* of a tile; it has two vectors' columns */
#elif VECTOR == 32
#define ROWS 6
#elif defined(__aarch64__)
#define ROWS 8
#else
#define ROWS 4
#endif

#define VL_f32 (VECTOR / 4)
#define VL_f64 (VECTOR / 8)
#define INLINE static inline __attribute__((always_inline))
#define APART static __attribute__((noinline)) /* its registers are its own */
#define UNROLL _Pragma("GCC unroll 16")

typedef float vec_f32 __attribute__((vector_size(VECTOR), may_alias));
typedef double vec_f64 __attribute__((vector_size(VECTOR), may_alias));
typedef vec_f32 loose_f32 __attribute__((aligned(4))); /* the same anywhere in memory */
typedef vec_f64 loose_f64 __attribute__((aligned(8)));

/* What makes the lower and the higher halves of two vectors into pairs. */
#define LOW_2 0, 2
#define HIGH_2 1, 3
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#if VECTOR == 64
#define LOW_f32 LOW_16
#define HIGH_f32 HIGH_16
#define LOW_f64 LOW_8
#define HIGH_f64 HIGH_8
#elif VECTOR == 32
#define LOW_f32 LOW_8
#define HIGH_f32 HIGH_8
#define LOW_f64 LOW_4
#define HIGH_f64 HIGH_4
#else
#define LOW_f32 LOW_4
#define HIGH_f32 HIGH_4
#define LOW_f64 LOW_2
#define HIGH_f64 HIGH_2
#endif

/* F(n), for a number of rows known when this is compiled. */
#if ROWS == 8
#define EACH_ROW(n, F) \
    switch (n) { \
    case 1: F(1); break; case 2: F(2); break; case 3: F(3); break; case 4: F(4); break; \
    case 5: F(5); break; case 6: F(6); break; case 7: F(7); break; default: F(8); \
    }
#elif ROWS == 6
#define EACH_ROW(n, F) \
    switch (n) { \
    case 1: F(1); break; case 2: F(2); break; case 3: F(3); break; case 4: F(4); break; \
    case 5: F(5); break; default: F(6); \
    }
#else
#define EACH_ROW(n, F) \
    switch (n) { case 1: F(1); break; case 2: F(2); break; case 3: F(3); break; default: F(4); }
#endif

/* a b + c, rounded once if the machine can. */
INLINE vec_f32 fma_v32(vec_f32 a, vec_f32 b, vec_f32 c) { return FMA_f32(a, b, c); }
INLINE vec_f64 fma_v64(vec_f64 a, vec_f64 b, vec_f64 c) { return FMA_f64(a, b, c); }

#endif

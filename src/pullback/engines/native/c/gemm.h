/* Matrix products of one thread: product_f32 and product_f64, C = add + A B, for any strides.

   A tile of C, 12 rows by two vectors of columns, stays in registers while the terms are added up; what it reads of A
   and B is packed: copied to where it lies in the order in which it is read. Each element is the same sum in the same
   order, wherever C is cut: so threads may share a product out as they like. */
#ifndef GEMM_H
#define GEMM_H

#include "pullback.h"

#include "fma.h"

#define WIDTH FMA_WIDTH /* bytes of a vector */

#define KC 256 /* terms that are added up in registers, at most */
#define MC 192 /* rows of A that are packed at a time */
#define GRAIN 512 /* elements that a product with a vector makes at a time */

#define FEW 8      /* rows of A, for which it does not pay to pack B */
#define MEET 4     /* ... whose sums stay in registers */
#define AHEAD 4096 /* bytes: how far before they are needed elements of B are asked for */

/* f(r) for each height of a tile, f(i) for each of its rows: 2 MR sums, and there are 32 registers, or 16. */
#if defined(__AVX512F__) || defined(__aarch64__)
#define MR 12
#define TILES(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12)
#else
#define MR 6
#define TILES(f) f(1) f(2) f(3) f(4) f(5) f(6)
#endif
#define ROWS_1(f) f(0)
#define ROWS_2(f) ROWS_1(f) f(1)
#define ROWS_3(f) ROWS_2(f) f(2)
#define ROWS_4(f) ROWS_3(f) f(3)
#define ROWS_5(f) ROWS_4(f) f(4)
#define ROWS_6(f) ROWS_5(f) f(5)
#define ROWS_7(f) ROWS_6(f) f(6)
#define ROWS_8(f) ROWS_7(f) f(7)
#define ROWS_9(f) ROWS_8(f) f(8)
#define ROWS_10(f) ROWS_9(f) f(9)
#define ROWS_11(f) ROWS_10(f) f(10)
#define ROWS_12(f) ROWS_11(f) f(11)

/* To transpose: in rows r, blocks of s x s change places across the diagonal, for s = W/2, W/4, ... 1. */
#define UPPER(l, s) ((l) & (s) ? W + ((l) ^ (s)) : (l))
#define LOWER(l, s) ((l) & (s) ? W + (l) : ((l) ^ (s)))
#define LANES_2(f, s) f(0, s), f(1, s)
#define LANES_4(f, s) LANES_2(f, s), f(2, s), f(3, s)
#define LANES_8(f, s) LANES_4(f, s), f(4, s), f(5, s), f(6, s), f(7, s)
#define LANES_16(f, s) LANES_8(f, s), f(8, s), f(9, s), f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#define CROSS(s, lanes) \
    UNROLL for (int i = 0; i < W; i++) { \
        if (i & s) continue; \
        VEC x = r[i], y = r[i | s]; \
        r[i] = __builtin_shufflevector(x, y, lanes(UPPER, s)); \
        r[i | s] = __builtin_shufflevector(x, y, lanes(LOWER, s)); \
    }
#define CROSS_2 CROSS(1, LANES_2)
#define CROSS_4 CROSS(2, LANES_4) CROSS(1, LANES_4)
#define CROSS_8 CROSS(4, LANES_8) CROSS(2, LANES_8) CROSS(1, LANES_8)
#define CROSS_16 CROSS(8, LANES_16) CROSS(4, LANES_16) CROSS(2, LANES_16) CROSS(1, LANES_16)
#define UNROLL _Pragma("GCC unroll 16")

/* To add up the lanes of `sum`: each half to the other, each quarter to its neighbour, ... */
#define OTHER(l, s) ((l) ^ (s))
#define FOLD(s, lanes) sum += __builtin_shufflevector(sum, sum, lanes(OTHER, s));
#define FOLD_2 FOLD(1, LANES_2)
#define FOLD_4 FOLD(2, LANES_4) FOLD(1, LANES_4)
#define FOLD_8 FOLD(4, LANES_8) FOLD(2, LANES_8) FOLD(1, LANES_8)
#define FOLD_16 FOLD(8, LANES_16) FOLD(4, LANES_16) FOLD(2, LANES_16) FOLD(1, LANES_16)

#define REAL float
#define NAME(x) x##_f32
#define FMA FMA_f32
#if WIDTH == 64
#define W 16 /* elements of a vector */
#define CROSSED CROSS_16
#define FOLDED FOLD_16
#elif WIDTH == 32
#define W 8
#define CROSSED CROSS_8
#define FOLDED FOLD_8
#else
#define W 4
#define CROSSED CROSS_4
#define FOLDED FOLD_4
#endif
#include "gemm.inc"
#include "dots.inc"
#undef REAL
#undef NAME
#undef FMA
#undef W
#undef CROSSED
#undef FOLDED

#define REAL double
#define NAME(x) x##_f64
#define FMA FMA_f64
#if WIDTH == 64
#define W 8
#define CROSSED CROSS_8
#define FOLDED FOLD_8
#elif WIDTH == 32
#define W 4
#define CROSSED CROSS_4
#define FOLDED FOLD_4
#else
#define W 2
#define CROSSED CROSS_2
#define FOLDED FOLD_2
#endif
#include "gemm.inc"
#include "dots.inc"
#undef REAL
#undef NAME
#undef FMA
#undef W
#undef CROSSED
#undef FOLDED

#endif

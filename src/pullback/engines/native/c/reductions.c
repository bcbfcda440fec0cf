/* Folds over dimensions: sums, products, extremes, counts. And sums and products so far, along a dimension. */
#include "pullback.h"

#define LANE 64    /* accumulators side by side */
#define FEW 32     /* elements for one accumulator */
#define BLOCK 4096 /* elements folded in A before they go to W */
#define WIDTH 1024 /* columns folded together */
#define STRIP 256  /* columns that are added up together */
#define GRAIN 16384

#define CAT_(a, b, c) a##b##c
#define CAT(a, b, c) CAT_(a, b, c)
#define ITSELF(x, c) (x)
#define SQUARE(x, c) ((x) * (x))
#define SPREAD(x, c) (((x) - (c)) * ((x) - (c)))
#define PLUS(a, b) ((a) + (b))
#define TIMES(a, b) ((a) * (b))
#define LARGER(a, b) (((a) > (b)) | ((a) != (a)) ? (a) : (b)) /* a NaN stays */
#define SMALLER(a, b) (((a) < (b)) | ((a) != (a)) ? (a) : (b))
#define AS_IT_IS(w, count, correction, root) (w)
#define SHARED(w, count, correction, root) \
    ((root) ? sqrt((w) / fmax((double)(count) - (correction), 0)) : (w) / fmax((double)(count) - (correction), 0))

#define NAME sum_f32
#define X float
#define A float
#define W double
#define Y float
#define ZERO 0
#define VALUE ITSELF
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME sum_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO 0
#define VALUE ITSELF
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME sum_i64
#define X int64_t
#define A uint64_t
#define W uint64_t
#define Y int64_t
#define ZERO 0
#define VALUE ITSELF
#define JOIN PLUS
#define FINISH AS_IT_IS
#define AT_ONCE 8
#include "reductions.inc"

#define NAME sum_u8
#define X uint8_t
#define A int64_t
#define W int64_t
#define Y int64_t
#define ZERO 0
#define VALUE ITSELF
#define JOIN PLUS
#define FINISH AS_IT_IS
#define AT_ONCE 8
#include "reductions.inc"

#define NAME squares_f32
#define X float
#define A float
#define W double
#define Y float
#define ZERO 0
#define VALUE SQUARE
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME squares_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO 0
#define VALUE SQUARE
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME spread_f32
#define X float
#define A float
#define W double
#define Y float
#define ZERO 0
#define VALUE SPREAD
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME spread_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO 0
#define VALUE SPREAD
#define JOIN PLUS
#define FINISH SHARED
#define AT_ONCE 8
#include "reductions.inc"

#define NAME product_f32
#define X float
#define A float
#define W float
#define Y float
#define ZERO 1
#define VALUE ITSELF
#define JOIN TIMES
#define FINISH AS_IT_IS
#define AT_ONCE 8
#include "reductions.inc"

#define NAME product_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO 1
#define VALUE ITSELF
#define JOIN TIMES
#define FINISH AS_IT_IS
#define AT_ONCE 8
#include "reductions.inc"

#define NAME product_i64
#define X int64_t
#define A uint64_t
#define W uint64_t
#define Y int64_t
#define ZERO 1
#define VALUE ITSELF
#define JOIN TIMES
#define FINISH AS_IT_IS
#define AT_ONCE 8
#include "reductions.inc"

#define NAME largest_f32
#define X float
#define A float
#define W float
#define Y float
#define ZERO -INFINITY
#define VALUE ITSELF
#define JOIN LARGER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

#define NAME largest_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO -INFINITY
#define VALUE ITSELF
#define JOIN LARGER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

#define NAME largest_i64
#define X int64_t
#define A int64_t
#define W int64_t
#define Y int64_t
#define ZERO INT64_MIN
#define VALUE ITSELF
#define JOIN LARGER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

#define NAME smallest_f32
#define X float
#define A float
#define W float
#define Y float
#define ZERO INFINITY
#define VALUE ITSELF
#define JOIN SMALLER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

#define NAME smallest_f64
#define X double
#define A double
#define W double
#define Y double
#define ZERO INFINITY
#define VALUE ITSELF
#define JOIN SMALLER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

#define NAME smallest_i64
#define X int64_t
#define A int64_t
#define W int64_t
#define Y int64_t
#define ZERO INT64_MAX
#define VALUE ITSELF
#define JOIN SMALLER
#define FINISH AS_IT_IS
#define AT_ONCE 1
#include "reductions.inc"

/* out[k, i, j] = x[k, 0, j] OP ... OP x[k, i, j], in order; everything dense. */
#define SCAN(NAME, X, A, OP)                                                                                   \
    KERNEL void pb_##NAME(T *t, X *out, const X *x, i64 k0, i64 n, i64 k1) {                                   \
        i64 strips = (k1 + STRIP - 1) / STRIP, first, last;                                                    \
        A so_far[STRIP];                                                                                       \
        share(t, n ? k0 * strips : 0, GRAIN / (n * MIN(k1, STRIP) + 1) + 1, &first, &last);                    \
        for (i64 unit = first; unit < last; unit++) {                                                          \
            i64 at = unit / strips * n * k1 + unit % strips * STRIP, width = MIN(STRIP, k1 - unit % strips * STRIP); \
            for (i64 j = 0; j < width; j++) out[at + j] = (X)(so_far[j] = (A)x[at + j]);                       \
            if (k1 == 1) {                                                                                     \
                A a = so_far[0];                                                                               \
                for (i64 i = 1; i < n; i++) out[at + i] = (X)(a = a OP (A)x[at + i]);                          \
                continue;                                                                                      \
            }                                                                                                  \
            for (i64 i = 1; i < n; i++) {                                                                      \
                at += k1;                                                                                      \
                LANES                                                                                          \
                for (i64 j = 0; j < width; j++) out[at + j] = (X)(so_far[j] = so_far[j] OP (A)x[at + j]);      \
            }                                                                                                  \
        }                                                                                                      \
    }

SCAN(cumsum_f32, float, double, +)
SCAN(cumsum_f64, double, double, +)
SCAN(cumsum_i64, int64_t, uint64_t, +)
SCAN(cumprod_f32, float, double, *)
SCAN(cumprod_f64, double, double, *)
SCAN(cumprod_i64, int64_t, uint64_t, *)

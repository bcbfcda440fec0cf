/* Rows: softmax and its kin, cross-entropy, layer and RMS norm. A row stays in cache from pass to pass. */
#include "pullback.h"
#include "functions.h"

#define GRAIN 8192
#define PART 64  /* rows whose products are added up together */
#define STRIP 256

#define X float
#define SUFFIX _f32
#include "rows.inc"
#undef X
#undef SUFFIX

#define X double
#define SUFFIX _f64
#include "rows.inc"
#undef X
#undef SUFFIX

/* The first index of the largest (or smallest) element of each row, and that element. A NaN is both. */
#define PICK(NAME, X, BEYOND)                                                                              \
    KERNEL void pb_##NAME(T *t, X *value, int64_t *index, const X *x, i64 rows, i64 n) {                   \
        i64 first, last;                                                                                   \
        share(t, rows, GRAIN / (n + 1) + 1, &first, &last);                                                \
        for (i64 row = first; row < last; row++) {                                                         \
            const X *y = x + row * n;                                                                      \
            X a[LANE], best = y[0];                                                                        \
            i64 i = 0;                                                                                     \
            for (i64 j = 0; j < LANE; j++) a[j] = y[0];                                                    \
            for (; i + LANE <= n; i += LANE) {                                                             \
                LANES                                                                                      \
                for (i64 j = 0; j < LANE; j++) a[j] = (a[j] BEYOND y[i + j]) | (a[j] != a[j]) ? a[j] : y[i + j]; \
            }                                                                                              \
            for (; i < n; i++) best = best BEYOND y[i] || best != best ? best : y[i];                      \
            for (i64 j = 0; j < LANE; j++) best = best BEYOND a[j] || best != best ? best : a[j];          \
            for (i = 0; i < n - 1 && !(y[i] == best || y[i] != y[i]); i++);                                \
            index[row] = i;                                                                                \
            if (value) value[row] = y[i];                                                                  \
        }                                                                                                  \
    }

PICK(pick_largest_f32, float, >)
PICK(pick_largest_f64, double, >)
PICK(pick_largest_i64, int64_t, >)
PICK(pick_smallest_f32, float, <)
PICK(pick_smallest_f64, double, <)
PICK(pick_smallest_i64, int64_t, <)

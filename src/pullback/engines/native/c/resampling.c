/* A sparse matrix along one dimension: y[o, r, i] = sum over entries e of row r of weight[e] x[o, column[e], i]. */
#include "pullback.h"

#define RESAMPLE(REAL, NAME) \
    KERNEL void NAME(T *t, REAL *y, const REAL *x, const REAL *weight, const i64 *start, const i64 *column, i64 outer, \
                     i64 size, i64 rows, i64 inner) { \
        i64 first, last; \
        if (inner == 1) { \
            share(t, outer, 1 + (1 << 14) / (start[rows] + 1), &first, &last); \
            for (i64 o = first; o < last; o++) \
                for (i64 r = 0; r < rows; r++) { \
                    const REAL *from = x + o * size; \
                    i64 e = start[r], end = start[r + 1]; \
                    REAL sum = e < end ? weight[e] * from[column[e]] : 0; \
                    while (++e < end) sum += weight[e] * from[column[e]]; \
                    y[o * rows + r] = sum; \
                } \
            return; \
        } \
        share(t, outer * rows, 1 + (1 << 14) / (inner * (start[rows] / (rows + 1) + 1) + 1), &first, &last); \
        for (i64 job = first; job < last; job++) { \
            i64 r = job % rows; \
            const REAL *from = x + job / rows * size * inner; \
            REAL *to = y + job * inner; \
            i64 e = start[r], end = start[r + 1]; \
            for (i64 i = 0; i < inner; i++) to[i] = e < end ? weight[e] * from[column[e] * inner + i] : 0; \
            while (++e < end) { \
                const REAL *in = from + column[e] * inner, a = weight[e]; \
                LANES \
                for (i64 i = 0; i < inner; i++) to[i] += a * in[i]; \
            } \
        } \
    }

RESAMPLE(float, pb_resample_f32)
RESAMPLE(double, pb_resample_f64)
RESAMPLE(uint8_t, pb_resample_u8)

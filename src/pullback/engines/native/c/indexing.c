/* Elements at indices: read, written, added up. An index out of range is noted, and nothing is touched there. */
#include "pullback.h"

#define GRAIN (1 << 14)

/* Where an index points; -1 if that is nowhere */
static inline i64 place(i64 j, i64 size, i64 wrap) {
    j += wrap && j < 0 ? size : 0;
    return j >= 0 && j < size ? j : -1;
}

KERNEL void pb_check(T *t, const i64 *index, i64 n, i64 size, i64 wrap, i64 step) {
    i64 first, last;
    share(t, n, GRAIN, &first, &last);
    for (i64 i = first; i < last; i++)
        if (place(index[i], size, wrap) < 0) pb_fault(t, step, index[i]);
}

/* out[i] = place of index[i], times `times`; added to what is there if there is `more` */
KERNEL void pb_places(T *t, i64 *out, const i64 *index, i64 n, i64 size, i64 times, i64 wrap, i64 more, i64 step) {
    i64 first, last;
    share(t, n, GRAIN, &first, &last);
    for (i64 i = first; i < last; i++) {
        i64 j = place(index[i], size, wrap), before = more ? out[i] : 0;
        if (j < 0) pb_fault(t, step, index[i]);
        out[i] = j < 0 || before < 0 ? -1 : before + j * times;
    }
}

/* out[a, b, c, d] = x[a, b, c, d; index[a, b, c, d]]; the index may be the same along a dimension, as x's stride may be 0.
   `step` is -1 if the index cannot be wrong. */
#define GATHER(NAME, TYPE) \
    KERNEL void NAME(T *t, TYPE *out, const TYPE *x, const i64 *index, i64 n0, i64 n1, i64 n2, i64 n3, i64 o0, i64 o1, \
                     i64 o2, i64 o3, i64 x0, i64 x1, i64 x2, i64 x3, i64 i0, i64 i1, i64 i2, i64 i3, i64 size, \
                     i64 stride, i64 wrap, i64 step) { \
        i64 rows = n0 * n1 * n2, r0 = 0, r1 = rows, d0 = 0, d1 = n3, before = wrap ? size : 0; \
        if (rows >= t->count) share(t, rows, GRAIN / (n3 + 1) + 1, &r0, &r1); \
        else share(t, n3, GRAIN, &d0, &d1); \
        for (i64 r = r0; r < r1; r++) { \
            i64 a = r / n2 / n1, b = r / n2 % n1, c = r % n2; \
            TYPE *to = out + a * o0 + b * o1 + c * o2; \
            const TYPE *from = x + a * x0 + b * x1 + c * x2; \
            const i64 *at = index + a * i0 + b * i1 + c * i2; \
            if (i3 == 0 && d0 < d1) { \
                i64 j = place(*at, size, wrap); \
                if (j < 0) { \
                    if (step >= 0) pb_fault(t, step, *at); \
                } else if (o3 == 1 && x3 == 1) { \
                    memcpy(to + d0, from + j * stride + d0, (d1 - d0) * sizeof(TYPE)); \
                } else { \
                    for (i64 d = d0; d < d1; d++) to[d * o3] = from[d * x3 + j * stride]; \
                } \
                continue; \
            } \
            i64 wrong = size > 0 ? 0 : d1 - d0; /* for an index out of range the first element is read */ \
            if (!wrong && o3 == 1 && i3 == 1) { \
                _Pragma("omp simd reduction(+ : wrong)") \
                for (i64 d = d0; d < d1; d++) { \
                    i64 j = at[d] + (at[d] < 0 ? before : 0); \
                    bool good = (uint64_t)j < (uint64_t)size; \
                    to[d] = from[d * x3 + (good ? j : 0) * stride]; \
                    wrong += !good; \
                } \
            } else if (!wrong) { \
                for (i64 d = d0; d < d1; d++) { \
                    i64 j = place(at[d * i3], size, wrap); \
                    to[d * o3] = from[d * x3 + MAX(j, 0) * stride]; \
                    wrong += j < 0; \
                } \
            } \
            for (i64 d = d0; wrong && step >= 0 && d < d1; d++) \
                if (place(at[d * i3], size, wrap) < 0) pb_fault(t, step, at[d * i3]); \
        } \
    }

GATHER(pb_gather_u1, uint8_t)
GATHER(pb_gather_u2, uint16_t)
GATHER(pb_gather_u4, uint32_t)
GATHER(pb_gather_u8, uint64_t)

/* out[a, b, d; index[a, b, k, d]] = ... x[a, b, k, d] for each k in turn: each thread has lines (a, b), columns d or
   places of its own, so what comes out does not depend on their number. */
#define SCATTER(NAME, TYPE, BOTH) \
    KERNEL void NAME(T *t, TYPE *out, const TYPE *x, const i64 *index, i64 n0, i64 n1, i64 m, i64 n3, i64 o0, i64 o1, \
                     i64 o3, i64 x0, i64 x1, i64 xm, i64 x3, i64 i0, i64 i1, i64 im, i64 i3, i64 size, i64 stride, \
                     i64 wrap) { \
        i64 lines = n0 * n1, l0 = 0, l1 = lines, d0 = 0, d1 = n3, parts = 1; \
        if (lines * m * n3 < GRAIN) l1 = t->id ? 0 : lines; \
        else if (n3 >= 32 * t->count) share(t, n3, 16, &d0, &d1); \
        else if (lines >= t->count) share(t, lines, 1, &l0, &l1); \
        else parts = t->count; \
        for (i64 l = l0; l < l1; l++) { \
            TYPE *line = out + l / n1 * o0 + l % n1 * o1, *to = line; \
            const TYPE *from = x + l / n1 * x0 + l % n1 * x1; \
            const i64 *at = index + l / n1 * i0 + l % n1 * i1; \
            for (i64 k = 0; k < m && n3 == 1; k++) { \
                i64 j = place(at[k * im], size, wrap); \
                if (j < 0 || (parts > 1 && (j >> 4) % parts != t->id)) continue; \
                to[j * stride] = BOTH(to[j * stride], from[k * xm]); \
            } \
            for (i64 k = 0; k < m && n3 != 1; k++, from += xm, at += im) { \
                to = line; \
                if (i3 == 0 && d0 < d1) { \
                    i64 j = place(*at, size, wrap); \
                    if (j < 0 || (parts > 1 && (j >> 4) % parts != t->id)) continue; \
                    to += j * stride; \
                    if (o3 == 1 && x3 == 1) { \
                        LANES \
                        for (i64 d = d0; d < d1; d++) to[d] = BOTH(to[d], from[d]); \
                    } else { \
                        for (i64 d = d0; d < d1; d++) to[d * o3] = BOTH(to[d * o3], from[d * x3]); \
                    } \
                    continue; \
                } \
                for (i64 d = d0; d < d1; d++) { \
                    i64 j = place(at[d * i3], size, wrap); \
                    if (j < 0 || (parts > 1 && (j >> 4) % parts != t->id)) continue; \
                    TYPE *one = to + d * o3 + j * stride; \
                    *one = BOTH(*one, from[d * x3]); \
                } \
            } \
        } \
    }

#define SET(a, b) (b)
#define ADD(a, b) ((a) + (b))
#define MUL(a, b) ((a) * (b))
#define MOST(a, b) ((a) > (b) || (a) != (a) ? (a) : (b)) /* NaN wins */
#define LEAST(a, b) ((a) < (b) || (a) != (a) ? (a) : (b))

SCATTER(pb_scatter_u1, uint8_t, SET)
SCATTER(pb_scatter_u2, uint16_t, SET)
SCATTER(pb_scatter_u4, uint32_t, SET)
SCATTER(pb_scatter_u8, uint64_t, SET)

#define COMBINE(SUFFIX, TYPE) \
    SCATTER(pb_scatter_sum_##SUFFIX, TYPE, ADD) \
    SCATTER(pb_scatter_prod_##SUFFIX, TYPE, MUL) \
    SCATTER(pb_scatter_amax_##SUFFIX, TYPE, MOST) \
    SCATTER(pb_scatter_amin_##SUFFIX, TYPE, LEAST)

COMBINE(f32, float)
COMBINE(f64, double)
COMBINE(i32, int32_t)
COMBINE(i64, int64_t)

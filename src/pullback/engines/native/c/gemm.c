/* Products of matrices: batches and groups of them, and who of the team does which part. */
#include "gemm.h"

#define LITTLE (1 << 17) /* terms: for fewer, it does not pay to wake another thread */

#define STRIDES i64 c0, i64 c1, i64 cr, i64 a0, i64 a1, i64 ar, i64 ac, i64 b0, i64 b1, i64 br, i64 bc

/* c[u, v] = bias + a[u, v] b[u, v], for u < n0 and v < n1. Products are dealt out, or each is cut: along its columns if
   there are more of them than rows, else along its rows, as the other operand is then packed by every thread. */
#define MATMUL(REAL, suffix) \
    KERNEL void pb_matmul_##suffix(T *t, REAL *c, const REAL *a, const REAL *b, const REAL *bias, i64 n0, i64 n1, \
                                   i64 m, i64 n, i64 k, STRIDES) { \
        i64 count = n0 * n1, pieces = count % t->count == 0 || count >= 8 * t->count ? 1 : t->count; \
        bool dot = n == 1 && ((ac == 1 && br == 1) || ar == 1); /* each element, by itself */ \
        bool row = !dot && m == 1 && ((br == 1 && ac == 1) || bc == 1); \
        bool few = !dot && 1 < m && m <= FEW && ac == 1 && br == 1; \
        bool columns = row || few || (!dot && n >= m && n >= pieces * 32), little = count * m * n * k < LITTLE; \
        i64 all = columns ? n : m, grain = dot || (row && br != 1) ? GRAIN : columns ? 16 : 4, first, last; \
        T whole = {.id = 0, .count = 1}; \
        if (little && t->id) return; \
        share(little ? &whole : t, count * pieces, 1, &first, &last); \
        for (i64 part = first; part < last; part++) { \
            i64 u = part / pieces / n1, v = part / pieces % n1, from, to; \
            T piece = {.id = part % pieces, .count = pieces}; \
            share(&piece, all, grain, &from, &to); \
            REAL *z = c + u * c0 + v * c1; \
            const REAL *x = a + u * a0 + v * a1, *y = b + u * b0 + v * b1; \
            if (dot) vector_##suffix(z, cr, x, ar, ac, y, br, bias, 0, from, to, k); \
            else if (row) vector_##suffix(z, 1, y, bc, br, x, ac, bias, 1, from, to, k); \
            else if (few) dots_##suffix(z, cr, x, ar, y, bc, bias, m, from, to, k); \
            else if (columns) \
                product_##suffix(z + from, cr, x, ar, ac, y + from * bc, br, bc, bias ? bias + from : NULL, 0, m, \
                                 to - from, k); \
            else product_##suffix(z + from * cr, cr, x + from * ar, ar, ac, y, br, bc, bias, 0, to - from, n, k); \
        } \
    }

MATMUL(float, f32)
MATMUL(double, f64)

/* -- groups: of rows (over = 0), of columns (1) or of terms (2), whose ends are data ----------------------------------- */

static bool rising(T *t, const int32_t *ends, i64 groups, i64 limit, i64 step) {
    for (i64 e = 0, start = 0; e < groups; start = ends[e++]) {
        if (start <= ends[e] && ends[e] <= limit) continue;
        if (step >= 0) pb_fault(t, step, ends[e]);
        return false;
    }
    return true;
}

/* c = a b for rows, columns or terms start <= ... < end of each group, which are those of the whole c, a or b where they
   are in groups; the others begin ce, ae, be further on for each group. What is in no group is a sum of no terms.
   All products are cut at the same columns, or rows, if there are more of these; so it does not matter how large the
   groups are. Nothing is touched if the ends do not rise; `step` is -1 if that has been said already. */
#define GROUPED(REAL, suffix) \
    KERNEL void pb_grouped_##suffix(T *t, REAL *c, const REAL *a, const REAL *b, const int32_t *ends, i64 groups, \
                                    i64 over, i64 m, i64 n, i64 k, i64 ce, i64 cr, i64 ae, i64 ar, i64 ac, i64 be, \
                                    i64 br, i64 bc, i64 step) { \
        i64 limit = over == 0 ? m : over == 1 ? n : k, first, last; \
        bool columns = n >= m && n >= t->count * 32, little = m * n * k < LITTLE; \
        T whole = {.id = 0, .count = 1}; \
        if (!rising(t, ends, groups, limit, step) || (little && t->id)) return; \
        share(little ? &whole : t, columns ? n : m, columns ? 16 : 4, &first, &last); \
        for (i64 e = 0, start = 0, end; e < groups + (over != 2); e++, start = end) { \
            bool none = e == groups; \
            end = none ? limit : ends[e]; \
            i64 i0 = columns ? 0 : first, i1 = columns ? m : last, j0 = columns ? first : 0, j1 = columns ? last : n; \
            i64 rows = over == 0 ? end - start : m, p0 = over == 2 ? start : 0, terms = over == 2 ? end - start : k; \
            if (over == 0) i0 = MAX(i0, start), i1 = MIN(i1, end); \
            if (over == 1) j0 = MAX(j0, start), j1 = MIN(j1, end); \
            if (i0 >= i1 || j0 >= j1) continue; \
            REAL *z = c + (none ? 0 : e * ce) + i0 * cr; \
            const REAL *x = none ? a : a + e * ae + i0 * ar + p0 * ac, *y = none ? b : b + e * be + p0 * br; \
            if (none) product_##suffix(z + j0, cr, x, 0, 0, y, 0, 0, NULL, 0, i1 - i0, j1 - j0, 0); \
            else if (rows == 1 && ((br == 1 && ac == 1) || bc == 1)) \
                vector_##suffix(z, 1, y, bc, br, x, ac, NULL, 0, j0, j1, terms); \
            else product_##suffix(z + j0, cr, x, ar, ac, y + j0 * bc, br, bc, NULL, 0, i1 - i0, j1 - j0, terms); \
        } \
    }

GROUPED(float, f32)
GROUPED(double, f64)

/* Integers, which wrap around: unsigned, as overflow then has a meaning. */
#define INTEGERS(U, suffix) \
    KERNEL void pb_matmul_##suffix(T *t, U *c, const U *a, const U *b, const U *bias, i64 n0, i64 n1, i64 m, i64 n, \
                                   i64 k, STRIDES) { \
        i64 first, last; \
        share(t, n0 * n1 * m, LITTLE / 16 / (n * k + 1) + 1, &first, &last); \
        for (i64 part = first; part < last; part++) { \
            i64 i = part % m, v = part / m % n1, u = part / m / n1; \
            U *z = c + u * c0 + v * c1 + i * cr; \
            for (i64 j = 0; j < n; j++) z[j] = bias ? bias[j] : 0; \
            for (i64 p = 0; p < k; p++) { \
                uint64_t x = a[u * a0 + v * a1 + i * ar + p * ac]; \
                const U *y = b + u * b0 + v * b1 + p * br; \
                for (i64 j = 0; j < n; j++) z[j] = (U)(z[j] + x * y[j * bc]); \
            } \
        } \
    }

INTEGERS(uint8_t, i8)
INTEGERS(uint16_t, i16)
INTEGERS(uint32_t, i32)
INTEGERS(uint64_t, i64)

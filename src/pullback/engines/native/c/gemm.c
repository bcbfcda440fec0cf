/* Products of matrices: batches of them, and who of the team does which part. */
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
        bool columns = row || (!dot && n >= m && n >= pieces * 32), little = count * m * n * k < LITTLE; \
        i64 all = columns ? n : m, grain = row || dot ? GRAIN : columns ? 16 : 4, first, last; \
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
            else if (columns) \
                product_##suffix(z + from, cr, x, ar, ac, y + from * bc, br, bc, bias ? bias + from : NULL, 0, m, \
                                 to - from, k); \
            else product_##suffix(z + from * cr, cr, x + from * ar, ar, ac, y, br, bc, bias, 0, to - from, n, k); \
        } \
    }

MATMUL(float, f32)
MATMUL(double, f64)

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

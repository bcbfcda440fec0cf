/* Recurrent layers over all their steps, and their adjoints. With s a sigmoid,

     rnn     h' = act(x + W h)
     lstm    i, f, o = s(x + W h), g = tanh(x + W h)      c' = f c + i g                h' = o tanh(c')
     gru     r, z = s(x + W h + b), m = W h + b           n = tanh(x + r m)             h' = n + z (h - n)

   Rows of a batch know nothing of each other: each thread takes some of them through all steps, and nobody waits. W is
   packed once, as the products of all steps read it. The gradient of W is one product over all steps, at the end. */
#include "functions.h"
#include "gemm.h"

#define LITTLE (1 << 17) /* terms: for fewer, it does not pay to wake another thread */

/* Of `steps` steps, the one that comes k-th; and the row before it. */
#define AT(k) (reverse ? steps - 1 - (k) : (k))
#define BEFORE(first, states, t) \
    ((t) == AT(0) ? (first) : (states) + (reverse ? (t) + 1 : (t) - 1) * batch * size)

#define REAL float
#define NAME(x) x##_f32
#include "recurrence.inc"
#undef REAL
#undef NAME

#define REAL double
#define NAME(x) x##_f64
#include "recurrence.inc"

/* -- along one dimension: everything (k0, n, k1), in order ---------------------------------------------------------- */

#define STRIP 512         /* of k1, that one thread takes through all n */
#define ENOUGH (1 << 14)  /* elements: for fewer, it does not pay to wake another thread */

/* `first` for i = 0, then the rest for i = 1, 2, ...; `at` is an element, `at - k1` the one before it. */
#define ALONG(first, ...) \
    i64 strips = (k1 + STRIP - 1) / STRIP, from, to; \
    share(t, n ? k0 * strips : 0, ENOUGH / (n * MIN(k1, STRIP) + 1) + 1, &from, &to); \
    for (i64 unit = from; unit < to; unit++) { \
        i64 start = unit / strips * n * k1 + unit % strips * STRIP, width = MIN(STRIP, k1 - unit % strips * STRIP); \
        for (i64 at = start; at < start + width; at++) { first; } \
        for (i64 i = 1; i < n; i++) { \
            start += k1; \
            LANES \
            for (i64 at = start; at < start + width; at++) { __VA_ARGS__; } \
        } \
    }

/* out_i = a_i out_(i-1) + b_i */
#define RECURRENCE(suffix, X) \
    KERNEL void pb_recurrence_##suffix(T *t, X *out, const X *a, const X *b, i64 k0, i64 n, i64 k1) { \
        ALONG(out[at] = b[at], out[at] = b[at] + a[at] * out[at - k1]) \
    }

RECURRENCE(f32, float)
RECURRENCE(f64, double)
RECURRENCE(i64, uint64_t)

/* The extreme so far, and where it was last reached. A NaN stays. */
#define RUNNING(name, X, reaches) \
    KERNEL void pb_##name(T *t, X *out, i64 *index, const X *x, i64 k0, i64 n, i64 k1) { \
        ALONG(out[at] = x[at]; index[at] = 0, bool now = (x[at] reaches out[at - k1]) | (x[at] != x[at]); \
              out[at] = now ? x[at] : out[at - k1]; index[at] = now ? i : index[at - k1]) \
    }

RUNNING(cummax_f32, float, >=)
RUNNING(cummax_f64, double, >=)
RUNNING(cummax_i64, i64, >=)
RUNNING(cummin_f32, float, <=)
RUNNING(cummin_f64, double, <=)
RUNNING(cummin_i64, i64, <=)

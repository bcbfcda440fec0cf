/* Attention and its adjoint, some rows of scores at a time: memory grows with the length of a sequence, not its square.

   p = softmax(scale q k^T + mask)    y = p v
   dv = p^T dy    dp = dy v^T    ds = scale p (dp - sum of dp p)    dq = ds k    dk = ds^T q

A unit of work is a head of keys with a part of the queries that look at it, the same for any number of threads. */
#include "functions.h"
#include "micro.h"

#define REAL float
#define NAME(x) x##_f32
#define FMA fma_v32
#include "attention.inc"
#undef REAL
#undef NAME
#undef FMA

#define REAL double
#define NAME(x) x##_f64
#define FMA fma_v64
#include "attention.inc"

/* Pooling over windows and bins of planes, and windows as columns; a plane is one channel of one image. */
#include "pullback.h"

/* One dimension: output q reads input q * stride + tap * dilation - before, for each tap of the kernel. */
typedef struct {
    i64 size, count, kernel, stride, before, dilation;
} window;

/* Outputs for which a tap is inside the input. */
static inline void inside(const window *w, i64 tap, i64 *first, i64 *last) {
    i64 offset = tap * w->dilation - w->before, room = w->size - 1 - offset;
    *first = offset >= 0 ? 0 : (-offset + w->stride - 1) / w->stride;
    *last = room < 0 ? 0 : MIN(w->count, room / w->stride + 1);
}

/* The same of all taps of a row, which are the same for all rows; found once for the first of them. */
enum { TAPS = 16 };
typedef struct {
    i64 first[TAPS], last[TAPS];
} ranges;

static inline void find(ranges *r, const window *w) {
    for (i64 tap = 0; tap < MIN(w->kernel, TAPS); tap++) inside(w, tap, &r->first[tap], &r->last[tap]);
}

static inline void known(const ranges *r, const window *w, i64 tap, i64 *first, i64 *last) {
    if (tap < TAPS) *first = r->first[tap], *last = r->last[tap];
    else inside(w, tap, first, last);
}

/* Which input a tap reads; is it one? */
static inline bool reads(const window *w, i64 q, i64 tap, i64 *at) {
    *at = q * w->stride + tap * w->dilation - w->before;
    return *at >= 0 && *at < w->size;
}

static inline i64 volume(const window *w) { return w[0].size * w[1].size * w[2].size; }
static inline i64 outputs(const window *w) { return w[0].count * w[1].count * w[2].count; }

/* A kernel with a small step has it known to the compiler. */
#define BY_STRIDE(s, F) \
    if (s == 1) { \
        F(1); \
    } else if (s == 2) { \
        F(2); \
    } else { \
        F(s); \
    }

enum { GRAIN = 1 << 14 };

#define FLOATING 1 /* sums are made in this type */
#define ORDERED 1  /* maxima too */
#define REAL float
#define NAME(f) f##_f32
#include "pooling.inc"
#undef REAL
#undef NAME
#define REAL double
#define NAME(f) f##_f64
#include "pooling.inc"
#undef REAL
#undef NAME
#undef FLOATING
#define FLOATING 0
#define REAL int64_t
#define NAME(f) f##_i64
#include "pooling.inc"
#undef REAL
#undef NAME
#define REAL int32_t
#define NAME(f) f##_i32
#include "pooling.inc"
#undef REAL
#undef NAME
#define REAL uint8_t
#define NAME(f) f##_u8
#include "pooling.inc"
#undef REAL
#undef NAME
#undef ORDERED
#define ORDERED 0
#define REAL f16
#define NAME(f) f##_f16
#include "pooling.inc"
#undef REAL
#undef NAME
#define REAL bf16
#define NAME(f) f##_bf16
#include "pooling.inc"

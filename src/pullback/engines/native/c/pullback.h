/* What every kernel and every generated step sees: a team of threads that run the same code, each on its share. */
#ifndef PULLBACK_H
#define PULLBACK_H

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef int64_t i64;
typedef uint16_t bf16; /* the upper half of a float */
typedef _Float16 f16;

#ifndef KERNEL /* what is built may say what becomes of those that no step calls: see build.py */
#define KERNEL __attribute__((noinline, visibility("default")))
#endif
#if defined(__GNUC__) && !defined(__clang__)
#define CALLS __attribute__((optimize("O1"))) /* of other functions, one after the other: there is little to be gained */
#else
#define CALLS
#endif
#define LANES _Pragma("omp simd") /* the iterations of the next loop do not depend on each other */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* One thread of a team. All run the same step; `sync` is where they wait for each other. */
typedef struct team team;
typedef struct {
    i64 id, count;
    team *team;
} T;

void pb_barrier(T *t);
void pb_fault(T *t, i64 step, i64 index); /* note the first index that is out of range; nothing is read there */
bool pb_faulty(T *t);

static inline void sync(T *t) {
    if (t->count > 1) pb_barrier(t);
}

/* This thread's part of n pieces of work, in multiples of `grain`; little work is done by the first thread alone. */
static inline void share(const T *t, i64 n, i64 grain, i64 *first, i64 *last) {
    i64 blocks = (n + grain - 1) / grain;
    *first = MIN(n, blocks * t->id / t->count * grain);
    *last = MIN(n, blocks * (t->id + 1) / t->count * grain);
}

/* -- bfloat16: float's upper half, rounded to nearest, ties to even ------------------------------------------------- */

static inline float bf16_f32(bf16 x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

static inline bf16 f32_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (bf16)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 0x40 : rounded); /* NaN stays NaN */
}

static inline float f16_f32(f16 x) { return (float)x; }
static inline f16 f32_f16(float x) { return (f16)x; }

#endif

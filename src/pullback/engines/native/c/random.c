/* Random numbers as a function of a generator's state [seed, offset]: Philox 4x32-10, as in engines/numpy/philox.py. */
#include "functions.h"

#define BLOCKS 64             /* of four words, made together */
#define WORDS (4 * BLOCKS)
#define GRAIN 16              /* such parts: for fewer, it does not pay to wake another thread */

/* The words of blocks first ... first + 63. One round, with p0 = M0 c0 and p1 = M1 c2:
   c0, c1, c2, c3 = high(p1) ^ c1 ^ k0, low(p1), high(p0) ^ c3 ^ k1, low(p0) */
static void philox(const int64_t *state, i64 first, uint32_t *words) {
    uint64_t start = (uint64_t)state[1] + (uint64_t)first;
    uint32_t seed0 = (uint32_t)state[0], seed1 = (uint32_t)((uint64_t)state[0] >> 32);
    LANES
    for (i64 b = 0; b < BLOCKS; b++) {
        uint64_t index = start + (uint64_t)b;
        uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = 0, c3 = 0, k0 = seed0, k1 = seed1;
        for (int round = 0; round < 10; round++) {
            uint64_t p0 = (uint64_t)0xd2511f53 * c0, p1 = (uint64_t)0xcd9e8d57 * c2;
            c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, c1 = (uint32_t)p1;
            c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1, c3 = (uint32_t)p0;
            k0 += 0x9e3779b9, k1 += 0xbb67ae85;
        }
        words[4 * b] = c0, words[4 * b + 1] = c1, words[4 * b + 2] = c2, words[4 * b + 3] = c3;
    }
}

static inline uint64_t pair(const uint32_t *words, i64 i) { return (uint64_t)words[2 * i + 1] << 32 | words[2 * i]; }

/* For each part of `each` numbers, of n: the words it is made of, and how many numbers at x + done are to be made. */
#define PARTS(each) \
    i64 parts = (n + (each) - 1) / (each), first, last; \
    uint32_t words[WORDS]; \
    share(t, parts, GRAIN, &first, &last); \
    for (i64 part = first; part < last; part++)
#define MADE(each) \
    i64 done = part * (each), count = MIN(each, n - done); \
    philox(state, part * BLOCKS, words);

/* k / 2^d, with k the upper d bits */
static inline float unit_f32(uint32_t word) { return (float)(int32_t)(word >> 8) * 0x1p-24f; }
static inline double unit_f64(uint64_t word) { return (double)(int64_t)(word >> 11) * 0x1p-53; }

KERNEL void pb_uniform_f32(T *t, float *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        LANES
        for (i64 i = 0; i < count; i++) x[done + i] = unit_f32(words[i]);
    }
}

KERNEL void pb_uniform_f64(T *t, double *x, const int64_t *state, i64 n) {
    PARTS(WORDS / 2) {
        MADE(WORDS / 2)
        LANES
        for (i64 i = 0; i < count; i++) x[done + i] = unit_f64(pair(words, i));
    }
}

KERNEL void pb_uniform_f16(T *t, f16 *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        for (i64 i = 0; i < count; i++) x[done + i] = f32_f16((float)(words[i] >> 21) * 0x1p-11f);
    }
}

KERNEL void pb_uniform_bf16(T *t, bf16 *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        for (i64 i = 0; i < count; i++) x[done + i] = f32_bf16((float)(words[i] >> 24) * 0x1p-8f);
    }
}

/* Box and Muller: sqrt(-2 log(1 - u)) times cos(2 pi v) and sin(2 pi v), side by side */
static void normals_f32(const uint32_t *words, float *z) {
    LANES
    for (i64 i = 0; i < WORDS / 2; i++) {
        int32_t n;
        float radius = sqrtf(-2 * log_f32(1 - unit_f32(words[2 * i])));
        double r = near_turns_f32(unit_f32(words[2 * i + 1]) * 6.28318531f, &n), s = short_sin(r), c = short_cos(r);
        double cosine = n & 1 ? s : c, sine = n & 1 ? c : s;
        z[2 * i] = radius * (float)((n + 1) & 2 ? -cosine : cosine);
        z[2 * i + 1] = radius * (float)(n & 2 ? -sine : sine);
    }
}

KERNEL void pb_normal_f32(T *t, float *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        float z[WORDS];
        normals_f32(words, z);
        memcpy(x + done, z, count * sizeof(float));
    }
}

KERNEL void pb_normal_f16(T *t, f16 *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        float z[WORDS];
        normals_f32(words, z);
        for (i64 i = 0; i < count; i++) x[done + i] = f32_f16(z[i]);
    }
}

KERNEL void pb_normal_bf16(T *t, bf16 *x, const int64_t *state, i64 n) {
    PARTS(WORDS) {
        MADE(WORDS)
        float z[WORDS];
        normals_f32(words, z);
        for (i64 i = 0; i < count; i++) x[done + i] = f32_bf16(z[i]);
    }
}

KERNEL void pb_normal_f64(T *t, double *x, const int64_t *state, i64 n) {
    PARTS(WORDS / 2) {
        MADE(WORDS / 2)
        for (i64 i = 0; i < count; i += 2) {
            double radius = sqrt(-2 * log(1 - unit_f64(pair(words, i))));
            double angle = 6.2831853071795862 * unit_f64(pair(words, i + 1));
            x[done + i] = radius * cos(angle);
            if (i + 1 < count) x[done + i + 1] = radius * sin(angle);
        }
    }
}

/* A float32 uniform below p */
#define BERNOULLI(name, type, wide) \
    KERNEL void name(T *t, uint8_t *x, const int64_t *state, const type *p, i64 n) { \
        PARTS(WORDS) { \
            MADE(WORDS) \
            LANES \
            for (i64 i = 0; i < count; i++) x[done + i] = unit_f32(words[i]) < wide(p[done + i]); \
        } \
    }
BERNOULLI(pb_bernoulli_f32, float, )
BERNOULLI(pb_bernoulli_f64, double, )
BERNOULLI(pb_bernoulli_f16, f16, f16_f32)
BERNOULLI(pb_bernoulli_bf16, bf16, bf16_f32)

/* low + floor(x span / 2^64), x a pair of words; a span of 0 stands for 2^64 */
KERNEL void pb_integers(T *t, int64_t *x, const int64_t *state, i64 n, i64 low, i64 span) {
    PARTS(WORDS / 2) {
        MADE(WORDS / 2)
        for (i64 i = 0; i < count; i++) {
            uint64_t word = pair(words, i);
            uint64_t upper = span ? (uint64_t)((unsigned __int128)word * (uint64_t)span >> 64) : word;
            x[done + i] = (int64_t)((uint64_t)low + upper);
        }
    }
}

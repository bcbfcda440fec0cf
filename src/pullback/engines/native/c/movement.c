/* Elements in other places. Types are told apart by their size only. */
#include "pullback.h"

#define TILE 32
#define GRAIN (1 << 14)

/* -- transposes: out[a, b, i, j] = x[a, b, i, j], where out lies in order along j, and x along i ----------------------- */

typedef uint32_t vec8 __attribute__((vector_size(32), aligned(4), may_alias));

#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (vec8){__VA_ARGS__})
#endif
#define SWAP(x, y, step, low, high) \
    do { \
        for (int r = 0; r < 8; r++) { \
            if (r & step) continue; \
            y[r] = PICK(x[r], x[r + step], low); \
            y[r + step] = PICK(x[r], x[r + step], high); \
        } \
    } while (0)
#define LOW1 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH1 1, 9, 3, 11, 5, 13, 7, 15
#define LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define LOW4 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH4 4, 5, 6, 7, 12, 13, 14, 15

/* An 8 by 8 square in registers: first single numbers change places, then pairs, then halves. */
static inline void square(uint32_t *out, i64 ol, const uint32_t *x, i64 xl) {
    vec8 a[8], b[8];
    for (int r = 0; r < 8; r++) a[r] = *(const vec8 *)(x + r * xl);
    SWAP(a, b, 1, LOW1, HIGH1);
    SWAP(b, a, 2, LOW2, HIGH2);
    SWAP(a, b, 4, LOW4, HIGH4);
    for (int r = 0; r < 8; r++) *(vec8 *)(out + r * ol) = b[r];
}

#define TRANSPOSE(NAME, TYPE, SQUARE) \
    static void NAME##_tile(TYPE *out, i64 ol, const TYPE *x, i64 xl, i64 rows, i64 cols) { \
        i64 whole = SQUARE ? cols / 8 * 8 : 0; \
        for (i64 i = 0; i < rows; i++) { \
            if (SQUARE && i % 8 == 0 && rows - i >= 8) { \
                for (i64 j = 0; j < whole; j += 8) \
                    square((uint32_t *)(out + i * ol + j), ol, (const uint32_t *)(x + i + j * xl), xl); \
            } \
            for (i64 j = SQUARE && i < rows / 8 * 8 ? whole : 0; j < cols; j++) out[i * ol + j] = x[i + j * xl]; \
        } \
    } \
    KERNEL void NAME(T *t, TYPE *out, const TYPE *x, i64 A, i64 B, i64 rows, i64 cols, i64 oa, i64 ob, i64 ol, i64 xa, \
                     i64 xb, i64 xl) { \
        i64 down = (rows + TILE - 1) / TILE, first, last; \
        share(t, A * B * down, GRAIN / (TILE * cols + 1) + 1, &first, &last); \
        for (i64 n = first; n < last; n++) { \
            i64 i = n % down * TILE, b = n / down % B, a = n / down / B; \
            for (i64 j = 0; j < cols; j += TILE) \
                NAME##_tile(out + a * oa + b * ob + i * ol + j, ol, x + a * xa + b * xb + i + j * xl, xl, \
                            MIN(TILE, rows - i), MIN(TILE, cols - j)); \
        } \
    }

TRANSPOSE(pb_transpose_u1, uint8_t, 0)
TRANSPOSE(pb_transpose_u2, uint16_t, 0)
TRANSPOSE(pb_transpose_u4, uint32_t, 1)
TRANSPOSE(pb_transpose_u8, uint64_t, 0)

/* -- triangles: what lies on one side of a diagonal stays; sizes in bytes but for rows and columns --------------------- */

KERNEL void pb_triangle(T *t, uint8_t *out, const uint8_t *x, i64 planes, i64 rows, i64 cols, i64 size, i64 diagonal,
                        i64 upper) {
    i64 first, last, wide = cols * size;
    share(t, planes * rows, GRAIN / (cols + 1) + 1, &first, &last);
    for (i64 n = first; n < last; n++) {
        i64 cut = MAX(0, MIN(cols, n % rows + diagonal + !upper)) * size;
        uint8_t *to = out + n * wide;
        if (upper) {
            memset(to, 0, cut);
            memcpy(to + cut, x + n * wide + cut, wide - cut);
        } else {
            memcpy(to, x + n * wide, cut);
            memset(to + cut, 0, wide - cut);
        }
    }
}

/* -- windows added up: out[a, i, b] = sum over taps of g[a, (i - tap) / step, b, tap], where step divides it ------------ */

#define FOLD(NAME, TYPE) \
    KERNEL void NAME(T *t, TYPE *out, const TYPE *g, i64 A, i64 n, i64 B, i64 count, i64 size, i64 step) { \
        i64 first, last; \
        share(t, A * n, GRAIN / (B * (size / step + 1) + 1) + 1, &first, &last); \
        for (i64 r = first; r < last; r++) { \
            i64 i = r % n; \
            TYPE *to = out + r * B; \
            memset(to, 0, B * sizeof(TYPE)); \
            for (i64 tap = i % step; tap < size && tap <= i; tap += step) { \
                i64 k = (i - tap) / step; \
                if (k >= count) continue; \
                const TYPE *from = g + (r / n * count + k) * B * size + tap; \
                for (i64 b = 0; b < B; b++) to[b] += from[b * size]; \
            } \
        } \
    }

FOLD(pb_fold_f32, float)
FOLD(pb_fold_f64, double)
FOLD(pb_fold_i32, int32_t)
FOLD(pb_fold_i64, int64_t)

/* -- classes: out[n, index[n]] = 1, and 0 elsewhere --------------------------------------------------------------------- */

KERNEL void pb_one_hot(T *t, i64 *out, const i64 *index, i64 n, i64 classes, i64 step) {
    i64 first, last;
    share(t, n, GRAIN / (classes + 1) + 1, &first, &last);
    memset(out + first * classes, 0, (last - first) * classes * sizeof(i64));
    for (i64 i = first; i < last; i++) {
        if (index[i] < 0 || index[i] >= classes) pb_fault(t, step, index[i]);
        else out[i * classes + index[i]] = 1;
    }
}

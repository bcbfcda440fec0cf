/* Elements in order. Each is given a number, its key, that stands where the element stands: NaN last, -0 beside 0. */
#include "pullback.h"

#define FEW 64 /* elements: so many are put in order one by one */
#define GRAIN (1 << 13)

#define SAME(x) (x)
#define key_u8 SAME
#define key_u16 SAME
#define key_u32 SAME
#define key_u64 SAME

static inline uint64_t key_i8(int8_t x) { return (uint8_t)x ^ 0x80u; }
static inline uint64_t key_i16(int16_t x) { return (uint16_t)x ^ 0x8000u; }
static inline uint64_t key_i32(int32_t x) { return (uint32_t)x ^ 1u << 31; }
static inline uint64_t key_i64(int64_t x) { return (uint64_t)x ^ 1ull << 63; }

/* A sign, then what rises with the size. Adding 0 makes -0 of it 0. */
static inline uint64_t key_f32(float x) {
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, 4);
    return x != x ? UINT32_MAX : bits >> 31 ? ~bits : bits | 1u << 31;
}

static inline uint64_t key_f64(double x) {
    uint64_t bits;
    x += 0.0;
    memcpy(&bits, &x, 8);
    return x != x ? UINT64_MAX : bits >> 63 ? ~bits : bits | 1ull << 63;
}

static inline uint64_t key_f16(f16 x) { return key_f32(f16_f32(x)); }
static inline uint64_t key_bf16(bf16 x) { return key_f32(bf16_f32(x)); }

/* The first k <= FEW of n elements: each goes before those found so far that are larger, if it is among the first. */
#define FIRST(TYPE, suffix) \
    static void first_##suffix(i64 *order, const TYPE *x, i64 n, i64 k, uint64_t turned) { \
        uint64_t keys[FEW]; \
        i64 found = 0; \
        for (i64 j = 0; j < n; j++) { \
            uint64_t key = key_##suffix(x[j]) ^ turned; \
            if (found == k && key >= keys[k - 1]) continue; \
            i64 i = found < k ? found++ : k - 1; \
            for (; i > 0 && keys[i - 1] > key; i--) keys[i] = keys[i - 1], order[i] = order[i - 1]; \
            keys[i] = key, order[i] = j; \
        } \
    }

/* All elements: dealt out by each byte of the keys, the lowest first, where they do not all have the same. Elements of
   one byte stay in order. The order is in one of two arrays; which, is returned. */
#define DEALT(TYPE, suffix) \
    static const i64 *dealt_##suffix(i64 *to, i64 *other, const TYPE *x, i64 n, uint64_t turned) { \
        i64 count[8][256] = {0}; \
        for (i64 j = 0; j < n; j++) { \
            uint64_t key = key_##suffix(x[j]) ^ turned; \
            for (int b = 0; b < (int)MAX(sizeof(TYPE), 4); b++) count[b][key >> 8 * b & 255]++; \
        } \
        const i64 *from = NULL; /* as they come */ \
        for (int b = 0; b < (int)MAX(sizeof(TYPE), 4); b++) { \
            i64 *place = count[b], sum = 0; \
            if (place[(key_##suffix(x[0]) ^ turned) >> 8 * b & 255] == n) continue; \
            for (int d = 0; d < 256; d++) { \
                i64 here = place[d]; \
                place[d] = sum, sum += here; \
            } \
            for (i64 j = 0; j < n; j++) { \
                i64 i = from ? from[j] : j; \
                to[place[(key_##suffix(x[i]) ^ turned) >> 8 * b & 255]++] = i; \
            } \
            i64 *next = from ? (i64 *)from : other; \
            from = to, to = next; \
        } \
        if (from) return from; \
        for (i64 j = 0; j < n; j++) to[j] = j; \
        return to; \
    }

/* values, order = the first k of each row and where they stood; `spare` has n places a row, and n more if k < n.
   values may be NULL. */
#define SORT(TYPE, suffix) \
    FIRST(TYPE, suffix) \
    DEALT(TYPE, suffix) \
    KERNEL void pb_sort_##suffix(T *t, TYPE *values, i64 *order, const TYPE *x, i64 *spare, i64 rows, i64 n, i64 k, \
                                 i64 descending) { \
        uint64_t turned = descending ? UINT64_MAX : 0; \
        i64 first, last; \
        share(t, rows, GRAIN / (n + 1) + 1, &first, &last); \
        for (i64 r = first; r < last; r++) { \
            const TYPE *row = x + r * n; \
            i64 *place = order + r * k; \
            if (k <= FEW) { \
                first_##suffix(place, row, n, k, turned); \
            } else { \
                i64 *one = k < n ? spare + 2 * r * n : spare + r * n; \
                const i64 *found = dealt_##suffix(one, k < n ? one + n : place, row, n, turned); \
                if (found != place) memcpy(place, found, k * sizeof(i64)); \
            } \
            for (i64 j = 0; values && j < k; j++) values[r * k + j] = row[place[j]]; \
        } \
    } \
    /* out[r, j] = how many of the n boundaries of row r (of all rows, if there is one) are < x[r, j], or <= x */ \
    KERNEL void pb_search_##suffix(T *t, i64 *out, const TYPE *boundaries, const TYPE *x, i64 rows, i64 m, i64 n, \
                                   i64 step, i64 right) { \
        i64 first, last; \
        share(t, rows * m, GRAIN / 8, &first, &last); \
        for (i64 j = first; j < last; j++) { \
            const TYPE *row = boundaries + j / m * step; \
            uint64_t key = key_##suffix(x[j]); \
            i64 low = 0, high = n; \
            while (low < high) { \
                i64 middle = (low + high) / 2; \
                uint64_t there = key_##suffix(row[middle]); \
                if (there < key || (right && there == key)) low = middle + 1; \
                else high = middle; \
            } \
            out[j] = low; \
        } \
    }

SORT(uint8_t, u8)
SORT(uint16_t, u16)
SORT(uint32_t, u32)
SORT(uint64_t, u64)
SORT(int8_t, i8)
SORT(int16_t, i16)
SORT(int32_t, i32)
SORT(int64_t, i64)
SORT(f16, f16)
SORT(bf16, bf16)
SORT(float, f32)
SORT(double, f64)

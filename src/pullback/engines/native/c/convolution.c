/* Convolution, its adjoint, and the gradient for its weights: see kernels/convolution.py for the geometry. */
#include "micro.h"

/* One dimension. Output q reads input q * step + a tap's offset; it goes to start + q * stride of `total`.
   What a block of outputs reads is copied to a slab, whose place i holds input `step` q + low + i * pick. */
typedef struct {
    i64 size, count, step, low, reach, pick, read; /* reach: largest less smallest offset; read: slab places a step */
    i64 start, stride, total, block;               /* block: outputs of a block */
} axis;

typedef struct {
    i64 images, groups, filters, channels; /* of a group */
    i64 w_group, w_filter, w_channel;      /* strides of the weights */
    i64 taps, depth, batch, direct;        /* depth: channels at a time; batch: images of a block; direct: no slab */
    i64 parts;                             /* of the filters, or of the sums */
    axis a[3];
    i64 tap[][4]; /* offsets from low, and the place of its weight */
} conv;

/* A block of outputs: of images, and of each dimension. */
typedef struct {
    i64 n, images, first[3], count[3], pixels;
} block;

/* The slab's layout: strides of its rows, planes, channels and images. */
typedef struct {
    i64 part, row, plane, channel, image; /* part: of a row, where a step of more than one place splits it */
} layout;

/* Pixels that lie one after the other in a slab and in the output. */
typedef struct {
    i64 at, length, from, to;
} run;

enum { ROOM = 1 << 16, SLACK = 64, PIXELS = 256, FILTERS = 256 };

static i64 blocks_of(const conv *g) {
    i64 n = (g->images + g->batch - 1) / g->batch;
    for (int d = 0; d < 3; d++) n *= (g->a[d].count + g->a[d].block - 1) / g->a[d].block;
    return n;
}

static block block_at(const conv *g, i64 index) {
    block b;
    for (int d = 2; d >= 0; d--) {
        const axis *a = &g->a[d];
        i64 many = (a->count + a->block - 1) / a->block;
        b.first[d] = index % many * a->block;
        b.count[d] = MIN(a->block, a->count - b.first[d]);
        index /= many;
    }
    b.n = index * g->batch;
    b.images = MIN(g->batch, g->images - b.n);
    b.pixels = b.images * b.count[0] * b.count[1] * b.count[2];
    return b;
}

/* How many places of a slab a block's `count` outputs read. */
static i64 extent(const axis *a, i64 count) { return (count - 1) * a->read + a->reach + 1; }

static layout layout_of(const conv *g, i64 channels) {
    const axis *a = g->a;
    layout l;
    if (g->direct) {
        l.part = l.row = l.plane = l.channel = a[2].size;
        l.image = g->groups * g->channels * l.channel;
        return l;
    }
    l.part = (extent(&a[2], a[2].block) + a[2].read - 1) / a[2].read;
    l.row = l.part * a[2].read;
    l.plane = l.row * extent(&a[1], a[1].block);
    l.channel = l.plane * extent(&a[0], a[0].block);
    l.image = l.channel * channels;
    return l;
}

static i64 tap_at(const conv *g, const layout *l, i64 t) {
    const i64 *o = g->tap[t], read = g->a[2].read;
    return o[0] * l->plane + o[1] * l->row + o[2] % read * l->part + o[2] / read;
}

/* The runs of a block's pixels q, q + 1, ... q + n - 1; output places count from the block's first image. */
static i64 runs_of(const conv *g, const layout *l, const block *b, i64 q, i64 n, i64 image, run *runs) {
    const axis *a = g->a;
    const i64 *count = b->count;
    i64 many = 0, x = q % count[2], y = q / count[2] % count[1], z = q / count[2] / count[1] % count[0];
    i64 m = q / count[2] / count[1] / count[0];
    for (i64 at = 0; at < n; many++) {
        i64 place = a[0].start + (b->first[0] + z) * a[0].stride;
        place = place * a[1].total + a[1].start + (b->first[1] + y) * a[1].stride;
        place = place * a[2].total + a[2].start + (b->first[2] + x) * a[2].stride;
        i64 from = m * l->image + z * a[0].read * l->plane + y * a[1].read * l->row + x + (g->direct ? b->first[2] : 0);
        runs[many] = (run){at, MIN(count[2] - x, n - at), from, m * image + place};
        at += count[2] - x, x = 0;
        if (++y == count[1]) {
            y = 0;
            if (++z == count[0]) z = 0, m++;
        }
    }
    return many;
}

#define REAL float
#define VL VL_f32
#define VEC vec_f32
#define LOOSE loose_f32
#define FMA fma_v32
#define NAME(f) f##_f32
#define LOW(a, b) __builtin_shufflevector(a, b, LOW_f32)
#define HIGH(a, b) __builtin_shufflevector(a, b, HIGH_f32)
#include "convolution.inc"
#undef REAL
#undef VL
#undef VEC
#undef LOOSE
#undef FMA
#undef NAME
#undef LOW
#undef HIGH
#define REAL double
#define VL VL_f64
#define VEC vec_f64
#define LOOSE loose_f64
#define FMA fma_v64
#define NAME(f) f##_f64
#define LOW(a, b) __builtin_shufflevector(a, b, LOW_f64)
#define HIGH(a, b) __builtin_shufflevector(a, b, HIGH_f64)
#include "convolution.inc"

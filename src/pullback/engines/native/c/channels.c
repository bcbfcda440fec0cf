/* Batch and group norm. x is [N, C, S]; what is normalised together, a pool, is a channel of all samples (groups = 0),
 * or a group of channels of a sample. A pool's planes (of S elements) stay in cache from pass to pass. */
#include "pullback.h"

#define GRAIN 8192

/* How many pools there are, how many planes each has, and how far the planes are apart. */
typedef struct {
    i64 pools, planes, step;
} cut;

static inline cut cut_of(i64 samples, i64 channels, i64 size, i64 groups) {
    if (groups == 0) return (cut){channels, samples, channels * size};
    return (cut){samples * groups, channels / groups, size};
}

static inline i64 begin_of(cut c, i64 pool, i64 size, i64 groups) { return pool * (groups ? c.planes : 1) * size; }

static inline i64 channel_of(cut c, i64 pool, i64 k, i64 groups) {
    return groups ? pool % groups * c.planes + k : pool;
}

#define X float
#define SUFFIX _f32
#include "channels.inc"
#undef X
#undef SUFFIX

#define X double
#define SUFFIX _f64
#include "channels.inc"
#undef X
#undef SUFFIX

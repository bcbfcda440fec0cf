/* The team of threads, and the call of a step from Python. */
#define _GNU_SOURCE
#include "pullback.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define MOST 64     /* threads */
#define SPINS 2000  /* looks before a waiting thread lets go of its core: some 30 microseconds */
#define YIELDS 200  /* ... and times that it lets others run, inside of a step, before it sleeps */

#if defined(__x86_64__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

typedef void (*step_function)(T *t, char **places, const i64 *numbers);

/* A place to wait: spin for a while, then sleep until the number changes. */
typedef struct {
    _Alignas(64) atomic_uint number;
    atomic_uint sleepers;
    pthread_mutex_t lock;
    pthread_cond_t changed;
} gate;

struct team {
    pthread_mutex_t busy;    /* one step at a time */
    i64 threads;             /* that have been started, and the one that calls */
    gate start, meet;        /* a new job, and for how many (the lowest 8 bits); everybody has come to a barrier */
    _Alignas(64) atomic_int here;
    _Alignas(64) atomic_llong fault_step;
    i64 fault_index;
    step_function step;
    char **places;
    const i64 *numbers;
};

static team the = {.busy = PTHREAD_MUTEX_INITIALIZER, .threads = 1,
                   .start = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER},
                   .meet = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}};

static void open_gate(gate *g, unsigned number) {
    atomic_store(&g->number, number);
    if (atomic_load(&g->sleepers)) {
        pthread_mutex_lock(&g->lock);
        pthread_cond_broadcast(&g->changed);
        pthread_mutex_unlock(&g->lock);
    }
}

static void wait_at(gate *g, unsigned seen, int yields) {
    for (int i = 0; i < SPINS + yields; i++) {
        if (atomic_load_explicit(&g->number, memory_order_acquire) != seen) return;
        if (i < SPINS) PAUSE();
        else sched_yield();
    }
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->number) == seen) pthread_cond_wait(&g->changed, &g->lock);
    atomic_fetch_sub(&g->sleepers, 1);
    pthread_mutex_unlock(&g->lock);
}

void pb_barrier(T *t) {
    team *all = t->team;
    unsigned seen = atomic_load(&all->meet.number);
    if (atomic_fetch_add(&all->here, 1) + 1 == t->count) {
        atomic_store(&all->here, 0);
        open_gate(&all->meet, seen + 1);
    } else {
        wait_at(&all->meet, seen, YIELDS);
    }
}

void pb_fault(T *t, i64 step, i64 index) {
    long long none = -1;
    if (atomic_compare_exchange_strong(&t->team->fault_step, &none, step)) t->team->fault_index = index;
}

bool pb_faulty(T *t) { return atomic_load(&t->team->fault_step) >= 0; }

static void *work(void *given) {
    i64 id = (intptr_t)given & 255;
    unsigned seen = (unsigned)((intptr_t)given >> 8);
    for (;;) {
        wait_at(&the.start, seen, 0);
        seen = atomic_load(&the.start.number);
        if (id < (seen & 255)) { /* else the job is too small for this thread, and may even be over */
            T t = {.id = id, .count = seen & 255, .team = &the};
            the.step(&t, the.places, the.numbers);
            pb_barrier(&t);
        }
    }
    return NULL;
}

/* After a fork there is one thread, and nobody waits anywhere. */
static void forked(void) {
    the.threads = 1;
    pthread_mutex_init(&the.busy, NULL);
    for (gate *g = &the.start;; g = &the.meet) {
        pthread_mutex_init(&g->lock, NULL);
        pthread_cond_init(&g->changed, NULL);
        atomic_store(&g->sleepers, 0);
        atomic_store(&g->number, 0);
        if (g == &the.meet) break;
    }
    atomic_store(&the.here, 0);
}

__attribute__((constructor)) static void begin(void) { pthread_atfork(NULL, NULL, forked); }

/* Run a step on `count` threads. Returns the number of the first step with an index out of range, or -1. */
KERNEL i64 pb_run(step_function step, char **places, const i64 *numbers, i64 count, i64 *index) {
    pthread_mutex_lock(&the.busy);
    count = MAX(1, MIN(count, MOST));
    while (the.threads < count) {
        pthread_t thread;
        intptr_t given = (intptr_t)atomic_load(&the.start.number) << 8 | the.threads;
        if (pthread_create(&thread, NULL, work, (void *)given)) break;
        pthread_detach(thread);
        the.threads++;
    }
    count = MIN(count, the.threads);
    atomic_store(&the.fault_step, -1);
    T t = {.id = 0, .count = count, .team = &the};
    if (count > 1) {
        the.step = step, the.places = places, the.numbers = numbers;
        open_gate(&the.start, ((atomic_load(&the.start.number) >> 8) + 1) << 8 | (unsigned)count);
    }
    step(&t, places, numbers);
    if (count > 1) pb_barrier(&t);
    i64 fault = atomic_load(&the.fault_step);
    *index = the.fault_index;
    pthread_mutex_unlock(&the.busy);
    return fault;
}

/* -- the call from Python ------------------------------------------------------------------------------------------- */

/* The beginning of Python's and NumPy's objects, as their C interfaces lay them down. Python checks that this holds. */
typedef struct { intptr_t references; void *type; } object;
typedef struct { object head; intptr_t size; object **items; } list;
typedef struct { object head; char *data; int ndim; intptr_t *shape, *strides; } array;

/* What a step is called with: where each place is, and what inputs must look like. */
typedef struct {
    step_function step;
    i64 threads, places, inputs, fault_index;
    char **table;            /* the address of each place; of those in arrays, filled in at each call */
    const i64 *source;       /* of each place: the input, or the number of inputs + the output, or -1 */
    const i64 *offset;       /* ... and bytes from its beginning */
    const i64 *numbers;      /* sizes and strides */
    const i64 *layout;       /* of each input: dimensions, shape, strides; -1 for what is no array */
    void *array_type;
} plan;

enum { DONE = -1, OTHER_LAYOUT = -2 };

KERNEL i64 pb_call(plan *p, list *inputs, list *outputs) {
    const i64 *layout = p->layout;
    for (i64 i = 0; i < p->inputs; i++) {
        i64 ndim = *layout++;
        if (ndim < 0) continue;
        array *x = (array *)inputs->items[i];
        if (x->head.type != p->array_type || x->ndim != ndim) return OTHER_LAYOUT - i;
        for (i64 d = 0; d < ndim; d++)
            if (x->shape[d] != layout[d] || (x->strides[d] != layout[ndim + d] && layout[d] > 1)) return OTHER_LAYOUT - i;
        layout += 2 * ndim;
    }
    for (i64 k = 0; k < p->places; k++) {
        i64 i = p->source[k];
        if (i < 0) continue;
        array *x = (array *)(i < p->inputs ? inputs->items[i] : outputs->items[i - p->inputs]);
        p->table[k] = x->data + p->offset[k];
    }
    return pb_run(p->step, p->table, p->numbers, p->threads, &p->fault_index);
}

/* Where an array's elements are: for Python to check the structures above. */
KERNEL char *pb_data(list *arrays, i64 i) { return ((array *)arrays->items[i])->data; }

/* Functions of one number, for loops: branches are choices, so that a compiler can do many elements at once. */
#ifndef PULLBACK_FUNCTIONS_H
#define PULLBACK_FUNCTIONS_H

#include "pullback.h"

static inline float abs_f32(float x) { return fabsf(x); }
static inline double abs_f64(double x) { return fabs(x); }
static inline int64_t abs_i64(int64_t x) { return x < 0 ? -x : x; }
static inline float sqrt_f32(float x) { return sqrtf(x); }
static inline double sqrt_f64(double x) { return sqrt(x); }
static inline float exp_f32(float x) { return expf(x); }
static inline double exp_f64(double x) { return exp(x); }
static inline float log_f32(float x) { return logf(x); }
static inline double log_f64(double x) { return log(x); }
static inline float tanh_f32(float x) { return tanhf(x); }
static inline double tanh_f64(double x) { return tanh(x); }
static inline float relu_f32(float x) { return x < 0 ? 0 : x; }
static inline double relu_f64(double x) { return x < 0 ? 0 : x; }
static inline float sigmoid_f32(float x) { return 1 / (1 + expf(-x)); }
static inline double sigmoid_f64(double x) { return 1 / (1 + exp(-x)); }

#endif

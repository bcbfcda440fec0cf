/* Functions of numbers, for loops: branches are choices, so that a compiler can do many elements at once.

   The error of each float function, in units in the last place, stands beside it; double ones have up to three. */
#ifndef PULLBACK_FUNCTIONS_H
#define PULLBACK_FUNCTIONS_H

#include "pullback.h"
#include <float.h>

/* a b + c: in one rounding where the processor can, else in two */
#if defined(__FMA__) || defined(__aarch64__)
static inline float mad_f32(float a, float b, float c) { return fmaf(a, b, c); }
static inline double mad_f64(double a, double b, double c) { return fma(a, b, c); }
#else
static inline float mad_f32(float a, float b, float c) { return a * b + c; }
static inline double mad_f64(double a, double b, double c) { return a * b + c; }
#endif

static inline int32_t bits_f32(float x) { int32_t i; memcpy(&i, &x, 4); return i; }
static inline int64_t bits_f64(double x) { int64_t i; memcpy(&i, &x, 8); return i; }
static inline float float_of(int32_t i) { float x; memcpy(&x, &i, 4); return x; }
static inline double double_of(int64_t i) { double x; memcpy(&x, &i, 8); return x; }
/* 2^n, -127 < n <= 127 */
static inline float pow2_f32(int32_t n) { return float_of((int32_t)((uint32_t)(n + 127) << 23)); }
static inline double pow2_f64(int64_t n) { return double_of((int64_t)((uint64_t)(n + 1023) << 52)); }

#define HORNER2(mad, x, a, b) mad(b, x, a)
#define HORNER3(mad, x, a, ...) mad(HORNER2(mad, x, __VA_ARGS__), x, a)
#define HORNER4(mad, x, a, ...) mad(HORNER3(mad, x, __VA_ARGS__), x, a)
#define HORNER5(mad, x, a, ...) mad(HORNER4(mad, x, __VA_ARGS__), x, a)
#define HORNER6(mad, x, a, ...) mad(HORNER5(mad, x, __VA_ARGS__), x, a)
#define HORNER7(mad, x, a, ...) mad(HORNER6(mad, x, __VA_ARGS__), x, a)
#define HORNER8(mad, x, a, ...) mad(HORNER7(mad, x, __VA_ARGS__), x, a)
#define HORNER11(mad, x, a, b, c, ...) mad(mad(mad(HORNER8(mad, x, __VA_ARGS__), x, c), x, b), x, a)
#define HORNER12(mad, x, a, ...) mad(HORNER11(mad, x, __VA_ARGS__), x, a)

/* -- float: exponentials ------------------------------------------------------------------------------------------- */

/* e^(r + low) - 1 for |r| <= log 2 / 2 and a small rest */
static inline float short_expm1_f32(float r, float low) {
    float s = r + low, p = HORNER5(mad_f32, s, 0.50000000952831514f, 0.16666518728001772f, 0.041666205474715877f,
                                   0.0083689027928130969f, 0.0013950513395884055f);
    return r + mad_f32(s * s, p, low);
}

/* x = n log 2 + r + low: adding 1.5 2^23 rounds to an integer, which then stands in the lowest bits; r is exact. */
#define REDUCED_F32(x, n, r, low) \
    float t_ = mad_f32(x, 1.44269504f, 12582912.0f), n_ = t_ - 12582912.0f; \
    int32_t n = bits_f32(t_) - 0x4b400000; \
    float r = mad_f32(n_, -0.693359375f, x), low = n_ * 2.12194440e-4f;

/* 0.9 ulp */
static inline float exp_f32(float x) {
    x = x > 89 ? 89 : x < -104 ? -104 : x;
    REDUCED_F32(x, n, r, low)
    int32_t half = n >> 1; /* in two steps: 2^n may be too large or too small */
    return (short_expm1_f32(r, low) + 1) * pow2_f32(half) * pow2_f32(n - half);
}

/* 1.6 ulp */
static inline float expm1_f32(float x) {
    float given = x;
    x = x > 89 ? 89 : x < -20 ? -20 : x;
    REDUCED_F32(x, n, r, low)
    float q = short_expm1_f32(r, low), s = pow2_f32(n - 1);
    return copysignf(n == 0 ? q : 2 * mad_f32(s, q, s - 0.5f), given);
}

/* 1.2 ulp */
static inline float exp2_f32(float x) {
    x = x > 129 ? 129 : x < -151 ? -151 : x;
    float t = x + 12582912.0f;
    int32_t n = bits_f32(t) - 0x4b400000, half = n >> 1;
    float r = (x - (t - 12582912.0f)) * 0.693147181f;
    return (short_expm1_f32(r, 0) + 1) * pow2_f32(half) * pow2_f32(n - half);
}

/* -- float: logarithms --------------------------------------------------------------------------------------------- */

/* log(1 + f) + n log 2 for -1/3 <= f <= 1/3 */
static inline float log_of_parts_f32(float f, float n) {
    float q = HORNER8(mad_f32, f, 0.33333223855193214f, -0.2499968873690376f, 0.20010043276912631f,
                      -0.1668546681958524f,
                      0.14010929970230394f, -0.12115109841102464f, 0.13962401800057216f, -0.13191733530162626f);
    float z = f * f, low = mad_f32(n, -2.12194440e-4f, mad_f32(z * f, q, -0.5f * z));
    return mad_f32(n, 0.693359375f, f + low);
}

/* 1 ulp */
static inline float log_f32(float x) {
    float s = x < FLT_MIN ? x * 8388608.0f : x, less = x < FLT_MIN ? -23.0f : 0.0f;
    int32_t i = bits_f32(s), n = (i - 0x3f2aaaab) >> 23; /* s = 2^n (1 + f), 2/3 <= 1 + f < 4/3 */
    float y = log_of_parts_f32(float_of(i - (int32_t)((uint32_t)n << 23)) - 1, (float)n + less);
    return x > 0 ? (x < INFINITY ? y : x) : x == 0 ? -INFINITY : NAN;
}

/* 1.6 ulp */
static inline float log1p_f32(float x) {
    float u = 1 + x, c = x < 1 ? x - (u - 1) : 1 - (u - x); /* what 1 + x lost */
    int32_t i = bits_f32(u), n = (i - 0x3f2aaaab) >> 23;
    float f = (float_of(i - (int32_t)((uint32_t)n << 23)) - 1) + c * pow2_f32(n > 100 ? -100 : n < -100 ? 100 : -n);
    float y = copysignf(log_of_parts_f32(f, (float)n), x);
    return x > -1 ? (x < INFINITY ? y : x) : x == -1 ? -INFINITY : NAN;
}

/* -- float: what is made of them ----------------------------------------------------------------------------------- */

/* 1.3 ulp */
static inline float tanh_f32(float x) {
    float a = fabsf(x), z = x * x;
    float p = HORNER5(mad_f32, z, -0.3333329927203802f, 0.13331958236920387f, -0.05378668294830366f,
                      0.020805382384069444f,
                      -0.0059058658622661124f);
    float low = mad_f32(a * z, p, a), high = 1 - 2 / (exp_f32(2 * a) + 1);
    return copysignf(a < 0.6f ? low : high, x);
}

/* 2.3 ulp: 1 / (1 + e^-x), with the exponential of -|x|, which cannot overflow */
static inline float sigmoid_f32(float x) {
    float e = exp_f32(-fabsf(x));
    return (x < 0 ? e : 1) / (1 + e);
}

/* 1.2 ulp */
static inline float erf_f32(float x) {
    float a = fabsf(x), z = x * x, b = a > 4 ? 4 : a;
    float p = HORNER6(mad_f32, z, 0.12837915531943605f, -0.3761253244657572f, 0.11282229971819259f,
                      -0.026781957204800115f,
                      0.0050162287309432299f, -0.00061112936101259688f);
    float q = HORNER8(mad_f32, b, -0.00016920383017707999f, 1.1294883997376934f, 0.63340086537485412f,
                      0.10822036690843895f,
                      -0.025080604616901629f, 0.0041562500888361629f, -0.00043139250139036486f, 2.0828520270238908e-5f);
    return copysignf(a < 0.9f ? mad_f32(a, p, a) : 1 - exp_f32(-q), x); /* q = -log erfc(a) */
}

/* -- double: exponentials and logarithms --------------------------------------------------------------------------- */

#define REDUCED_F64(x, n, r) \
    double t_ = mad_f64(x, 1.4426950408889634, 6755399441055744.0), n_ = t_ - 6755399441055744.0; \
    int64_t n = bits_f64(t_) - 0x4338000000000000; \
    double r = mad_f64(n_, -1.90821492927058770002e-10, mad_f64(n_, -0.69314718036912381649, x));

static inline double short_expm1_f64(double r) {
    double p = HORNER11(mad_f64, r, 0.5, 0.16666666666666677, 0.041666666666666701, 0.0083333333333216248,
                        0.0013888888888866854,
                        0.0001984126988613261, 2.4801587360523237e-5, 2.7557244210872975e-6, 2.7557242788863068e-7,
                        2.5109033889975808e-8, 2.0924434048357486e-9);
    return mad_f64(r * r, p, r);
}

static inline double exp_f64(double x) {
    x = x > 710 ? 710 : x < -746 ? -746 : x;
    REDUCED_F64(x, n, r)
    int64_t half = (int32_t)n >> 1;
    return (short_expm1_f64(r) + 1) * pow2_f64(half) * pow2_f64(n - half);
}

static inline double expm1_f64(double x) {
    double given = x;
    x = x > 710 ? 710 : x < -40 ? -40 : x;
    REDUCED_F64(x, n, r)
    double q = short_expm1_f64(r), s = pow2_f64(n - 1);
    return copysign(n == 0 ? q : 2 * mad_f64(s, q, s - 0.5), given);
}

/* With s = f / (2 + f): log(1 + f) = 2 artanh(s) = f - f^2/2 + s (f^2/2 + R(s^2)) */
static inline double log_of_parts_f64(double f, double n) {
    double s = f / (2 + f), z = s * s, h = 0.5 * f * f;
    double p = HORNER8(mad_f64, z, 0.66666666666666596, 0.40000000000056954, 0.28571428555767607, 0.22222224302878025,
                       0.18181665510875935, 0.15391123405479322, 0.13173412472804527, 0.13844273820417888);
    double low = mad_f64(s, mad_f64(z, p, h), n * 1.90821492927058770002e-10);
    return mad_f64(n, 0.69314718036912381649, f - (h - low));
}

static inline double log_f64(double x) {
    double s = x < DBL_MIN ? x * 4503599627370496.0 : x, less = x < DBL_MIN ? -52.0 : 0.0;
    int64_t i = bits_f64(s);
    int32_t n = ((int32_t)((uint64_t)i >> 32) - 0x3fe55555) >> 20;
    double y = log_of_parts_f64(double_of(i - (int64_t)((uint64_t)(int64_t)n << 52)) - 1, (double)n + less);
    return x > 0 ? (x < INFINITY ? y : x) : x == 0 ? -INFINITY : NAN;
}

static inline double log1p_f64(double x) {
    double u = 1 + x, c = x < 1 ? x - (u - 1) : 1 - (u - x);
    int64_t i = bits_f64(u);
    int32_t n = ((int32_t)((uint64_t)i >> 32) - 0x3fe55555) >> 20;
    double f = (double_of(i - (int64_t)((uint64_t)(int64_t)n << 52)) - 1) + c * pow2_f64(n > 1000 ? -1000 : -n);
    double y = copysign(log_of_parts_f64(f, (double)n), x);
    return x > -1 ? (x < INFINITY ? y : x) : x == -1 ? -INFINITY : NAN;
}

static inline double tanh_f64(double x) {
    double a = fabs(x), t = expm1_f64(2 * (a > 20 ? 20 : a));
    return copysign(t / (t + 2), x);
}

static inline double sigmoid_f64(double x) {
    double e = exp_f64(-fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static inline double exp2_f64(double x) { return exp2(x); }
static inline double log2_f64(double x) { return log2(x); }
static inline double log10_f64(double x) { return log10(x); }
static inline double erf_f64(double x) { return erf(x); }
static inline double erfc_f64(double x) { return erfc(x); }
static inline double sin_f64(double x) { return sin(x); }
static inline double cos_f64(double x) { return cos(x); }
static inline double tan_f64(double x) { return tan(x); }
static inline double asin_f64(double x) { return asin(x); }
static inline double acos_f64(double x) { return acos(x); }
static inline double atan_f64(double x) { return atan(x); }
static inline double atan2_f64(double x, double y) { return atan2(x, y); }
static inline double sinh_f64(double x) { return sinh(x); }
static inline double cosh_f64(double x) { return cosh(x); }
static inline double asinh_f64(double x) { return asinh(x); }
static inline double acosh_f64(double x) { return acosh(x); }
static inline double atanh_f64(double x) { return atanh(x); }
static inline double pow_f64(double x, double y) { return pow(x, y); }
static inline double hypot_f64(double x, double y) { return hypot(x, y); }
static inline double lgamma_f64(double x) { return x == -INFINITY ? INFINITY : lgamma(x); }

/* -- float, computed in double: the last rounding is all of the error (0.51 ulp) ----------------------------------- */

static inline float log2_f32(float x) { return (float)(log_f64(x) * 1.4426950408889634); }
static inline float log10_f32(float x) { return (float)(log_f64(x) * 0.43429448190325183); }

static inline float sinh_f32(float x) {
    double a = x, e = exp_f64(a), z = a * a;
    double low = mad_f64(a * z, HORNER3(mad_f64, z, 1.0 / 6, 1.0 / 120, 1.0 / 5040), a);
    return copysignf((float)(fabs(a) < 0.1 ? low : (e - 1 / e) / 2), x);
}

static inline float cosh_f32(float x) {
    double e = exp_f64(x);
    return (float)((e + 1 / e) / 2);
}

static inline float asinh_f32(float x) {
    double a = fabs((double)x), y = log1p_f64(a + a * a / (1 + sqrt(mad_f64(a, a, 1))));
    return copysignf((float)(a < INFINITY ? y : a), x);
}

static inline float acosh_f32(float x) {
    double d = (double)x - 1, y = log1p_f64(d + sqrt(d * (d + 2)));
    return x >= 1 ? (float)y : NAN;
}

static inline float atanh_f32(float x) {
    double a = fabs((double)x);
    return copysignf((float)(a == 1 ? INFINITY : 0.5 * log1p_f64(2 * a / (1 - a))), x);
}

/* e^(-x^2) times a polynomial in (x - 2) / (x + 2), over 1 + 2x; x^2 is exact */
static inline float erfc_f32(float x) {
    double a = fabs((double)x), z = a * a, b = a > 10.2 ? 10.2 : a, t = (b - 2) / (b + 2);
    double p = HORNER7(mad_f64, z, 1.1283791668020966, -0.37612635310461883, 0.11283719723789297, -0.02686075283901774,
                       0.0052044360784838616, -0.00081819277630527179, 8.5388408299071198e-5);
    double q = HORNER12(mad_f64, t, 1.276978381569859, -0.092763825366937312, -0.16603040079096657, 0.16405120605209951,
                        -0.054219906562973693, -0.0080327376486304596, 0.0087216299827193201, 0.0012619680596406999,
                        -0.0014519210673447446, -0.00042134553941025557, 0.00019678759943495149, 9.5940045892260902e-5);
    double tail = exp_f64(-b * b) * q / mad_f64(b, 2, 1);
    return (float)(a < 0.5 ? 1 - x * p : x < 0 ? 2 - tail : tail);
}

/* -- float: angles ------------------------------------------------------------------------------------------------- */

/* a = n pi/2 + r, |r| <= pi/4, for 0 <= a < 10^6; adding 1.5 2^52 rounds to an integer */
static inline double near_turns_f32(float a, int32_t *n) {
    double t = mad_f64((double)a, 0.63661977236758138, 6755399441055744.0), turns = t - 6755399441055744.0;
    *n = (int32_t)bits_f64(t);
    return ((double)a - turns * 1.57079632673412561417) - turns * 6.07710050650619224932e-11; /* the first is exact */
}

/* The same for |x| of any size. Large x are whole numbers m 2^k, m < 2^24: of 2/pi only the bits matter that do not
   make multiples of four in m 2^k 2/pi; the fraction stands in the lower 62 bits of their product with m. */
static inline double quarter_turns_f32(float x, int32_t *n) {
    static const uint32_t two_over_pi[8] = {0,          0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                            0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
    float a = fabsf(x);
    int32_t i = bits_f32(a), shift = (i >> 23) - 150 + 30; /* to the first bit that matters */
    shift = shift < 0 ? 0 : shift > 134 ? 134 : shift;
    uint64_t m = (uint64_t)((i & 0x7fffff) | 0x800000);
    int32_t word = shift >> 5, bit = shift & 31;
    uint64_t first = two_over_pi[word], second = two_over_pi[word + 1];
    uint64_t third = two_over_pi[word + 2], fourth = two_over_pi[word + 3];
    uint64_t high = (first << 32 | second) << bit | (third << bit) >> 32;
    uint64_t low = ((third << 32 | fourth) << bit) >> 32;
    uint64_t product = m * high + ((m * low) >> 32); /* in units of 2^-62 */
    uint64_t rounded = product + ((uint64_t)1 << 61);
    int64_t fraction = (int64_t)(product - (rounded & ((uint64_t)3 << 62)));
    double r_large = (double)fraction * 3.4061215800304222e-19; /* pi/2 2^-62 */
    int32_t n_large = (int32_t)(rounded >> 62);
    int32_t n_small;
    double r_small = near_turns_f32(a, &n_small);
    *n = a < 1e6f ? n_small : n_large;
    return a < 1e6f ? r_small : a < INFINITY ? r_large : NAN;
}

static inline double short_sin(double r) {
    double z = r * r;
    return mad_f64(r * z, HORNER4(mad_f64, z, -0.16666666641626887, 0.0083333293859250503, -0.00019839334847970711,
                                  2.7183116141980278e-6), r);
}

static inline double short_cos(double r) {
    double z = r * r;
    double p = HORNER4(mad_f64, z, 0.041666666622828204, -0.0013888883753427096, 2.4799520014009001e-5,
                       -2.7210238244469844e-7);
    return mad_f64(z * z, p, mad_f64(z, -0.5, 1));
}

/* 0.51 ulp */
static inline float sin_f32(float x) {
    int32_t n;
    double r = quarter_turns_f32(x, &n), y = n & 1 ? short_cos(r) : short_sin(r);
    y = n & 2 ? -y : y;
    return (float)(x < 0 ? -y : x == 0 ? x : y);
}

/* 0.51 ulp */
static inline float cos_f32(float x) {
    int32_t n;
    double r = quarter_turns_f32(x, &n), y = n & 1 ? short_sin(r) : short_cos(r);
    return (float)((n + 1) & 2 ? -y : y);
}

/* 0.51 ulp */
static inline float tan_f32(float x) {
    int32_t n;
    double r = quarter_turns_f32(x, &n), s = short_sin(r), c = short_cos(r), y = n & 1 ? -c / s : s / c;
    return (float)(x < 0 ? -y : x == 0 ? x : y);
}

/* The angle of the point (x, y), y >= 0, in double arithmetic to 34 bits; of (0, 0) it is 0. */
static inline double angle(double y, double x) {
    double a = fabs(x), large = a > y ? a : y, small = a > y ? y : a;
    double q = small == large ? (large == 0 ? 0 : 1) : small / large, z = q * q;
    double p = HORNER11(mad_f64, z, -0.33333332235321693, 0.19999932197653849, -0.14284250869639258,
                        0.11095202485399842,
                        -0.089887922351918439, 0.072693847582948726, -0.054704497211881982, 0.034704671643919875,
                        -0.016471468434856881, 0.004999322201727575, -0.00071130586977562602);
    double t = mad_f64(q * z, p, q);
    t = y > a ? 1.5707963267948966 - t : t;
    return bits_f64(x) < 0 ? 3.1415926535897931 - t : t;
}

/* 0.51 ulp */
static inline float atan2_f32(float y, float x) {
    float t = copysignf((float)angle(fabs((double)y), x), y);
    return x != x || y != y ? NAN : t;
}

static inline float atan_f32(float x) { return x != x ? x : copysignf((float)angle(fabs((double)x), 1), x); }
static inline float asin_f32(float x) {
    double a = fabs((double)x);
    return a <= 1 ? copysignf((float)angle(a, sqrt((1 - a) * (1 + a))), x) : NAN;
}
static inline float acos_f32(float x) {
    double a = x;
    return fabs(a) <= 1 ? (float)angle(sqrt((1 - a) * (1 + a)), a) : NAN;
}

/* -- powers -------------------------------------------------------------------------------------------------------- */

/* e^(y log |x|) in double (0.51 ulp), with the sign of x if y is odd; what C's pow says of 0, 1, Inf and NaN */
static inline float pow_f32(float x, float y) {
    double a = fabs((double)x), b = y, v = exp_f64(b * log_f64(a)), half = 0.5 * b;
    bool whole = rint(b) == b, odd = whole && rint(half) != half;
    v = a == 1 && y == y ? 1 : v;
    v = x < 0 && a < INFINITY && !whole ? NAN : v;
    v = (odd && signbit(x)) ? -v : v;
    return x == 1 || y == 0 ? 1 : x != x || y != y ? NAN : (float)v;
}

/* By squaring, modulo 2^64. A negative exponent gives 1 / x^-y rounded towards zero: 0, but for x = 1 and x = -1. */
static inline int64_t pow_i64(int64_t x, int64_t y) {
    uint64_t power = 1, square = (uint64_t)x;
    for (int64_t n = y; n > 0; n >>= 1) {
        power *= n & 1 ? square : 1;
        square *= square;
    }
    return y >= 0 ? (int64_t)power : x == 1 ? 1 : x == -1 ? 1 - 2 * (y & 1) : 0;
}

static inline float hypot_f32(float x, float y) {
    float h = (float)sqrt(mad_f64((double)x, x, (double)y * y));
    return fabsf(x) == INFINITY || fabsf(y) == INFINITY ? INFINITY : h;
}

static inline float lgamma_f32(float x) { return (float)lgamma_f64(x); }

/* -- whole numbers ------------------------------------------------------------------------------------------------- */

static inline int64_t abs_i64(int64_t x) { return x < 0 ? (int64_t)(0 - (uint64_t)x) : x; }
static inline int64_t sign_i64(int64_t x) { return (x > 0) - (x < 0); }
static inline int64_t max_i64(int64_t x, int64_t y) { return x >= y ? x : y; }
static inline int64_t min_i64(int64_t x, int64_t y) { return x <= y ? x : y; }

/* The quotient of whole numbers, rounded towards zero; nothing traps: x / 0 is 0, and -2^63 / -1 is -2^63. */
static inline int64_t trunc_divide_i64(int64_t x, int64_t y) {
    return y == 0 ? 0 : y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
}
static inline int64_t fmod_i64(int64_t x, int64_t y) { return y == 0 || y == -1 ? 0 : x % y; }
static inline int64_t remainder_i64(int64_t x, int64_t y) {
    int64_t m = fmod_i64(x, y);
    return m != 0 && (m < 0) != (y < 0) ? m + y : m;
}
static inline int64_t floor_divide_i64(int64_t x, int64_t y) {
    int64_t m = fmod_i64(x, y);
    return (int64_t)((uint64_t)trunc_divide_i64(x, y) - (m != 0 && (m < 0) != (y < 0)));
}

/* Shifts by as many bits as there are, or more, or by a negative number, leave nothing (or the sign). */
static inline int64_t left_shift(int64_t x, int64_t y, int64_t bits) {
    return (uint64_t)y < (uint64_t)bits ? (int64_t)((uint64_t)x << (y & 63)) : 0;
}
static inline int64_t right_shift(int64_t x, int64_t y, int64_t bits) {
    return x >> ((uint64_t)y < (uint64_t)bits ? y & 63 : 63);
}

/* |x - y| <= atol + rtol |y|; at an infinite distance nothing is near */
static inline int near(double x, double y, double rtol, double atol) {
    double far = fabs(x - y);
    return (far < INFINITY) & (far <= atol + fabs(rtol * y));
}

/* -- the rest, for float and for double ---------------------------------------------------------------------------- */

#define LIBM(name) name##f
#define F(name) name##_f32
#define REAL float
#include "formulas.h"
#undef LIBM
#undef F
#undef REAL
#define LIBM(name) name
#define F(name) name##_f64
#define REAL double
#include "formulas.h"
#undef LIBM
#undef F
#undef REAL

#endif

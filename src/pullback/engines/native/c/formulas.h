/* Functions that are written the same for float and double: F(name) is name_f32 or name_f64. */

static inline REAL F(abs)(REAL x) { return LIBM(fabs)(x); }
static inline REAL F(sqrt)(REAL x) { return LIBM(sqrt)(x); }
static inline REAL F(floor)(REAL x) { return LIBM(floor)(x); }
static inline REAL F(ceil)(REAL x) { return LIBM(ceil)(x); }
static inline REAL F(trunc)(REAL x) { return LIBM(trunc)(x); }
static inline REAL F(rint)(REAL x) { return LIBM(rint)(x); }
static inline REAL F(copysign)(REAL x, REAL y) { return LIBM(copysign)(x, y); }
static inline REAL F(sign)(REAL x) { return (REAL)((x > 0) - (x < 0)); }

/* NaN wins in max and min, and loses in fmax and fmin. */
static inline REAL F(max)(REAL x, REAL y) { return x >= y || x != x ? x : y; }
static inline REAL F(min)(REAL x, REAL y) { return x <= y || x != x ? x : y; }
static inline REAL F(fmax)(REAL x, REAL y) { return x >= y || y != y ? x : y; }
static inline REAL F(fmin)(REAL x, REAL y) { return x <= y || y != y ? x : y; }

/* -- division with a whole quotient -------------------------------------------------------------------------------- */

static inline REAL F(fmod)(REAL x, REAL y) { return LIBM(fmod)(x, y); }
static inline REAL F(trunc_divide)(REAL x, REAL y) { return LIBM(trunc)(x / y); }

/* x - y floor(x / y), with the sign of y */
static inline REAL F(remainder)(REAL x, REAL y) {
    REAL m = LIBM(fmod)(x, y), moved = m != 0 && (m < 0) != (y < 0) ? m + y : m;
    return y == 0 ? m : m == 0 ? LIBM(copysign)(0, y) : moved;
}

/* From the remainder, so that both fit together; the quotient is then a whole number but for rounding. */
static inline REAL F(floor_divide)(REAL x, REAL y) {
    REAL m = LIBM(fmod)(x, y), q = (x - m) / y;
    q = m != 0 && (m < 0) != (y < 0) ? q - 1 : q;
    REAL whole = LIBM(floor)(q);
    whole = q - whole > (REAL)0.5 ? whole + 1 : whole;
    return y == 0 ? x / y : q == 0 ? LIBM(copysign)(0, x / y) : whole;
}

/* -- logarithms of sums -------------------------------------------------------------------------------------------- */

static inline REAL F(softplus)(REAL x) { return F(log1p)(F(exp)(x)); }

static inline REAL F(logaddexp)(REAL x, REAL y) {
    REAL far = LIBM(fabs)(x - y);
    return x == y ? x + (REAL)0.69314718055994531 : F(max)(x, y) + F(log1p)(F(exp)(-far));
}

static inline REAL F(logaddexp2)(REAL x, REAL y) {
    REAL far = LIBM(fabs)(x - y);
    return x == y ? x + 1 : F(max)(x, y) + F(log1p)(F(exp2)(-far)) * (REAL)1.4426950408889634;
}

static inline REAL F(logsigmoid)(REAL x) { return F(min)(x, 0) - F(log1p)(F(exp)(-LIBM(fabs)(x))); }
static inline REAL F(xlogy)(REAL x, REAL y) { return x == 0 && y == y ? 0 : x * F(log)(y); }
static inline REAL F(xlog1py)(REAL x, REAL y) { return x == 0 && y == y ? 0 : x * F(log1p)(y); }
static inline REAL F(entr)(REAL x) { return x > 0 ? -x * F(log)(x) : x < 0 ? -INFINITY : x * 0; }
static inline REAL F(logit)(REAL x) { return F(log)(x / (1 - x)); }

/* -- activations --------------------------------------------------------------------------------------------------- */

static inline REAL F(silu)(REAL x) { return x / (1 + F(exp)(-x)); }

/* s (1 + x (1 - s)), s = sigmoid(x) */
static inline REAL F(silu_slope)(REAL x) {
    REAL s = 1 / (1 + F(exp)(-x));
    return ((1 - s) * x + 1) * s;
}

/* tanh(sqrt(2/pi) (x + 0.044715 x^3)) */
static inline REAL F(gelu_inner)(REAL x) {
    return F(tanh)((x * x * (REAL)(0.79788456080286541 * 0.044715) + (REAL)0.79788456080286541) * x);
}

static inline REAL F(gelu_tanh)(REAL x) { return (F(gelu_inner)(x) + 1) * x * (REAL)0.5; }
static inline REAL F(gelu)(REAL x) { return (F(erf)(x * (REAL)0.70710678118654757) + 1) * x * (REAL)0.5; }

/* (1 + t)/2 + x (1 - t^2)/2 sqrt(2/pi) (1 + 3 * 0.044715 x^2) */
static inline REAL F(gelu_tanh_slope)(REAL x) {
    REAL t = F(gelu_inner)(x);
    REAL inner = x * x * (REAL)(3 * 0.044715 * 0.79788456080286541 / 2) + (REAL)(0.79788456080286541 / 2);
    REAL bend = inner * x * (1 - t * t);
    return bend + (t + 1) * (REAL)0.5;
}

/* Phi(x) + x phi(x), the normal distribution and its density */
static inline REAL F(gelu_slope)(REAL x) {
    REAL density = F(exp)(x * x * (REAL)-0.5) * x * (REAL)0.3989422804014327;
    return density + (F(erf)(x * (REAL)0.70710678118654757) + 1) * (REAL)0.5;
}

static inline REAL F(mish)(REAL x) { return x * F(tanh)(F(softplus)(x)); }

/* t + x s (1 - t^2), t = tanh(log(1 + e^x)), s = sigmoid(x) */
static inline REAL F(mish_slope)(REAL x) {
    REAL e = F(exp)(x), t = F(tanh)(F(log1p)(e)), s = 1 / (1 + F(exp)(-x));
    return t + x * s * (1 - t * t);
}

static inline REAL F(sinc)(REAL x) {
    REAL angle = x * (REAL)3.1415926535897931;
    return x == 0 ? 1 : F(sin)(angle) / angle;
}

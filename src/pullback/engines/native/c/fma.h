/* FMA_f32(a, b, c) and FMA_f64: a b + c, rounded once, of vectors of FMA_WIDTH bytes. GCC's own names are used where
   it compiles, for it takes longer to read <immintrin.h> than to compile a product of matrices. */
#ifndef PULLBACK_FMA_H
#define PULLBACK_FMA_H

#if defined(__AVX512F__)
#define FMA_WIDTH 64
#elif defined(__FMA__)
#define FMA_WIDTH 32
#else
#define FMA_WIDTH 16
#endif

typedef float fma_f32 __attribute__((vector_size(FMA_WIDTH), may_alias));
typedef double fma_f64 __attribute__((vector_size(FMA_WIDTH), may_alias));

#if defined(__AVX512F__) && defined(__clang__)
#include <immintrin.h>
#define FMA_f32(a, b, c) ((fma_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FMA_f64(a, b, c) ((fma_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#elif defined(__AVX512F__)
#define FMA_f32(a, b, c) __builtin_ia32_vfmaddps512_mask((fma_f32)(a), (fma_f32)(b), (fma_f32)(c), -1, 4)
#define FMA_f64(a, b, c) __builtin_ia32_vfmaddpd512_mask((fma_f64)(a), (fma_f64)(b), (fma_f64)(c), -1, 4)
#elif defined(__FMA__) && defined(__clang__)
#include <immintrin.h>
#define FMA_f32(a, b, c) ((fma_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FMA_f64(a, b, c) ((fma_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#elif defined(__FMA__)
#define FMA_f32(a, b, c) __builtin_ia32_vfmaddps256((fma_f32)(a), (fma_f32)(b), (fma_f32)(c))
#define FMA_f64(a, b, c) __builtin_ia32_vfmaddpd256((fma_f64)(a), (fma_f64)(b), (fma_f64)(c))
#elif defined(__aarch64__)
#include <arm_neon.h>
#define FMA_f32(a, b, c) ((fma_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FMA_f64(a, b, c) ((fma_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#else
#define FMA_f32(a, b, c) ((a) * (b) + (c))
#define FMA_f64(a, b, c) ((a) * (b) + (c))
#endif

#endif

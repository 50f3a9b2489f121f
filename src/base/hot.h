/* hot.h: loops over many numbers, compiled for wide registers too where the machine has them. */
#ifndef BASE_HOT_H
#define BASE_HOT_H

/* Before a function that is little more than such a loop. No contraction of a product and a sum
 * into one rounding: results are the same with either. */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__OPTIMIZE__) && \
    !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HOT __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define HOT
#endif

#endif

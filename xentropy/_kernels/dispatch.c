/* The choice of the instruction set. Each one that was compiled in has two tables of kernels, for float and double. */
#include "kernels.h"

#include <string.h>

#define TABLES(isa) extern const xe_kernels xe_kernels_float_##isa, xe_kernels_double_##isa;
TABLES(baseline)
#ifdef XE_HAVE_AVX2
TABLES(avx2)
#endif
#ifdef XE_HAVE_AVX512
TABLES(avx512)
#endif

/* __builtin_cpu_supports also asks whether the operating system saves the registers. */
#ifdef XE_HAVE_AVX512
static int has_avx512(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
#endif
#ifdef XE_HAVE_AVX2
static int has_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}
#endif

static int always(void)
{
    return 1;
}

static const struct {
    const char *name;
    int (*is_available)(void);
    const xe_kernels *of_float, *of_double;
} sets[] = {
#ifdef XE_HAVE_AVX512
    {"avx512", has_avx512, &xe_kernels_float_avx512, &xe_kernels_double_avx512},
#endif
#ifdef XE_HAVE_AVX2
    {"avx2", has_avx2, &xe_kernels_float_avx2, &xe_kernels_double_avx2},
#endif
    {"baseline", always, &xe_kernels_float_baseline, &xe_kernels_double_baseline},
};

enum { N_SETS = sizeof sets / sizeof *sets };
static int chosen = N_SETS - 1;

const char *xe_isa_name(int isa)
{
    return isa < 0 || isa >= N_SETS ? NULL : sets[isa].name;
}

int xe_isa_is_available(int isa)
{
    return sets[isa].is_available();
}

int xe_choose_isa(const char *name)
{
    for (int i = 0; i < N_SETS; i++)
        if ((!name || !strcmp(name, sets[i].name)) && sets[i].is_available()) return chosen = i;
    return -1;
}

int xe_has_slow_last_cache(void)
{
#ifdef XE_HAVE_AVX512
    return has_avx512() && __builtin_cpu_is("intel");
#else
    return 0;
#endif
}

const xe_kernels *xe_kernels_of(int is_float)
{
    return is_float ? sets[chosen].of_float : sets[chosen].of_double;
}

#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)
const char *xe_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "msvc " TEXT(_MSC_VER);
#else
    return "unknown";
#endif
}

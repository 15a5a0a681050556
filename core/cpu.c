#include "core/cpu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>

static const char *const names[ATR_ISA_LEVELS] = {
    [ATR_ISA_PORTABLE] = "portable",       [ATR_ISA_AVX2] = "avx2", [ATR_ISA_AVX512] = "avx512",
    [ATR_ISA_AVX512_BF16] = "avx512_bf16", [ATR_ISA_AMX] = "amx",
};

#if defined(__x86_64__)

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* AMX needs the instructions and, since its tiles make signal frames large, a permission that the process asks for. Asking
 * twice does no harm. */
static bool amx_allowed(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25, ALL = AMX_BF16 | AMX_TILE | AMX_INT8 };
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx & ALL) != ALL)
        return false;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

atr_isa atr_isa_detected(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
        return ATR_ISA_PORTABLE;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512cd"))
        return ATR_ISA_AVX2;
    if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512bf16"))
        return ATR_ISA_AVX512;
    return amx_allowed() ? ATR_ISA_AMX : ATR_ISA_AVX512_BF16;
}

#else

atr_isa atr_isa_detected(void)
{
    return ATR_ISA_PORTABLE;
}

#endif

const char *atr_isa_name(atr_isa level)
{
    return (unsigned)level < ATR_ISA_LEVELS ? names[level] : "unknown";
}

static bool find_level(const char *name, atr_isa *out)
{
    for (int i = 0; i < ATR_ISA_LEVELS; i++)
        if (strcasecmp(name, names[i]) == 0) {
            *out = (atr_isa)i;
            return true;
        }
    return false;
}

atr_status atr_isa_parse(const char *name, atr_isa *out)
{
    if (find_level(name, out))
        return ATR_OK;
    return atr_fail(ATR_ERR_USAGE,
                    "no instruction set '%.40s'; there are portable, avx2, avx512, avx512_bf16, amx", name);
}

atr_status atr_isa_check(void)
{
    const char *cap = getenv("ATR_ISA");
    atr_isa level = ATR_ISA_PORTABLE;

    if (cap == NULL || *cap == '\0')
        return ATR_OK;
    return atr_fail_prefix(atr_isa_parse(cap, &level), "environment variable ATR_ISA");
}

static pthread_once_t level_once = PTHREAD_ONCE_INIT;
static atr_isa level_found;

static void find_level_once(void)
{
    const char *cap = getenv("ATR_ISA");
    atr_isa most = ATR_ISA_AMX;

    if (cap != NULL)
        find_level(cap, &most);
    level_found = atr_isa_detected();
    if (most < level_found)
        level_found = most;
}

atr_isa atr_isa_level(void)
{
    pthread_once(&level_once, find_level_once);
    return level_found;
}

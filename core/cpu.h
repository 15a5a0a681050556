#ifndef ATR_CORE_CPU_H
#define ATR_CORE_CPU_H

#include "core/status.h"

/* What instructions kernels may use. Each level includes the ones before it. The environment variable ATR_ISA caps it, so
 * that one machine can test and time every path. */

typedef enum atr_isa {
    ATR_ISA_PORTABLE,    /* what the compiler assumes */
    ATR_ISA_AVX2,        /* AVX2, FMA, F16C */
    ATR_ISA_AVX512,      /* AVX-512 F, BW, DQ, VL, CD */
    ATR_ISA_AVX512_BF16, /* and VNNI, BF16 */
    ATR_ISA_AMX,         /* and AMX tiles with BF16 and INT8, allowed by the kernel for this process */
    ATR_ISA_LEVELS
} atr_isa;

/* What machine and operating system can do, whatever the environment says. */
atr_isa atr_isa_detected(void);

/* The level to use: the detected one, capped by ATR_ISA. Found once, at the first call; from any thread. A name in ATR_ISA
 * that does not exist caps nothing; a program reports it by atr_isa_check(). */
atr_isa atr_isa_level(void);

/* ATR_ERR_USAGE when ATR_ISA holds no level's name. */
atr_status atr_isa_check(void);

/* "portable", "avx2", "avx512", "avx512_bf16", "amx". */
const char *atr_isa_name(atr_isa level);
/* ATR_ERR_USAGE names the levels there are. */
atr_status atr_isa_parse(const char *name, atr_isa *out);

#endif

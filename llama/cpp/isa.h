// Which instruction sets this program was compiled for, and which of them the processor has.
#ifndef AIM_ISA_H
#define AIM_ISA_H

#ifdef __cplusplus
extern "C" {
#endif

// aim_isa tells of the i-th instruction set that is known here: its name, whether the compiler was allowed to use it, and
// whether processor and operating system offer it. The name is NULL from the first i on that is too large.
const char *aim_isa(int i, int *built, int *has);

#ifdef __cplusplus
}
#endif

#endif

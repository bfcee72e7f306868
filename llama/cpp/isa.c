// What this program was compiled for, and whether the processor has it. llama.cpp's constructors are compiled with the same
// flags as its kernels: on the wrong processor the program would end with an illegal instruction before main, and say nothing.
// The constructor here comes before them and says it. Only here: a back end that is loaded at run time asks for itself.

#include "isa.h"

#include <stdint.h>
#include <string.h>
#include <unistd.h>

// BUILT(m) is 1 where the compiler defines the macro m, as 1, and 0 where it does not.
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define BUILT(m) (sizeof(TEXT(m)) == sizeof("1"))

struct isa {
    const char *name;
    int built, place, bit;
    uint32_t state;
};

#if defined(__x86_64__)

#include <cpuid.h>

// Nothing of what is asked for may be used to ask for it.
#define PLAIN __attribute__((target("no-avx,no-sse3,no-bmi,no-bmi2,no-lzcnt,no-popcnt,no-movbe"), noinline))

// The registers in which the processor tells of a feature; their order is that of read_places.
enum { L1_ECX, L7_EBX, L7_ECX, L7_EDX, L7_1_EAX, X1_ECX, PLACES };

// What the operating system must save for each thread, as bits of XCR0: nothing, AVX's registers, AVX-512's.
enum { ANY = 0, YMM = 0x06, ZMM = 0xe6 };

// The bits are those of Intel's Software Developer's Manual, volume 2A, CPUID.
static const struct isa table[] = {
    {"SSE3", BUILT(__SSE3__), L1_ECX, 0, ANY},
    {"SSSE3", BUILT(__SSSE3__), L1_ECX, 9, ANY},
    {"SSE4.1", BUILT(__SSE4_1__), L1_ECX, 19, ANY},
    {"SSE4.2", BUILT(__SSE4_2__), L1_ECX, 20, ANY},
    {"POPCNT", BUILT(__POPCNT__), L1_ECX, 23, ANY},
    {"MOVBE", BUILT(__MOVBE__), L1_ECX, 22, ANY},
    {"LZCNT", BUILT(__LZCNT__), X1_ECX, 5, ANY},
    {"BMI", BUILT(__BMI__), L7_EBX, 3, ANY},
    {"BMI2", BUILT(__BMI2__), L7_EBX, 8, ANY},
    {"AVX", BUILT(__AVX__), L1_ECX, 28, YMM},
    {"F16C", BUILT(__F16C__), L1_ECX, 29, YMM},
    {"FMA", BUILT(__FMA__), L1_ECX, 12, YMM},
    {"AVX2", BUILT(__AVX2__), L7_EBX, 5, YMM},
    {"AVX-VNNI", BUILT(__AVXVNNI__), L7_1_EAX, 4, YMM},
    {"GFNI", BUILT(__GFNI__), L7_ECX, 8, ANY},
    {"VAES", BUILT(__VAES__), L7_ECX, 9, YMM},
    {"AVX512F", BUILT(__AVX512F__), L7_EBX, 16, ZMM},
    {"AVX512DQ", BUILT(__AVX512DQ__), L7_EBX, 17, ZMM},
    {"AVX512CD", BUILT(__AVX512CD__), L7_EBX, 28, ZMM},
    {"AVX512BW", BUILT(__AVX512BW__), L7_EBX, 30, ZMM},
    {"AVX512VL", BUILT(__AVX512VL__), L7_EBX, 31, ZMM},
    {"AVX512-IFMA", BUILT(__AVX512IFMA__), L7_EBX, 21, ZMM},
    {"AVX512-VBMI", BUILT(__AVX512VBMI__), L7_ECX, 1, ZMM},
    {"AVX512-VBMI2", BUILT(__AVX512VBMI2__), L7_ECX, 6, ZMM},
    {"AVX512-VNNI", BUILT(__AVX512VNNI__), L7_ECX, 11, ZMM},
    {"AVX512-BITALG", BUILT(__AVX512BITALG__), L7_ECX, 12, ZMM},
    {"AVX512-VPOPCNTDQ", BUILT(__AVX512VPOPCNTDQ__), L7_ECX, 14, ZMM},
    {"AVX512-BF16", BUILT(__AVX512BF16__), L7_1_EAX, 5, ZMM},
    {"AVX512-FP16", BUILT(__AVX512FP16__), L7_EDX, 23, ZMM},
};

PLAIN static uint32_t read_places(uint32_t place[PLACES]) {
    uint32_t a, b, c, d, max, xcr0 = 0;
    for (int i = 0; i < PLACES; i++) {
        place[i] = 0;
    }
    __cpuid(0, max, b, c, d);
    __cpuid(1, a, b, c, d);
    place[L1_ECX] = c;
    if (c & (1u << 27)) { // the operating system lets programs read XCR0
        __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(d) : "c"(0));
    }
    if (max >= 7) {
        uint32_t last;
        __cpuid_count(7, 0, last, b, c, d);
        place[L7_EBX] = b;
        place[L7_ECX] = c;
        place[L7_EDX] = d;
        if (last >= 1) {
            __cpuid_count(7, 1, a, b, c, d);
            place[L7_1_EAX] = a;
        }
    }
    __cpuid(0x80000000u, max, b, c, d);
    if (max >= 0x80000001u) {
        __cpuid(0x80000001u, a, b, c, d);
        place[X1_ECX] = c;
    }
    return xcr0;
}

PLAIN static int offered(const struct isa *f) {
    uint32_t place[PLACES];
    const uint32_t xcr0 = read_places(place);
    return (place[f->place] >> f->bit & 1) && (xcr0 & f->state) == f->state;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

#define PLAIN

enum { CAP = AT_HWCAP, CAP2 = AT_HWCAP2 };

// The bits are those of Linux' asm/hwcap.h for arm64.
static const struct isa table[] = {
    {"FP16", BUILT(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC), CAP, 10, 0},
    {"DOTPROD", BUILT(__ARM_FEATURE_DOTPROD), CAP, 20, 0},
    {"SVE", BUILT(__ARM_FEATURE_SVE), CAP, 22, 0},
    {"SVE2", BUILT(__ARM_FEATURE_SVE2), CAP2, 1, 0},
    {"I8MM", BUILT(__ARM_FEATURE_MATMUL_INT8), CAP2, 13, 0},
    {"BF16", BUILT(__ARM_FEATURE_BF16), CAP2, 14, 0},
};

static int offered(const struct isa *f) { return getauxval(f->place) >> f->bit & 1; }

#else // Apple's compiler builds for the oldest of its processors, and no others are known here.

#define PLAIN

static const struct isa table[] = {{"", 0, 0, 0, 0}};

static int offered(const struct isa *f) { return f->built; }

#endif

enum { COUNT = sizeof(table) / sizeof(table[0]) };

const char *aim_isa(int i, int *built, int *has) {
    if (i < 0 || i >= COUNT || table[i].name[0] == 0) {
        return NULL;
    }
    *built = table[i].built;
    *has = offered(&table[i]);
    return table[i].name;
}

PLAIN static void say(const char *text) {
    size_t n = 0;
    while (text[n] != 0) {
        n++;
    }
    if (write(STDERR_FILENO, text, n) < 0) {
        return; // there is nobody to tell
    }
}

// Priorities up to 100 are the compiler's own.
__attribute__((constructor(101))) PLAIN static void refuse(void) {
    int lacks = 0;
    for (int i = 0; i < COUNT; i++) {
        if (table[i].built && !offered(&table[i])) {
            say(lacks ? ", " : "aim: this program was built for a processor with ");
            say(table[i].name);
            lacks = 1;
        }
    }
    if (lacks) {
        say(", which this processor lacks. Build it on this machine (make build), or take one that runs on all of them (make dist).\n");
        _exit(1);
    }
}

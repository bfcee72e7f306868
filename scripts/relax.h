// Included into every C file (scripts/env.sh) to change one thing in ggml: how its threads wait for each other.
//
// ggml's workers meet at a barrier after each operation, a thousand times for each token, and spin there. As soon as one
// more thread wants a core, a spinning worker burns its time slice while the one it waits for is not running, and
// decoding becomes a hundred times slower. Here a worker that has spun for some tens of microseconds yields the core.
//
// scripts/env.sh copies this file under a name with its version: the Go build cache knows names, not contents.
#if defined(__x86_64__) && !defined(__ASSEMBLER__) && !defined(__cplusplus) && !defined(AIM_RELAX_H)
#define AIM_RELAX_H

int sched_yield(void); // by hand: a system header this early would settle feature macros that some files set later

// What _mm_pause is made of, in gcc's and clang's headers. Once in 2^16 cycles of the processor's clock it also yields.
#define __builtin_ia32_pause()                          \
	__extension__({                                     \
		__asm__ volatile("pause");                      \
		if ((__builtin_ia32_rdtsc() & 0xffff) < 0x80) { \
			sched_yield();                              \
		}                                               \
	})

#endif

/* Runs the embedded vectors and prints timer ticks of the steps and the deepest stack, one "name value" a line.
 *
 * Under `qemu -icount shift=S` every instruction takes 2^S ns of virtual time and the timer ticks every 40 ns, so
 * instructions = ticks * 40 / 2^S. They are instructions, not cycles: memory is never waited for. */
#include "selftest.h"

#include <stddef.h>
#include <stdio.h>

#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010U)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014U)
#define SYSTICK_VALUE (*(volatile uint32_t *)0xE000E018U)

enum { WRAP = 0xFFFFFF, WATCHED = 8192 }; /* the timer has 24 bits; bytes of stack that are watched */

extern uint32_t _stack_top;

static const uint32_t PAINT = 0xDEADBEEFU;
static const uint32_t COUNTED_DOWN = 0x10000U;
static uint32_t overflows = 0U; /* steps that outlasted the timer, whose ticks are wrong */
static SELFTEST_MEMORY memory;

static volatile uint32_t *watched_end(void)
{
    return (volatile uint32_t *)((uintptr_t)&_stack_top - (uintptr_t)WATCHED);
}

/* Fills what is free of the watched stack: all but the last 128 bytes above the caller's own frame. */
static __attribute__((noinline)) uintptr_t paint_stack(void)
{
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    for (volatile uint32_t *at = watched_end(); (uintptr_t)at < (here - 128U); at++) {
        *at = PAINT;
    }
    return here;
}

/* Bytes below `from` that were written since they were painted. */
static uint32_t stack_use(uintptr_t from)
{
    volatile uint32_t *at = watched_end();
    while (((uintptr_t)at < from) && (*at == PAINT)) {
        at++;
    }
    return (uint32_t)(from - (uintptr_t)at);
}

static __attribute__((noinline)) bool timed_step(uint32_t sample, uint32_t step, uint32_t *ticks)
{
    SYSTICK_VALUE = 0U; /* begin a whole count, so that the flag below says that it was too short */
    const uint32_t begin = SYSTICK_VALUE;
    (void)SYSTICK_CONTROL;
    const bool good = squat_vector_step(&memory.context, &SELFTEST_VECTORS, sample, step);
    *ticks = (begin - SYSTICK_VALUE) & WRAP;
    if ((SYSTICK_CONTROL & COUNTED_DOWN) != 0U) {
        overflows++;
    }
    return good;
}

int main(void)
{
    const squat_vectors *const vectors = &SELFTEST_VECTORS;
    uint64_t total = 0U;
    uint32_t first = 0U; /* the first step of each sample resets, and holds a constant input */
    uint32_t longest = 0U;
    uint32_t deepest = 0U;
    uint32_t checksum = 0U;
    uint32_t right = 0U;
    bool good = true;
    SELFTEST_INIT(&memory);
    SYSTICK_RELOAD = WRAP;
    SYSTICK_VALUE = 0U;
    SYSTICK_CONTROL = 5U; /* on, from the processor's clock */
    for (uint32_t sample = 0U; sample < vectors->samples; sample++) {
        for (uint32_t step = 0U; step < vectors->steps; step++) {
            uint32_t ticks = 0U;
            const uintptr_t from = paint_stack();
            good = timed_step(sample, step, &ticks) && good;
            const uint32_t stack = stack_use(from);
            checksum = squat_checksum(&memory.context, checksum);
            deepest = (stack > deepest) ? stack : deepest;
            if (step == 0U) {
                first = (ticks > first) ? ticks : first;
            } else {
                total += ticks;
                longest = (ticks > longest) ? ticks : longest;
            }
        }
        if ((vectors->predictions != NULL) && (squat_prediction(&memory.context) == vectors->predictions[sample])) {
            right++;
        }
    }
    good = good && (checksum == vectors->checksum);
    good = good && ((vectors->predictions == NULL) || (right == vectors->samples));
    (void)printf("equal %d\nchecksum %lu\nfirst_ticks %lu\ntotal_ticks %lu\nlongest_ticks %lu\nsteps %lu\nstack %lu\n"
                 "ram %lu\noverflows %lu\n",
                 good ? 1 : 0, (unsigned long)checksum, (unsigned long)first, (unsigned long)total,
                 (unsigned long)longest, (unsigned long)(vectors->samples * (vectors->steps - 1U)),
                 (unsigned long)deepest, (unsigned long)sizeof(memory), (unsigned long)overflows);
    return good ? 0 : 1;
}

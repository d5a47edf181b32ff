/* Reset and vector table for Cortex-M under QEMU with semihosting (newlib's rdimon). */
#include <stdint.h>
#include <stdlib.h>

extern uint32_t _data_load;
extern uint32_t _data_start;
extern uint32_t _data_end;
extern uint32_t _bss_start;
extern uint32_t _bss_end;
extern uint32_t _stack_top;

int main(void);
void initialise_monitor_handles(void);
void reset_handler(void);

static void fault_handler(void)
{
    _Exit(3);
}

void reset_handler(void)
{
    const uint32_t *from = &_data_load;
    for (uint32_t *to = &_data_start; to < &_data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = &_bss_start; to < &_bss_end; to++) {
        *to = 0U;
    }
    initialise_monitor_handles();
    exit(main());
}

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

extern const vector vector_table[16];

__attribute__((section(".vectors"), used)) const vector vector_table[16] = {
    {.stack = &_stack_top},     {.handler = reset_handler}, {.handler = fault_handler}, {.handler = fault_handler},
    {.handler = fault_handler}, {.handler = fault_handler}, {.handler = fault_handler},
};

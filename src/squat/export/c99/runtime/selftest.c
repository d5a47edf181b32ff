/* Runs the embedded vectors: exit code 0 if every code is the one that the network was exported with. */
#include "selftest.h"

#include <stdio.h>

static SELFTEST_MEMORY memory;

int main(void)
{
    SELFTEST_INIT(&memory);
    const bool good = squat_selftest(&memory.context, &SELFTEST_VECTORS);
    (void)printf("self-test: %s\n", good ? "all codes equal" : "FAILED, codes differ");
    return good ? 0 : 1;
}

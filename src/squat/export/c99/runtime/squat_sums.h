/* Synaptic sums, event by event: rows of packed weights are added several weights a word. Weights are stored with an
 * offset that makes them positive, so that fields of a word never borrow; it is taken off once for each chunk of rows.
 * Internal to the runtime. */
#ifndef SQUAT_SUMS_H
#define SQUAT_SUMS_H

#include "squat.h"

enum { SQUAT_CHUNK = 32 }; /* rows that are added at a time */

/* The fields of a word of packed weights, spread over registers whose lanes are wide enough for a chunk's sums. */
typedef struct {
    uint32_t registers;   /* how many the fields of a word are spread over */
    uint32_t lane_bits;   /* of a field's sum */
    uint32_t lane_log2;   /* lane_bits is 2^lane_log2 */
    uint32_t limit;       /* rows whose sum cannot leave a lane, at most SQUAT_CHUNK */
    uint32_t offset_bits; /* the offset is 2^offset_bits */
} squat_packing;

/* What a layer reads: spikes as bits, or values as bytes. */
typedef struct {
    const uint8_t *data;
    const uint8_t *negative; /* bits of the inputs that are -1, where spikes are signed; else NULL */
    bool packed;
} squat_input;

/* Where a kernel or a window stands: its first row, column and input, the column and input that its line of positions
 * began at, and the position's own column. */
typedef struct {
    uint32_t top;
    uint32_t left;
    uint32_t origin;
    uint32_t begin;
    uint32_t line;
    uint32_t column;
} squat_place;

/* Rows to be added to the sums of one position. */
typedef struct {
    const uint32_t *rows[SQUAT_CHUNK];
    const squat_layer *layer;
    int32_t *sums;
    int32_t *part; /* sums of one position below a window, where the layer pools them */
    squat_packing packing;
    uint32_t count;
    uint32_t factor; /* what a weight counts for */
    bool negative;   /* and whether that is taken off */
    squat_place around; /* where the kernel of a recurrence stands */
} squat_adder;

/* value * factor by shifts and adds. Products of a network fit 32 bits, which its exporter checks. */
int32_t squat_times(int32_t value, uint32_t factor);

/* value * 2^bits; signed numbers are two's complement. */
static inline int32_t squat_shifted(int32_t value, uint32_t bits)
{
    return (int32_t)((uint32_t)value << bits);
}

squat_adder squat_new_adder(const squat_layer *layer, int32_t *sums, int32_t *part);

/* Adds to the sums of one position what the input below it and, in a recurrent layer, the last spikes give; of pooled
 * sums, the largest of the window or all of them. Positions come in order. An input without data, or spikes that are NULL, add nothing. */
void squat_sum_position(squat_adder *adder, squat_input input, const squat_place *place, const uint8_t *spikes);

/* The first place of a window (of NULL: nowhere), and the place of the next position. */
squat_place squat_first_place(const squat_window *window);
void squat_move(squat_place *place, const squat_window *window);

/* Bit `index` of spikes, or bit `plane` of byte `index`. */
uint32_t squat_input_bit(squat_input input, uint32_t index, uint32_t plane);

#endif

/* The runtime of a squat network: integers only; no allocation, no recursion, and in a step no multiplication.
 *
 * Of a layer with neurons, in units of weight_scale / 2^shift (docs/explanation/notation.md of squat):
 *
 *     z      = input_unit * sum_j w[n, j] x[j] + recurrent_unit * sum_m w_rec[n, m] s[m]
 *     acc    = (z << shift) + bias[n] + table[code]       first step: acc = (z << shift) + bias[n]
 *     code'  = number of bounds that acc exceeds          spike = (code' >= first)
 *
 * Neurons of several states update them in order; the last one fires, from the code first[ruler's code] on. A state that
 * takes up sums has acc = gain[spike] * ((z << shift) + bias[n]) + table[spike][n][code], a computed one next[row][column].
 *
 * A layer may pool its sums: z is then the largest of a window of positions, or all of them added. Weights are packed words with one row for each input, codes are packed bytes. Signed numbers are two's complement.
 */
#ifndef SQUAT_H
#define SQUAT_H

#include <stdbool.h>
#include <stdint.h>

/* Readouts: from the last layer over time to a score for each class; ties go to the lowest class. */
typedef enum {
    SQUAT_NO_READOUT = 0,
    SQUAT_SPIKE_COUNT,
    SQUAT_ACCUMULATED_CURRENT, /* sum over time of (z << 8) + bias */
    SQUAT_MAX_MEMBRANE,        /* the highest code */
    SQUAT_MEAN_MEMBRANE        /* sum over time of level[code] */
} squat_readout_kind;

/* Windows of a convolution or of a pooling layer; images are [channels][rows][columns]. */
typedef struct {
    uint32_t channels;
    uint32_t rows;
    uint32_t columns;
    uint32_t out_rows;
    uint32_t out_columns;
    uint32_t kernel_rows;
    uint32_t kernel_columns;
    uint32_t stride_rows;
    uint32_t stride_columns;
    uint32_t padding_rows;
    uint32_t padding_columns;
    uint32_t image_size;   /* rows * columns */
    uint32_t stride_size;  /* stride_rows * columns */
    uint32_t padding_size; /* padding_rows * columns + padding_columns */
} squat_window;

#define SQUAT_MOST_STATES 3
/* Sources of a computed state beside the codes of this step: its own code before, the spike of the step before, none. */
#define SQUAT_BEFORE (-1)
#define SQUAT_SPIKE (-2)
#define SQUAT_NOTHING (-3)

/* One state of neurons that have several. */
typedef struct {
    const int32_t *table;         /* of a state that takes up sums: rows without a spike before, then with one */
    const int32_t *bound;         /* its sorted boundaries: one row, or rows by channel */
    const int32_t *bias;          /* its bias by channel, or NULL */
    const uint8_t *next;          /* of a computed state: codes by its sources, else NULL */
    uint32_t table_spike_step;    /* entries from rows without to rows with a spike before */
    uint32_t table_channel_step;  /* of `table` or `next`, as in squat_neurons */
    uint32_t table_position_step;
    uint32_t bound_channel_step;
    uint32_t code_offset;         /* bytes of the layer's codes before those of this state */
    uint16_t codes;               /* 2^bits */
    int16_t start;                /* the code before the first step, -1 for a state of 0 off the grid */
    int8_t gain[2];               /* how sums come in without and with a spike before: 1, -1 or 0 */
    int8_t source[2];             /* states of this step, or SQUAT_BEFORE, SQUAT_SPIKE, SQUAT_NOTHING */
    uint8_t column_bits;          /* a row of `next` has 2^column_bits entries */
    uint8_t stored_bits;          /* as in squat_neurons */
    uint8_t shift;
} squat_state;

/* The states of a layer's neurons. */
typedef struct {
    const squat_state *states; /* the one that fires is last */
    const uint16_t *first;     /* the first firing code, by code of the ruler */
    int8_t ruler;              /* the state that moves the threshold, or -1 */
    uint8_t count;
} squat_states;

/* The finite machine of a layer's neurons. */
typedef struct {
    const int32_t *table;        /* leak minus reset by code: one row, or rows by channel or by neuron */
    const int32_t *bound;        /* sorted boundaries: one row, or rows by channel */
    const int32_t *bias;         /* by channel, or NULL */
    uint32_t table_channel_step;  /* entries from a channel's row to the next: 0 for a shared row */
    uint32_t table_position_step; /* entries from a position's row to the next: 0 unless neurons have rows of their own */
    uint32_t bound_channel_step;
    uint16_t codes;         /* 2^bits */
    uint16_t first;         /* the first firing code; `codes` where nothing fires */
    int16_t start;          /* the code before the first step, -1 for a membrane of 0 off the grid */
    uint8_t stored_bits;    /* of a packed code, as a power of two: 1, 2 or 3 for 2, 4 or 8 bits */
    uint8_t shift;          /* fraction bits of the accumulator */
    bool drop_input;        /* the step after a spike forgets its input too */
    const squat_states *several; /* NULL: one state, as above; else only `start` counts, which is -1 for a fresh start */
} squat_neurons;

/* Synapses with the neurons behind them, a pooling layer, or one that joins: it adds the outputs of an earlier layer,
 * pooled if it has a window, to those of the layer before. */
typedef struct squat_layer {
    const uint32_t *weight;      /* [rows][row_words]: a row for each input, or for each channel and place of a kernel */
    const uint32_t *recurrent;   /* [channels][row_words], by place of a kernel where recurrence has one; or NULL */
    const uint8_t *weight_shift; /* by channel: sums count 2^shift, or NULL */
    const squat_window *window;  /* of a convolution or a pooling layer, else NULL */
    const squat_window *pool;    /* the positions of the kernel below an output that pools their sums, or NULL */
    const squat_window *around;  /* of the recurrence's kernel on the last spikes, or NULL where it has none */
    const struct squat_layer *source; /* the earlier layer of one that joins, else NULL */
    const squat_neurons *neurons; /* NULL: pooling, joining, or a last layer whose sums are read out */
    uint32_t inputs;
    uint32_t size;           /* outputs */
    uint32_t channels;       /* outputs of one position */
    uint32_t positions;      /* size = channels * positions */
    uint32_t row_words;
    uint32_t code_offset;    /* bytes before this layer's codes */
    uint32_t spike_offset;   /* bytes before this layer's spikes, or its values of several bits */
    uint16_t input_unit;     /* what a weight counts for in the sums */
    uint16_t recurrent_unit;
    uint8_t input_bits;      /* bits of an input that is a byte, of a signed one in two's complement */
    uint8_t weight_bits;     /* as stored: 2, 4 or 8; 0 without weights */
    bool input_signed;       /* the highest bit of an input counts negative */
    bool maximum;            /* pooling takes the largest value, not the sum */
} squat_layer;

typedef struct {
    const squat_layer *layers;
    const squat_layer *last; /* the layer that is read out */
    const int64_t *readout_bias;       /* by class, or NULL */
    const int64_t *readout_multiplier; /* by class, or NULL */
    const int64_t *readout_level;      /* by code, or NULL */
    squat_readout_kind readout;
    uint32_t inputs;
    uint32_t code_bytes;
    uint32_t spike_bytes;
    int16_t input_min; /* 0, or negative where inputs are signed: bytes in two's complement */
    int16_t input_max;
} squat_network;

/* Everything that changes. `NAME_init` of a generated network points it at that network's memory. */
typedef struct {
    const squat_network *network;
    uint8_t *codes;   /* packed codes, layer after layer */
    uint8_t *spikes;  /* one bit for each neuron (a byte for each pooled or joined value), layer after layer */
    uint8_t *before;  /* last spikes of a layer whose recurrence has a kernel, or NULL */
    uint8_t *input;   /* one bit for each input, then, of signed ones, another for those that are -1 */
    int32_t *sums;    /* of one position of the widest layer */
    int32_t *part;    /* of one position below a window of pooled sums, or NULL */
    int32_t *held;    /* sums of a constant input, or NULL where inputs are spikes */
    int32_t *output;  /* sums of a last layer without neurons, or NULL */
    int64_t *scores;  /* one for each class, or NULL */
    bool started;     /* false until the first step is done */
} squat_context;

/* Back to the state before the first step. */
void squat_reset(squat_context *context);

/* One time step from a list of events: indices of the inputs that spike. An input named twice is one spike.
 * False, and nothing changed, if one is out of range. */
bool squat_step_events(squat_context *context, const uint16_t *events, uint32_t count);

/* One time step from a bitmap of `inputs` bits, lowest bit of the first byte first; further bits count for nothing. */
void squat_step_bitmap(squat_context *context, const uint8_t *bitmap);

/* The same with signed inputs, -1, 0 or 1: events with a sign each, 1 or -1, or a bitmap of the inputs that are 1 and
 * one of those that are -1. An input that is named with both signs is 0. False, and nothing changed, for another sign
 * or an event out of range, or if the network's inputs are not signed. */
bool squat_step_signed_events(squat_context *context, const uint16_t *events, const int8_t *signs, uint32_t count);
bool squat_step_signs(squat_context *context, const uint8_t *up, const uint8_t *down);

/* One time step from bytes, one for each input. False, and nothing changed, if one is out of the network's range. */
bool squat_step_bytes(squat_context *context, const uint8_t *values);

/* Constant inputs: `squat_hold` adds up the first layer's sums once, each `squat_step_held` is a time step with them.
 * False, and nothing changed, if a value is out of range, or if the network has no room for it (inputs are spikes). */
bool squat_hold(squat_context *context, const uint8_t *values);
bool squat_step_held(squat_context *context);

/* Score of a class so far, and the class with the highest, the lowest one of equals. Networks with a readout only.
 * Scores have 64 bits, which sums reach after tens of millions of steps at the earliest: reset between sequences. */
int64_t squat_score(const squat_context *context, uint32_t class_index);
uint32_t squat_prediction(const squat_context *context);

/* Code and last spike of a neuron; layers are counted from 0, those without weights included. Of several states
 * `squat_code` gives the last. */
uint8_t squat_code(const squat_context *context, uint32_t layer, uint32_t neuron);
uint8_t squat_state_code(const squat_context *context, uint32_t layer, uint32_t state, uint32_t neuron);
bool squat_spike(const squat_context *context, uint32_t layer, uint32_t neuron);

/* The neurons of one position: from its sums, one for each channel, to codes and spikes. Called by the steps; exposed
 * so that its integer cuts can be compared with those of training. */
void squat_update(const squat_layer *layer, uint32_t position, const int32_t *sums, uint8_t *codes, uint8_t *spikes,
                  bool started);

/* The same of neurons with several states. */
void squat_update_states(const squat_layer *layer, uint32_t position, const int32_t *sums, uint8_t *codes,
                         uint8_t *spikes, bool started);

/* Writes the codes that such neurons start from; whether they are firing ones. */
bool squat_begin_states(const squat_layer *layer, uint8_t *codes);

/* States of a layer's neurons, 0 where it has none. */
uint32_t squat_state_count(const squat_layer *layer);

#endif

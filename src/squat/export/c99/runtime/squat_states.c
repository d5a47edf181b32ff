/* Neurons of several states; see squat.h. */
#include "squat.h"

#include <stddef.h>

#include "squat_codes.h"
#include "squat_sums.h"

/* The codes of a neuron before and after its update. */
typedef struct {
    uint32_t before[SQUAT_MOST_STATES];
    uint32_t now[SQUAT_MOST_STATES];
    uint32_t spike; /* 1 if it fired in the step before */
    bool started;
} neuron_codes;

static uint32_t take_up(const squat_state *state, const neuron_codes *neuron, uint32_t code, int32_t sum,
                        uint32_t channel, uint32_t position)
{
    const int32_t gain = state->gain[neuron->spike];
    const uint32_t row = (uint32_t)squat_times((int32_t)channel, state->table_channel_step)
                         + (uint32_t)squat_times((int32_t)position, state->table_position_step);
    int32_t value = squat_shifted(sum, state->shift);
    if (state->bias != NULL) {
        value += state->bias[channel];
    }
    if (gain == 0) {
        value = 0;
    } else if (gain < 0) {
        value = -value;
    } else {
        /* sums come in as they are */
    }
    if (neuron->started) {
        value += state->table[row + ((neuron->spike != 0U) ? state->table_spike_step : 0U) + code];
    }
    return squat_encode(value, &state->bound[squat_times((int32_t)channel, state->bound_channel_step)],
                        (uint32_t)state->codes >> 1);
}

/* One index of the table of a computed state. */
static uint32_t source(const squat_state *state, const neuron_codes *neuron, uint32_t code, int32_t kind)
{
    uint32_t index = 0U;
    if (kind == SQUAT_SPIKE) {
        index = neuron->spike;
    } else if (kind == SQUAT_BEFORE) {
        index = neuron->started ? code : state->codes;
    } else if (kind != SQUAT_NOTHING) {
        index = neuron->now[kind];
    } else {
        /* a single column */
    }
    return index;
}

static uint32_t look_up(const squat_state *state, const neuron_codes *neuron, uint32_t code, uint32_t channel,
                        uint32_t position)
{
    const uint32_t row = source(state, neuron, code, state->source[0]);
    const uint32_t column = source(state, neuron, code, state->source[1]);
    const uint32_t begin = (uint32_t)squat_times((int32_t)channel, state->table_channel_step)
                           + (uint32_t)squat_times((int32_t)position, state->table_position_step);
    return state->next[begin + (row << state->column_bits) + column];
}

void squat_update_states(const squat_layer *layer, uint32_t position, const int32_t *sums, uint8_t *codes,
                         uint8_t *spikes, bool started)
{
    const squat_states *const several = layer->neurons->several;
    const uint32_t last = (uint32_t)several->count - 1U;
    uint32_t index = position;
    for (uint32_t channel = 0U; channel < layer->channels; channel++) {
        neuron_codes neuron = {{0U}, {0U}, 0U, started};
        const squat_state *state = several->states;
        for (uint32_t k = 0U; k <= last; k++) {
            neuron.before[k] =
                squat_read_code(&codes[state->code_offset], squat_packed_by(state->stored_bits), index);
            state++;
        }
        if (started) {
            const uint32_t ruler = (several->ruler < 0) ? 0U : neuron.before[several->ruler];
            neuron.spike = (neuron.before[last] >= several->first[ruler]) ? 1U : 0U;
        }
        state = several->states;
        for (uint32_t k = 0U; k <= last; k++) {
            const uint32_t code = neuron.before[k];
            neuron.now[k] = (state->next != NULL)
                                ? look_up(state, &neuron, code, channel, position)
                                : take_up(state, &neuron, code, sums[channel], channel, position);
            squat_write_code(&codes[state->code_offset], squat_packed_by(state->stored_bits), index, neuron.now[k]);
            state++;
        }
        if (neuron.now[last] >= several->first[(several->ruler < 0) ? 0U : neuron.now[several->ruler]]) {
            spikes[index >> 3] |= (uint8_t)(1U << (index & 7U));
        }
        index += layer->positions;
    }
}

bool squat_begin_states(const squat_layer *layer, uint8_t *codes)
{
    const squat_states *const several = layer->neurons->several;
    const squat_state *state = several->states;
    uint32_t threshold = several->first[0];
    uint32_t start = 0U;
    for (uint32_t k = 0U; k < several->count; k++) {
        start = (uint32_t)state->start;
        for (uint32_t i = 0U; i < layer->size; i++) {
            squat_write_code(&codes[state->code_offset], squat_packed_by(state->stored_bits), i, start);
        }
        if ((int32_t)k == several->ruler) {
            threshold = several->first[start];
        }
        state++;
    }
    return start >= threshold;
}

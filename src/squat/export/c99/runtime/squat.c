/* See squat.h. */
#include "squat.h"

#include <stddef.h>
#include <string.h>

#include "squat_codes.h"
#include "squat_sums.h"

void squat_update(const squat_layer *layer, uint32_t position, const int32_t *sums, uint8_t *codes, uint8_t *spikes,
                  bool started)
{
    const squat_neurons *const neurons = layer->neurons;
    const squat_packed packed = squat_packed_by(neurons->stored_bits);
    const uint32_t half = (uint32_t)neurons->codes >> 1;
    const uint32_t first = neurons->first;
    const uint32_t shift = neurons->shift;
    const int32_t *const end = sums + layer->channels;
    const int32_t *table = &neurons->table[squat_times((int32_t)neurons->table_position_step, position)];
    const int32_t *bound = neurons->bound;
    const int32_t *bias = neurons->bias;
    uint32_t neuron = position;
    for (const int32_t *sum = sums; sum != end; sum++) {
        uint8_t *const byte = &codes[neuron >> packed.in_byte];
        const uint32_t bit = (neuron & packed.place) << packed.bits_log2;
        int32_t value = squat_shifted(*sum, shift);
        if (bias != NULL) {
            value += *bias;
            bias++;
        }
        if (started) {
            const uint32_t code = ((uint32_t)*byte >> bit) & packed.mask;
            value += table[code];
            if ((code >= first) && neurons->drop_input) {
                value = 0;
            }
        }
        const uint32_t next = squat_encode(value, bound, half);
        *byte = (uint8_t)((*byte & ~(packed.mask << bit)) | (next << bit));
        if (next >= first) {
            spikes[neuron >> 3] |= (uint8_t)(1U << (neuron & 7U));
        }
        table += neurons->table_channel_step;
        bound += neurons->bound_channel_step;
        neuron += layer->positions;
    }
}

/* A layer of synapses, and its neurons where it has any. */
static void run_synapses(const squat_context *context, const squat_layer *layer, squat_input input, const int32_t *held)
{
    uint8_t *const codes = (layer->neurons == NULL) ? NULL : &context->codes[layer->code_offset];
    uint8_t *const spikes = (layer->neurons == NULL) ? NULL : &context->spikes[layer->spike_offset];
    const bool started = context->started || ((layer->neurons != NULL) && (layer->neurons->start >= 0));
    squat_adder adder = squat_new_adder(layer, context->sums, context->part);
    squat_place place = squat_first_place(layer->window);
    const int32_t *constant = held;
    const uint8_t *last = spikes; /* of the step before, which a recurrence with a kernel reads at every position */
    if (layer->around != NULL) {
        (void)memcpy(context->before, spikes, ((size_t)layer->size + 7U) >> 3);
        last = context->before;
    }
    for (uint32_t position = 0U; position < layer->positions; position++) {
        if (constant != NULL) {
            (void)memcpy(context->sums, constant, (size_t)layer->channels << 2);
            constant += layer->channels;
        } else {
            (void)memset(context->sums, 0, (size_t)layer->channels << 2);
        }
        squat_sum_position(&adder, input, &place, last);
        if (layer->window != NULL) {
            squat_move(&place, layer->window);
        }
        if (layer->neurons != NULL) {
            if (position == 0U) { /* the spikes of the step before have been read, or kept */
                (void)memset(spikes, 0, (layer->size + 7U) >> 3);
            }
            if (layer->neurons->several != NULL) {
                squat_update_states(layer, position, context->sums, codes, spikes, started);
            } else {
                squat_update(layer, position, context->sums, codes, spikes, started);
            }
        } else {
            int32_t *output = &context->output[position];
            for (uint32_t channel = 0U; channel < layer->channels; channel++) {
                *output = context->sums[channel];
                output += layer->positions;
            }
        }
    }
}

static uint32_t value_of(squat_input input, uint32_t index)
{
    return input.packed ? squat_input_bit(input, index, 0U) : input.data[index];
}

/* Sums or maxima over windows, as bytes. */
static void run_pool(const squat_context *context, const squat_layer *layer, squat_input input)
{
    const squat_window *const window = layer->window;
    uint8_t *out = &context->spikes[layer->spike_offset];
    uint32_t image = 0U;
    for (uint32_t channel = 0U; channel < window->channels; channel++) {
        squat_place place = squat_first_place(window);
        for (uint32_t position = 0U; position < layer->positions; position++) {
            uint32_t total = 0U;
            uint32_t line = image + place.origin;
            for (uint32_t i = 0U; i < window->kernel_rows; i++) {
                for (uint32_t j = 0U; j < window->kernel_columns; j++) {
                    const uint32_t value = value_of(input, line + j);
                    if (!layer->maximum) {
                        total += value;
                    } else if (value > total) {
                        total = value;
                    } else {
                        /* the largest so far stays */
                    }
                }
                line += window->columns;
            }
            *out = (uint8_t)total;
            out++;
            squat_move(&place, window);
        }
        image += window->image_size;
    }
}

/* What a layer gave in this step. */
static squat_input output_of(const squat_context *context, const squat_layer *layer)
{
    const squat_input output = {&context->spikes[layer->spike_offset], NULL, layer->weight_bits != 0U};
    return output;
}

/* Sums of what the layer before and an earlier one gave, as bytes. */
static void run_join(const squat_context *context, const squat_layer *layer, squat_input input)
{
    const squat_input kept = output_of(context, layer->source);
    uint8_t *const out = &context->spikes[layer->spike_offset];
    if (layer->window != NULL) {
        run_pool(context, layer, kept);
    }
    for (uint32_t i = 0U; i < layer->size; i++) {
        const uint32_t other = (layer->window != NULL) ? out[i] : value_of(kept, i);
        out[i] = (uint8_t)(value_of(input, i) + other);
    }
}

static int64_t step_score(const squat_context *context, uint32_t index, int64_t before)
{
    const squat_network *const network = context->network;
    const squat_layer *const last = network->last;
    int64_t score = before;
    if (network->readout == SQUAT_SPIKE_COUNT) {
        const uint8_t *const spikes = &context->spikes[last->spike_offset];
        score += ((((uint32_t)spikes[index >> 3] >> (index & 7U)) & 1U) != 0U) ? 1 : 0;
    } else if (network->readout == SQUAT_ACCUMULATED_CURRENT) {
        score += (int64_t)((uint64_t)(int64_t)context->output[index] << 8);
        if (network->readout_bias != NULL) {
            score += network->readout_bias[index];
        }
    } else {
        const squat_packed packed = squat_packed_by(last->neurons->stored_bits);
        const uint32_t code = squat_read_code(&context->codes[last->code_offset], packed, index);
        if (network->readout == SQUAT_MEAN_MEMBRANE) {
            score += network->readout_level[code];
        } else if ((int64_t)code > score) {
            score = (int64_t)code;
        } else {
            /* the highest code so far stays */
        }
    }
    return score;
}

/* A time step: all layers in order, then the scores. */
static void run(squat_context *context, squat_input input, const int32_t *held)
{
    const squat_network *const network = context->network;
    const squat_layer *layer = network->layers;
    const squat_layer *const end = network->last + 1;
    squat_input current = input;
    const int32_t *constant = held;
    for (; layer != end; layer++) {
        if (layer->source != NULL) {
            run_join(context, layer, current);
        } else if (layer->weight_bits == 0U) {
            run_pool(context, layer, current);
        } else {
            run_synapses(context, layer, current, constant);
        }
        if (layer != network->last) {
            current = output_of(context, layer);
            constant = NULL;
        }
    }
    context->started = true;
    if (network->readout != SQUAT_NO_READOUT) {
        for (uint32_t i = 0U; i < network->last->size; i++) {
            context->scores[i] = step_score(context, i, context->scores[i]);
        }
    }
}

/* Codes and spikes of a layer whose states start on the grid; all of their bits are 0. */
static void begin(const squat_layer *layer, uint8_t *codes, uint8_t *spikes)
{
    const squat_neurons *const neurons = layer->neurons;
    const squat_packed packed = squat_packed_by(neurons->stored_bits);
    bool fires = neurons->start >= (int32_t)neurons->first;
    if (neurons->several != NULL) {
        fires = squat_begin_states(layer, codes);
    } else {
        for (uint32_t i = 0U; i < layer->size; i++) {
            squat_write_code(codes, packed, i, (uint32_t)neurons->start);
        }
    }
    for (uint32_t i = 0U; fires && (i < layer->size); i++) {
        spikes[i >> 3] |= (uint8_t)(1U << (i & 7U));
    }
}

void squat_reset(squat_context *context)
{
    const squat_network *const network = context->network;
    const squat_layer *const end = network->last + 1;
    if (network->code_bytes != 0U) {
        (void)memset(context->codes, 0, network->code_bytes);
    }
    if (network->spike_bytes != 0U) {
        (void)memset(context->spikes, 0, network->spike_bytes);
    }
    for (const squat_layer *layer = network->layers; layer != end; layer++) {
        const squat_neurons *const neurons = layer->neurons;
        if ((neurons != NULL) && (neurons->start >= 0)) {
            begin(layer, &context->codes[layer->code_offset], &context->spikes[layer->spike_offset]);
        }
    }
    if (network->readout != SQUAT_NO_READOUT) {
        for (uint32_t i = 0U; i < network->last->size; i++) {
            context->scores[i] = 0;
        }
    }
    context->started = false;
}

static bool are_inputs(const squat_context *context, const uint16_t *events, uint32_t count)
{
    for (uint32_t i = 0U; i < count; i++) {
        if (events[i] >= context->network->inputs) {
            return false;
        }
    }
    return true;
}

bool squat_step_events(squat_context *context, const uint16_t *events, uint32_t count)
{
    if (!are_inputs(context, events, count)) {
        return false;
    }
    (void)memset(context->input, 0, (context->network->inputs + 7U) >> 3);
    for (uint32_t i = 0U; i < count; i++) {
        context->input[events[i] >> 3] |= (uint8_t)(1U << (events[i] & 7U));
    }
    squat_step_bitmap(context, context->input);
    return true;
}

void squat_step_bitmap(squat_context *context, const uint8_t *bitmap)
{
    const squat_input input = {bitmap, NULL, true};
    run(context, input, NULL);
}

bool squat_step_signed_events(squat_context *context, const uint16_t *events, const int8_t *signs, uint32_t count)
{
    const uint32_t bytes = (context->network->inputs + 7U) >> 3;
    bool good = (context->network->input_min < 0) && are_inputs(context, events, count);
    for (uint32_t i = 0U; good && (i < count); i++) {
        good = (signs[i] == 1) || (signs[i] == -1);
    }
    if (good) {
        (void)memset(context->input, 0, (size_t)bytes << 1);
        for (uint32_t i = 0U; i < count; i++) {
            uint8_t *const bitmap = (signs[i] > 0) ? context->input : &context->input[bytes];
            bitmap[events[i] >> 3] |= (uint8_t)(1U << (events[i] & 7U));
        }
        good = squat_step_signs(context, context->input, &context->input[bytes]);
    }
    return good;
}

bool squat_step_signs(squat_context *context, const uint8_t *up, const uint8_t *down)
{
    const squat_input input = {up, down, true};
    const bool good = context->network->input_min < 0;
    if (good) {
        run(context, input, NULL);
    }
    return good;
}

static bool in_range(const squat_network *network, const uint8_t *values)
{
    const int32_t sign = (network->input_min < 0) ? 128 : 256; /* from here on a byte is negative */
    for (uint32_t i = 0U; i < network->inputs; i++) {
        const int32_t byte = (int32_t)values[i];
        const int32_t value = (byte < sign) ? byte : (byte - 256);
        if ((value < network->input_min) || (value > network->input_max)) {
            return false;
        }
    }
    return true;
}

bool squat_step_bytes(squat_context *context, const uint8_t *values)
{
    const squat_input input = {values, NULL, false};
    const bool good = in_range(context->network, values);
    if (good) {
        run(context, input, NULL);
    }
    return good;
}

bool squat_hold(squat_context *context, const uint8_t *values)
{
    const squat_layer *const layer = context->network->layers;
    const squat_input input = {values, NULL, false};
    const bool good = (context->held != NULL) && in_range(context->network, values);
    if (good) {
        squat_adder adder = squat_new_adder(layer, context->held, context->part);
        squat_place place = squat_first_place(layer->window);
        (void)memset(context->held, 0, (size_t)layer->size << 2);
        for (uint32_t position = 0U; position < layer->positions; position++) {
            squat_sum_position(&adder, input, &place, NULL);
            adder.sums += layer->channels;
            if (layer->window != NULL) {
                squat_move(&place, layer->window);
            }
        }
    }
    return good;
}

bool squat_step_held(squat_context *context)
{
    const squat_input none = {NULL, NULL, false};
    const bool good = (context->held != NULL);
    if (good) {
        run(context, none, context->held);
    }
    return good;
}

uint32_t squat_state_count(const squat_layer *layer)
{
    uint32_t count = 0U;
    if (layer->neurons != NULL) {
        count = (layer->neurons->several == NULL) ? 1U : layer->neurons->several->count;
    }
    return count;
}

uint8_t squat_state_code(const squat_context *context, uint32_t layer, uint32_t state, uint32_t neuron)
{
    const squat_layer *const of = &context->network->layers[layer];
    const squat_states *const several = of->neurons->several;
    const uint8_t *codes = &context->codes[of->code_offset];
    uint32_t bits = of->neurons->stored_bits;
    if (several != NULL) {
        codes += several->states[state].code_offset;
        bits = several->states[state].stored_bits;
    }
    return (uint8_t)squat_read_code(codes, squat_packed_by(bits), neuron);
}

uint8_t squat_code(const squat_context *context, uint32_t layer, uint32_t neuron)
{
    const squat_layer *const of = &context->network->layers[layer];
    return squat_state_code(context, layer, squat_state_count(of) - 1U, neuron);
}

bool squat_spike(const squat_context *context, uint32_t layer, uint32_t neuron)
{
    const uint8_t *const spikes = &context->spikes[context->network->layers[layer].spike_offset];
    return (((uint32_t)spikes[neuron >> 3] >> (neuron & 7U)) & 1U) != 0U;
}

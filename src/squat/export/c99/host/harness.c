/* Runs exported networks on this computer for squat itself: whole batches, and single neurons as black boxes. */
#include "squat.h"
#include "squat_sums.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Codes of all states and spikes of all layers, in order, one byte each; both pointers move on. */
static void collect(const squat_context *context, uint8_t **codes, uint8_t **spikes)
{
    const squat_network *const network = context->network;
    uint32_t index = 0U;
    for (const squat_layer *layer = network->layers; layer <= network->last; layer++) {
        const uint32_t states = squat_state_count(layer);
        for (uint32_t state = 0U; state < states; state++) {
            for (uint32_t neuron = 0U; neuron < layer->size; neuron++) {
                **codes = squat_state_code(context, index, state, neuron);
                (*codes)++;
            }
        }
        for (uint32_t neuron = 0U; (states != 0U) && (neuron < layer->size); neuron++) {
            **spikes = squat_spike(context, index, neuron) ? 1U : 0U;
            (*spikes)++;
        }
        index++;
    }
}

/* Samples of `steps` frames of `stride` bytes: of a kind of squat_vectors.h, in its order.
 * Writes codes [samples][steps][states and neurons], spikes [samples][steps][neurons], outputs [samples][steps][last size] of a last layer without
 * neurons, scores [samples][classes] and predictions [samples] where there is a readout. False for a refused input. */
bool host_run(squat_context *context, const uint8_t *inputs, uint32_t kind, size_t samples, size_t steps,
              size_t stride, uint8_t *codes, uint8_t *spikes, int32_t *outputs, int64_t *scores, uint32_t *predictions)
{
    const squat_network *const network = context->network;
    const uint8_t *input = inputs;
    uint8_t *code = codes;
    uint8_t *spike = spikes;
    for (size_t sample = 0U; sample < samples; sample++) {
        squat_reset(context);
        if ((kind == 2U) && !squat_hold(context, input)) {
            return false;
        }
        for (size_t step = 0U; step < steps; step++) {
            if (kind == 0U) {
                squat_step_bitmap(context, input);
            } else if (kind == 2U) {
                (void)squat_step_held(context);
            } else if (kind == 3U) {
                (void)squat_step_signs(context, input, &input[stride >> 1]);
            } else if (!squat_step_bytes(context, input)) {
                return false;
            }
            input += (kind == 2U) ? 0U : stride;
            collect(context, &code, &spike);
            if (context->output != NULL) {
                (void)memcpy(outputs, context->output, network->last->size * sizeof(int32_t));
                outputs += network->last->size;
            }
        }
        input += (kind == 2U) ? stride : 0U;
        if (network->readout != SQUAT_NO_READOUT) {
            for (uint32_t i = 0U; i < network->last->size; i++) {
                *scores = squat_score(context, i);
                scores++;
            }
            *predictions = squat_prediction(context);
            predictions++;
        }
    }
    return true;
}

/* The neurons of a layer, `positions` of each channel, from sums z [rows][channels * positions] and the current code of
 * all of a row's neurons, or -1 before the first step. False without memory. */
bool host_update(const squat_context *context, uint32_t layer_index, uint32_t positions, size_t rows, const int32_t *z,
                 const int16_t *current, uint8_t *codes, uint8_t *spikes)
{
    squat_layer layer = context->network->layers[layer_index];
    const squat_neurons *const neurons = layer.neurons;
    const uint32_t in_byte = 3U - neurons->stored_bits;
    layer.positions = positions;
    layer.size = layer.channels * positions;
    uint8_t *const packed = malloc(layer.size);
    uint8_t *const fired = malloc(layer.size);
    int32_t *const sums = malloc(layer.channels * sizeof(int32_t));
    const bool good = (packed != NULL) && (fired != NULL) && (sums != NULL);
    for (size_t row = 0U; good && (row < rows); row++) {
        const bool fresh = current[row] < 0;
        const uint32_t code = fresh ? ((neurons->start < 0) ? 0U : (uint32_t)neurons->start) : (uint32_t)current[row];
        uint32_t pattern = 0U;
        for (uint32_t bit = 0U; bit < 8U; bit += 1U << neurons->stored_bits) {
            pattern |= code << bit;
        }
        (void)memset(packed, (int)pattern, layer.size);
        (void)memset(fired, 0, layer.size);
        for (uint32_t position = 0U; position < positions; position++) {
            for (uint32_t channel = 0U; channel < layer.channels; channel++) {
                sums[channel] = z[(row * layer.size) + ((size_t)channel * positions) + position];
            }
            squat_update(&layer, position, sums, packed, fired, !fresh || (neurons->start >= 0));
        }
        for (uint32_t i = 0U; i < layer.size; i++) {
            const uint32_t bit = (i & ((1U << in_byte) - 1U)) << neurons->stored_bits;
            codes[(row * layer.size) + i] = (uint8_t)((packed[i >> in_byte] >> bit) & (neurons->codes - 1U));
            spikes[(row * layer.size) + i] = (uint8_t)((fired[i >> 3] >> (i & 7U)) & 1U);
        }
    }
    free(packed);
    free(fired);
    free(sums);
    return good;
}

/* Neurons of several states, `positions` of each channel, from sums z [rows][neurons] and current codes
 * [states][rows][neurons], or NULL before the first step. Writes next codes and spikes alike. False without memory. */
bool host_update_states(const squat_context *context, uint32_t layer_index, uint32_t positions, size_t rows,
                        const int32_t *z, const uint8_t *current, uint8_t *codes, uint8_t *spikes)
{
    squat_layer layer = context->network->layers[layer_index];
    const squat_states *const several = layer.neurons->several;
    squat_state own[SQUAT_MOST_STATES];
    squat_states moved = *several;
    squat_neurons neurons = *layer.neurons;
    const size_t size = (size_t)layer.channels * positions;
    layer.positions = positions;
    layer.size = (uint32_t)size;
    for (uint32_t k = 0U; k < several->count; k++) { /* a byte for each code */
        own[k] = several->states[k];
        own[k].stored_bits = 3U;
        own[k].code_offset = k * (uint32_t)size;
    }
    moved.states = own;
    neurons.several = &moved;
    layer.neurons = &neurons;
    uint8_t *const held = malloc(several->count * size);
    uint8_t *const fired = malloc(size);
    int32_t *const sums = malloc(layer.channels * sizeof(int32_t));
    const bool good = (held != NULL) && (fired != NULL) && (sums != NULL);
    for (size_t row = 0U; good && (row < rows); row++) {
        for (size_t k = 0U; k < several->count; k++) {
            for (size_t i = 0U; i < size; i++) {
                const int16_t start = several->states[k].start;
                const uint8_t fresh = (start < 0) ? 0U : (uint8_t)start;
                held[(k * size) + i] = (current == NULL) ? fresh : current[(((k * rows) + row) * size) + i];
            }
        }
        (void)memset(fired, 0, size);
        for (uint32_t position = 0U; position < positions; position++) {
            for (uint32_t channel = 0U; channel < layer.channels; channel++) {
                sums[channel] = z[(row * size) + ((size_t)channel * positions) + position];
            }
            squat_update_states(&layer, position, sums, held, fired, (current != NULL) || (neurons.start >= 0));
        }
        for (size_t i = 0U; i < size; i++) {
            for (size_t k = 0U; k < several->count; k++) {
                codes[(((k * rows) + row) * size) + i] = held[(k * size) + i];
            }
            spikes[(row * size) + i] = (uint8_t)((fired[i >> 3] >> (i & 7U)) & 1U);
        }
    }
    free(held);
    free(fired);
    free(sums);
    return good;
}

/* Synaptic sums of a layer for `rows` probes: `inputs` bits (of both signs, if `has_signs`) or bytes of input (`stride` bytes each), and `recurrent` spikes
 * (one bit for each neuron, `spike_stride` bytes each). With `columns`, the sums below a pool, `columns` of them a line.
 * Writes [rows][positions][channels]. False without memory. */
bool host_sums(const squat_context *context, uint32_t layer_index, uint32_t positions, uint32_t columns, bool packed,
               bool has_signs, size_t rows, size_t stride, size_t spike_stride, const uint8_t *inputs, const uint8_t *recurrent,
               int32_t *out)
{
    squat_layer layer = context->network->layers[layer_index];
    squat_window window;
    int32_t *const sums = malloc(layer.channels * sizeof(int32_t));
    if (columns != 0U) {
        window = *layer.window;
        window.out_columns = columns;
        window.stride_rows = layer.pool->stride_rows;
        window.stride_columns = layer.pool->stride_columns;
        window.stride_size = layer.pool->stride_size;
        layer.window = &window;
        layer.pool = NULL;
        layer.recurrent = NULL;
    }
    for (size_t row = 0U; (sums != NULL) && (row < rows); row++) {
        const uint8_t *const data = &inputs[row * stride];
        const squat_input input = {data, has_signs ? &data[stride >> 1] : NULL, packed};
        squat_adder adder = squat_new_adder(&layer, sums, context->part);
        squat_place place = squat_first_place(layer.window);
        for (uint32_t position = 0U; position < positions; position++) {
            (void)memset(sums, 0, layer.channels * sizeof(int32_t));
            squat_sum_position(&adder, input, &place, &recurrent[row * spike_stride]);
            for (uint32_t channel = 0U; channel < layer.channels; channel++) {
                *out = sums[channel];
                out++;
            }
            if (layer.window != NULL) {
                squat_move(&place, layer.window);
            }
        }
    }
    free(sums);
    return sums != NULL;
}

/* Runs exported networks on this computer for squat itself: whole batches, and single neurons as black boxes. */
#include "squat.h"
#include "squat_sums.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Codes and spikes of all layers, in order, one byte each; returns how many. */
static size_t collect(const squat_context *context, uint8_t *codes, uint8_t *spikes)
{
    const squat_network *const network = context->network;
    size_t count = 0U;
    uint32_t index = 0U;
    for (const squat_layer *layer = network->layers; layer <= network->last; layer++) {
        if (layer->neurons != NULL) {
            for (uint32_t neuron = 0U; neuron < layer->size; neuron++) {
                codes[count] = squat_code(context, index, neuron);
                spikes[count] = squat_spike(context, index, neuron) ? 1U : 0U;
                count++;
            }
        }
        index++;
    }
    return count;
}

/* Samples of `steps` frames of `stride` bytes: bitmaps (kind 0), bytes (1), or one frame of bytes that stays (2).
 * Writes codes and spikes [samples][steps][neurons], outputs [samples][steps][last size] of a last layer without
 * neurons, scores [samples][classes] and predictions [samples] where there is a readout. False for a refused input. */
bool host_run(squat_context *context, const uint8_t *inputs, uint32_t kind, size_t samples, size_t steps,
              size_t stride, uint8_t *codes, uint8_t *spikes, int32_t *outputs, int64_t *scores, uint32_t *predictions)
{
    const squat_network *const network = context->network;
    const uint8_t *input = inputs;
    size_t at = 0U;
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
            } else if (!squat_step_bytes(context, input)) {
                return false;
            }
            input += (kind == 2U) ? 0U : stride;
            at += collect(context, &codes[at], &spikes[at]);
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

/* Synaptic sums of a layer for `rows` probes: `inputs` bits or bytes of input (`stride` bytes each), and `recurrent` spikes
 * (one bit for each neuron, `spike_stride` bytes each). With `columns`, the sums below a pool, `columns` of them a line.
 * Writes [rows][positions][channels]. False without memory. */
bool host_sums(const squat_context *context, uint32_t layer_index, uint32_t positions, uint32_t columns, bool packed,
               size_t rows, size_t stride, size_t spike_stride, const uint8_t *inputs, const uint8_t *recurrent,
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
    }
    for (size_t row = 0U; (sums != NULL) && (row < rows); row++) {
        const squat_input input = {&inputs[row * stride], packed};
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

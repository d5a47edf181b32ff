/* See squat_vectors.h. */
#include "squat_vectors.h"

#include <stddef.h>

static uint32_t crc_byte(uint32_t crc, uint32_t byte)
{
    uint32_t value = crc ^ (byte & 0xFFU);
    for (uint32_t bit = 0U; bit < 8U; bit++) {
        value = ((value & 1U) != 0U) ? ((value >> 1) ^ 0xEDB88320U) : (value >> 1);
    }
    return value;
}

uint32_t squat_checksum(const squat_context *context, uint32_t before)
{
    const squat_network *const network = context->network;
    uint32_t crc = ~before;
    uint32_t index = 0U;
    for (const squat_layer *layer = network->layers; layer <= network->last; layer++) {
        if (layer->neurons != NULL) {
            const uint32_t states = squat_state_count(layer);
            for (uint32_t state = 0U; state < states; state++) {
                for (uint32_t neuron = 0U; neuron < layer->size; neuron++) {
                    crc = crc_byte(crc, squat_state_code(context, index, state, neuron));
                }
            }
        } else if (layer->weight_bits != 0U) {
            for (uint32_t neuron = 0U; neuron < layer->size; neuron++) {
                const uint32_t sum = (uint32_t)context->output[neuron];
                for (uint32_t down = 0U; down < 32U; down += 8U) {
                    crc = crc_byte(crc, sum >> down);
                }
            }
        } else {
            /* pooled and joined values follow from the codes */
        }
        index++;
    }
    return ~crc;
}

bool squat_vector_step(squat_context *context, const squat_vectors *vectors, uint32_t sample, uint32_t step)
{
    const uint32_t frames = (vectors->kind == SQUAT_CONSTANT) ? 1U : vectors->steps;
    const uint32_t frame = (sample * frames) + ((vectors->kind == SQUAT_CONSTANT) ? 0U : step);
    const uint8_t *const input = &vectors->inputs[frame * vectors->stride];
    bool good = true;
    if (step == 0U) {
        squat_reset(context);
    }
    if (vectors->kind == SQUAT_BITMAPS) {
        squat_step_bitmap(context, input);
    } else if (vectors->kind == SQUAT_SIGNS) {
        good = squat_step_signs(context, input, &input[vectors->stride >> 1]);
    } else if (vectors->kind == SQUAT_BYTES) {
        good = squat_step_bytes(context, input);
    } else {
        if (step == 0U) {
            good = squat_hold(context, input);
        }
        if (good) {
            good = squat_step_held(context);
        }
    }
    return good;
}

bool squat_selftest(squat_context *context, const squat_vectors *vectors)
{
    uint32_t checksum = 0U;
    bool good = true;
    for (uint32_t sample = 0U; sample < vectors->samples; sample++) {
        for (uint32_t step = 0U; step < vectors->steps; step++) {
            good = squat_vector_step(context, vectors, sample, step) && good;
            checksum = squat_checksum(context, checksum);
        }
        if (vectors->predictions != NULL) {
            good = (squat_prediction(context) == vectors->predictions[sample]) && good;
        }
    }
    return good && (checksum == vectors->checksum);
}

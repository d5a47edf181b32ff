/* See squat_sums.h. */
#include "squat_sums.h"

#include <stddef.h>
#include <string.h>

int32_t squat_times(int32_t value, uint32_t factor)
{
    int32_t product = 0;
    uint32_t left = factor;
    int32_t doubled = value;
    while (left != 0U) {
        if ((left & 1U) != 0U) {
            product += doubled;
        }
        left >>= 1;
        if (left != 0U) {
            doubled += doubled;
        }
    }
    return product;
}

static squat_packing packing_of(uint32_t weight_bits)
{
    squat_packing packing = {2U, 8U, 3U, 17U, 3U}; /* 17 * 15 = 255 */
    if (weight_bits == 2U) {
        packing.registers = 4U;
        packing.limit = SQUAT_CHUNK; /* 85 would fit */
        packing.offset_bits = 1U;
    } else if (weight_bits == 8U) {
        packing.lane_bits = 16U;
        packing.lane_log2 = 4U;
        packing.limit = SQUAT_CHUNK; /* 257 would fit */
        packing.offset_bits = 7U;
    } else {
        /* 4 bits, as above */
    }
    return packing;
}

/* The fields of word `word` of all rows, added up in lanes: field i is lane i / registers of register i % registers. */
static void sum_word(const squat_adder *adder, uint32_t word, uint32_t lanes[4])
{
    uint32_t l0 = 0U;
    uint32_t l1 = 0U;
    uint32_t l2 = 0U;
    uint32_t l3 = 0U;
    const uint32_t *const *row = adder->rows;
    const uint32_t *const *const end = row + adder->count;
    if (adder->packing.registers == 4U) {
        for (; row != end; row++) {
            const uint32_t fields = (*row)[word];
            l0 += fields & 0x03030303U;
            l1 += (fields >> 2) & 0x03030303U;
            l2 += (fields >> 4) & 0x03030303U;
            l3 += (fields >> 6) & 0x03030303U;
        }
    } else if (adder->packing.lane_bits == 8U) {
        for (; row != end; row++) {
            const uint32_t fields = (*row)[word];
            l0 += fields & 0x0F0F0F0FU;
            l1 += (fields >> 4) & 0x0F0F0F0FU;
        }
    } else {
        for (; row != end; row++) {
            const uint32_t fields = (*row)[word];
            l0 += fields & 0x00FF00FFU;
            l1 += (fields >> 8) & 0x00FF00FFU;
        }
    }
    lanes[0] = l0;
    lanes[1] = l1;
    lanes[2] = l2;
    lanes[3] = l3;
}

/* Adds the sums in the lanes of one word, `count` channels, to those of the position. */
static void spread(const squat_adder *adder, const uint32_t lanes[4], uint32_t channel, uint32_t count)
{
    const squat_packing packing = adder->packing;
    const int32_t offset = (int32_t)(adder->count << packing.offset_bits);
    const uint32_t mask = (packing.lane_bits == 8U) ? 0xFFU : 0xFFFFU;
    const uint8_t *const shift = adder->layer->weight_shift;
    const bool plain = (adder->factor == 1U) && !adder->negative && (shift == NULL);
    int32_t *sum = &adder->sums[channel];
    const int32_t *const end = sum + count;
    uint32_t down = 0U;
    uint32_t i = 0U;
    for (; sum != end; sum++) {
        int32_t part = (int32_t)((lanes[i] >> down) & mask) - offset;
        if (!plain) {
            const uint32_t up = (shift == NULL) ? 0U : shift[channel];
            part = squat_shifted(squat_times(part, adder->factor), up);
            part = adder->negative ? -part : part;
            channel++;
        }
        *sum += part;
        i++;
        if (i == packing.registers) {
            i = 0U;
            down += packing.lane_bits;
        }
    }
}

static void flush(squat_adder *adder)
{
    const uint32_t fields = (adder->packing.registers << 5) >> adder->packing.lane_log2;
    uint32_t left = (adder->count == 0U) ? 0U : adder->layer->channels;
    uint32_t channel = 0U;
    for (uint32_t word = 0U; left != 0U; word++) {
        const uint32_t count = (left < fields) ? left : fields;
        uint32_t lanes[4];
        sum_word(adder, word, lanes);
        spread(adder, lanes, channel, count);
        channel += count;
        left -= count;
    }
    adder->count = 0U;
}

static void set_factor(squat_adder *adder, uint32_t factor, bool negative)
{
    if ((factor != adder->factor) || (negative != adder->negative)) {
        flush(adder);
        adder->factor = factor;
        adder->negative = negative;
    }
}

static void add_row(squat_adder *adder, const uint32_t *row)
{
    adder->rows[adder->count] = row;
    adder->count++;
    if (adder->count == adder->packing.limit) {
        flush(adder);
    }
}

static void add_spikes(squat_adder *adder, const uint32_t *weight, const uint8_t *bitmap, uint32_t bits)
{
    const uint32_t step = adder->layer->row_words;
    const uint32_t whole = bits >> 3;
    const uint32_t rest = (1U << (bits & 7U)) - 1U; /* bits of the last byte that count */
    uint32_t row = 0U;
    for (uint32_t byte = 0U; byte < ((bits + 7U) >> 3); byte++) {
        uint32_t left = bitmap[byte] & ((byte < whole) ? 0xFFU : rest);
        uint32_t at = row;
        while (left != 0U) {
            if ((left & 1U) != 0U) {
                add_row(adder, &weight[at]);
            }
            left >>= 1;
            at += step;
        }
        row += step << 3;
    }
}

/* Adds a row for each byte that has bit `plane` set. */
static void add_plane(squat_adder *adder, const uint32_t *weight, const uint8_t *values, uint32_t count, uint32_t plane)
{
    const uint32_t step = adder->layer->row_words;
    const uint32_t *row = weight;
    for (uint32_t i = 0U; i < count; i++) {
        if ((((uint32_t)values[i] >> plane) & 1U) != 0U) {
            add_row(adder, row);
        }
        row += step;
    }
}

uint32_t squat_input_bit(squat_input input, uint32_t index, uint32_t plane)
{
    const uint32_t byte = input.packed ? input.data[index >> 3] : input.data[index];
    return (byte >> (input.packed ? (index & 7U) : plane)) & 1U;
}

/* Adds the rows of a kernel for the inputs below it that have bit `plane` set. The kernel begins at row `top`, column
 * `left`, input `origin`; these count modulo 2^32, so that places in the padding are large and out of the image. */
static void add_window(squat_adder *adder, const uint32_t *weight, const squat_window *window, squat_input input,
                       const squat_place *place, uint32_t plane)
{
    const uint32_t *row = weight;
    uint32_t image = place->origin;
    for (uint32_t channel = 0U; channel < window->channels; channel++) {
        uint32_t line = image;
        for (uint32_t i = 0U; i < window->kernel_rows; i++) {
            for (uint32_t j = 0U; j < window->kernel_columns; j++) {
                const bool inside = ((place->top + i) < window->rows) && ((place->left + j) < window->columns);
                if (inside && (squat_input_bit(input, line + j, plane) != 0U)) {
                    add_row(adder, row);
                }
                row += adder->layer->row_words;
            }
            line += window->columns;
        }
        image += window->image_size;
    }
}

void squat_move(squat_place *place, const squat_window *window)
{
    place->column++;
    if (place->column < window->out_columns) {
        place->left += window->stride_columns;
        place->origin += window->stride_columns;
    } else {
        place->column = 0U;
        place->top += window->stride_rows;
        place->left = place->begin;
        place->line += window->stride_size;
        place->origin = place->line;
    }
}

squat_place squat_first_place(const squat_window *window)
{
    squat_place place = {0U, 0U, 0U, 0U, 0U, 0U};
    if (window != NULL) {
        place.top -= window->padding_rows;
        place.left -= window->padding_columns;
        place.begin = place.left;
        place.line -= window->padding_size;
        place.origin = place.line;
    }
    return place;
}

/* Adds the rows of the inputs below a position that have bit `plane` set. */
static void add_bits(squat_adder *adder, squat_input input, const squat_place *place, uint32_t plane)
{
    const squat_layer *const layer = adder->layer;
    if (layer->window != NULL) {
        add_window(adder, layer->weight, layer->window, input, place, plane);
    } else if (input.packed) {
        add_spikes(adder, layer->weight, input.data, layer->inputs);
    } else {
        add_plane(adder, layer->weight, input.data, layer->inputs, plane);
    }
}

static void add_input(squat_adder *adder, squat_input input, const squat_place *place)
{
    const squat_layer *const layer = adder->layer;
    const uint32_t planes = input.packed ? 1U : layer->input_bits;
    for (uint32_t plane = 0U; plane < planes; plane++) {
        const bool sign = !input.packed && layer->input_signed && ((plane + 1U) == planes);
        set_factor(adder, (uint32_t)layer->input_unit << plane, sign);
        add_bits(adder, input, place, plane);
    }
    if (input.negative != NULL) {
        const squat_input down = {input.negative, NULL, true};
        set_factor(adder, layer->input_unit, true);
        add_bits(adder, down, place, 0U);
    }
}

/* Adds the largest sums of the positions below a window, or all of them. */
static void add_pooled(squat_adder *adder, squat_input input, const squat_place *place)
{
    const squat_window *const pool = adder->layer->pool;
    const bool maximum = adder->layer->maximum;
    const uint32_t channels = adder->layer->channels;
    int32_t *const sums = adder->sums;
    squat_place below = *place;
    below.begin = place->left;
    below.line = place->origin;
    below.column = 0U;
    for (uint32_t i = 0U; i < pool->out_rows; i++) {
        for (uint32_t j = 0U; j < pool->out_columns; j++) {
            const bool apart = maximum && ((i != 0U) || (j != 0U));
            if (apart) {
                adder->sums = adder->part;
                (void)memset(adder->part, 0, (size_t)channels << 2);
            }
            add_input(adder, input, &below);
            flush(adder);
            for (uint32_t channel = 0U; apart && (channel < channels); channel++) {
                if (adder->part[channel] > sums[channel]) {
                    sums[channel] = adder->part[channel];
                }
            }
            adder->sums = sums;
            squat_move(&below, pool);
        }
    }
}

squat_adder squat_new_adder(const squat_layer *layer, int32_t *sums, int32_t *part)
{
    squat_adder adder;
    adder.layer = layer;
    adder.sums = sums;
    adder.part = part;
    adder.packing = packing_of(layer->weight_bits);
    adder.count = 0U;
    adder.factor = 1U;
    adder.negative = false;
    adder.around = squat_first_place(layer->around);
    return adder;
}

void squat_sum_position(squat_adder *adder, squat_input input, const squat_place *place, const uint8_t *spikes)
{
    const squat_layer *const layer = adder->layer;
    if (input.data == NULL) {
        /* nothing to add */
    } else if (layer->pool != NULL) {
        add_pooled(adder, input, place);
    } else {
        add_input(adder, input, place);
    }
    if ((layer->recurrent != NULL) && (spikes != NULL)) {
        set_factor(adder, layer->recurrent_unit, false);
        if (layer->around != NULL) {
            const squat_input last = {spikes, NULL, true};
            add_window(adder, layer->recurrent, layer->around, last, &adder->around, 0U);
            squat_move(&adder->around, layer->around);
        } else {
            add_spikes(adder, layer->recurrent, spikes, layer->size);
        }
    }
    flush(adder);
}

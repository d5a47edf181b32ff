/* Codes in their packed bytes, and how values become codes. Internal to the runtime. */
#ifndef SQUAT_CODES_H
#define SQUAT_CODES_H

#include <stdint.h>

/* Where packed codes lie in their bytes. */
typedef struct {
    uint32_t bits_log2; /* a code has 2^bits_log2 bits */
    uint32_t in_byte;   /* log2 of the codes in a byte */
    uint32_t place;     /* mask of a code's number in its byte */
    uint32_t mask;      /* of a code */
} squat_packed;

static inline squat_packed squat_packed_by(uint32_t bits_log2)
{
    squat_packed packed;
    packed.bits_log2 = bits_log2;
    packed.in_byte = 3U - bits_log2;
    packed.place = (1U << packed.in_byte) - 1U;
    packed.mask = (1U << (1U << bits_log2)) - 1U;
    return packed;
}

static inline uint32_t squat_read_code(const uint8_t *codes, squat_packed packed, uint32_t index)
{
    return ((uint32_t)codes[index >> packed.in_byte] >> ((index & packed.place) << packed.bits_log2)) & packed.mask;
}

static inline void squat_write_code(uint8_t *codes, squat_packed packed, uint32_t index, uint32_t code)
{
    uint8_t *const byte = &codes[index >> packed.in_byte];
    const uint32_t bit = (index & packed.place) << packed.bits_log2;
    *byte = (uint8_t)((*byte & ~(packed.mask << bit)) | (code << bit));
}

/* Number of the sorted bounds that `value` exceeds; there are 2 * half - 1, half a power of two. */
static inline uint32_t squat_encode(int32_t value, const int32_t *bound, uint32_t half)
{
    uint32_t code = 0U;
    for (uint32_t size = half; size != 0U; size >>= 1) {
        if (value > bound[code + size - 1U]) {
            code += size;
        }
    }
    return code;
}

#endif

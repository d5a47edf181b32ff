/* Inputs of a network and what it made of them when it was exported: every code of every neuron, as a checksum. */
#ifndef SQUAT_VECTORS_H
#define SQUAT_VECTORS_H

#include "squat.h"

typedef enum {
    SQUAT_BITMAPS = 0, /* a bitmap for each step */
    SQUAT_BYTES,       /* a byte for each input and step */
    SQUAT_CONSTANT,    /* a byte for each input, the same at every step */
    SQUAT_SIGNS        /* a bitmap of the inputs that are 1 and one of those that are -1 for each step */
} squat_vectors_kind;

typedef struct {
    const uint8_t *inputs; /* sample after sample, step after step */
    const uint32_t *predictions; /* by sample, NULL without a readout */
    squat_vectors_kind kind;
    uint32_t samples;
    uint32_t steps;
    uint32_t stride;   /* bytes of a step's input */
    uint32_t checksum; /* see squat_checksum */
} squat_vectors;

/* CRC-32 (the one of zlib and Ethernet) continued over the codes of all layers, in order; sums of a last layer without
 * neurons count as four bytes each, lowest first. Start with 0. */
uint32_t squat_checksum(const squat_context *context, uint32_t before);

/* One step of a sample; the first one resets the network. False if an input was refused. */
bool squat_vector_step(squat_context *context, const squat_vectors *vectors, uint32_t sample, uint32_t step);

/* Runs all vectors. True if the checksum and all predictions are as exported. */
bool squat_selftest(squat_context *context, const squat_vectors *vectors);

#endif

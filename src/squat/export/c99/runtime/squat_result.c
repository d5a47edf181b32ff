/* What is read once after the steps, and may multiply: scores and the prediction. */
#include "squat.h"

#include <stddef.h>

int64_t squat_score(const squat_context *context, uint32_t class_index)
{
    const int64_t *const multiplier = context->network->readout_multiplier;
    const int64_t score = context->scores[class_index];
    return (multiplier == NULL) ? score : (score * multiplier[class_index]);
}

uint32_t squat_prediction(const squat_context *context)
{
    uint32_t best = 0U;
    for (uint32_t i = 1U; i < context->network->last->size; i++) {
        if (squat_score(context, i) > squat_score(context, best)) {
            best = i;
        }
    }
    return best;
}

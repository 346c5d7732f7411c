/* The yardstick for a plan: the `wanted` lowest keys of the bodies that may go, by one scan over columns as fast as C does
   it. A heap of the lowest so far, the highest of them on top; `lowest` holds their slots at the end, in no order. */
#include <stddef.h>
#include <stdint.h>

static void sink(double *keys, uint32_t *slots, size_t size, size_t at, double key, uint32_t slot)
{
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && keys[child + 1] > keys[child])
            child++;
        if (keys[child] <= key)
            break;
        keys[at] = keys[child];
        slots[at] = slots[child];
    }
    keys[at] = key;
    slots[at] = slot;
}

size_t key_scan(size_t slot_count, const uint8_t *may_go, const double *fixed, const int32_t *born, const int32_t *touched,
                const uint8_t *liveness, const double *linked, const double *ages, const double *idles, size_t wanted,
                double *keys, uint32_t *lowest)
{
    size_t size = 0;
    for (size_t slot = 0; slot < slot_count; slot++) {
        if (!may_go[slot])
            continue;
        double key = fixed[slot] + linked[liveness[slot]] + ages[born[slot]] + idles[touched[slot]];
        if (size < wanted) {
            keys[size] = key;
            lowest[size++] = (uint32_t)slot;
            if (size == wanted)
                for (size_t at = size / 2; at-- > 0;)
                    sink(keys, lowest, size, at, keys[at], lowest[at]);
        } else if (key < keys[0]) {
            sink(keys, lowest, size, 0, key, (uint32_t)slot);
        }
    }
    return size;
}

/* The yardstick for mark: one reverse scan over the same graph in compressed sparse rows, as fast as C does it.
   `reached` holds the roots on entry; `target[start[s]..start[s+1])` are the older slots that slot s refers to. */
#include <stddef.h>
#include <stdint.h>

void mark_scan(size_t slots, const uint32_t *start, const uint32_t *target, uint8_t *reached)
{
    for (size_t slot = slots; slot-- > 0;)
        if (reached[slot])
            for (uint32_t edge = start[slot]; edge < start[slot + 1]; edge++)
                reached[target[edge]] = 1;
}

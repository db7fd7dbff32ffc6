/* Integer labels of any width, looked up in a table: label v is class index[v - low]. */

/* Two's complement makes the distance from low right for signed and unsigned labels alike, and huge where v < low. */
#define XE_EACH_LABEL(TYPE, DO) \
    for (ptrdiff_t r = 0; r < n; r++) { \
        const uint64_t at = (uint64_t)(int64_t)((const TYPE *)t->labels)[first + r] - (uint64_t)t->low; \
        DO \
    }
#define XE_EVERY_TYPE(DO) \
    switch (t->is_signed ? -t->item_size : t->item_size) { \
    case -1: XE_EACH_LABEL(int8_t, DO) break; \
    case 1: XE_EACH_LABEL(uint8_t, DO) break; \
    case -2: XE_EACH_LABEL(int16_t, DO) break; \
    case 2: XE_EACH_LABEL(uint16_t, DO) break; \
    case -4: XE_EACH_LABEL(int32_t, DO) break; \
    case 4: XE_EACH_LABEL(uint32_t, DO) break; \
    case -8: XE_EACH_LABEL(int64_t, DO) break; \
    case 8: XE_EACH_LABEL(uint64_t, DO) break; \
    }

/* Class indices of labels first..first + n into out, -1 for a label that the table does not hold. Returns the first
 * such row, or -1. */
ptrdiff_t xe_encode_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, int32_t *out)
{
    const uint64_t size = (uint64_t)t->table_size;
    const int32_t *table = t->table;
    int32_t least = 0;
    XE_EVERY_TYPE(out[r] = at < size ? table[at] : -1; least = out[r] < least ? out[r] : least;)
    if (least >= 0) return -1;
    ptrdiff_t r = 0;
    while (out[r] >= 0) r++;
    return first + r;
}

/* seen[v - low] = 1 for each label v in first..first + n. */
void xe_mark_labels(const xe_labels *t, ptrdiff_t first, ptrdiff_t n, unsigned char *seen)
{
    const uint64_t size = (uint64_t)t->table_size;
    XE_EVERY_TYPE(if (at < size) seen[at] = 1;)
}

#undef XE_EVERY_TYPE
#undef XE_EACH_LABEL

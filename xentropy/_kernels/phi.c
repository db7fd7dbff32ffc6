/* The names of the losses. */
#include "phi.h"

#include <string.h>

int xe_loss_kind(const char *name)
{
    static const char *const names[] = {
#define ENTRY(name) #name,
        XE_LOSSES(ENTRY)
#undef ENTRY
    };
    for (int kind = 0; kind < (int)(sizeof names / sizeof *names); kind++)
        if (!strcmp(name, names[kind])) return kind;
    return -1;
}

#include "base/lean.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* Only what is mapped to run: nothing is ever written there, so that the file has all of it. Data
 * that the linker relocated stands in mappings that look like constants, and would be lost. */
static void drop_code(const char *line)
{
    uint64_t start, end;
    char rights[5];

    if (strchr(line, '/') == NULL || strstr(line, " (deleted)") != NULL ||
        sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s", &start, &end, rights) != 3 ||
        strcmp(rights, "r-xp") != 0)
        return;
    madvise((void *)(uintptr_t)start, end - start, MADV_DONTNEED);
}

void lean_trim(void)
{
    char line[512];
    FILE *maps;

    malloc_trim(0);
    maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return;
    while (fgets(line, sizeof line, maps) != NULL)
        drop_code(line);
    fclose(maps);
}

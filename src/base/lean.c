/* dl_iterate_phdr is one of GNU's. */
#include "base/lean.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Only what is mapped without the right to write: the file has all of it. What the linker relocated
 * and protected then stands in segments that may be written, by their headers, and is left alone.
 * The vdso has a name without a slash, and no file. */
static int drop_object(struct dl_phdr_info *object, size_t size, void *ctx)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    (void)size;
    (void)ctx;
    if (object->dlpi_name[0] != 0 && strchr(object->dlpi_name, '/') == NULL)
        return 0;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = object->dlpi_addr + segment->p_vaddr;
        uintptr_t end = (start + segment->p_memsz + page - 1) & ~(page - 1);

        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0)
            continue;
        start &= ~(page - 1);
        madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

void lean_trim(void)
{
    malloc_trim(0);
    dl_iterate_phdr(drop_object, NULL);
}

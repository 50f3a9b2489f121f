/* lockmem.h: pages for keys. With memfd_secret(2) not even the kernel's own mapping holds them: no
 * ptrace, no /proc/PID/mem. Without it: locked, in no core dump, empty after fork. */
#ifndef SECRETS_LOCKMEM_H
#define SECRETS_LOCKMEM_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed memory of n bytes, rounded up to pages; never NULL. Returns new. */
void *lockmem_new(size_t n);
/* Overwrites, then unmaps. NULL is fine. */
void lockmem_free(void *p, size_t n);
/* Does this kernel hide such pages from everyone (memfd_secret)? */
bool lockmem_is_hidden(void);

#endif

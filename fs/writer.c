/* Whether the process that closes a file is the one that wrote it, and whether it was killed. */
#include "fs/engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define PF_EXITING_BIT 0x4u

/* Reads a small file of /proc; bytes, 0 if there is none. */
static size_t proc_read(pid_t pid, const char *name, char *buf, size_t cap)
{
    autoclose int fd = -1;
    char path[64];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd >= 0 ? read(fd, buf, cap - 1) : -1;
    if (n < 0)
        n = 0;
    buf[n] = 0;
    return (size_t)n;
}

/* The field of /proc/pid/stat, counted as proc(5) does; from 3 on, behind the name, which may hold
 * anything. */
static unsigned long stat_field(const char *stat, unsigned field)
{
    const char *p = strrchr(stat, ')');

    for (unsigned i = 2; p != NULL && i < field; i++) {
        p = strchr(p, ' ');
        if (p != NULL)
            p++;
    }
    return p != NULL ? strtoul(p, NULL, 10) : 0;
}

/* The process of a thread; 0 if it is gone. */
static pid_t process_of(pid_t tid)
{
    char text[2048];
    const char *line;

    proc_read(tid, "status", text, sizeof text);
    line = strstr(text, "\nTgid:");
    return line != NULL ? (pid_t)strtol(line + 6, NULL, 10) : 0;
}

static bool same_process(pid_t a, pid_t b)
{
    pid_t process;

    if (a == b || a == 0 || b == 0)
        return true;
    process = process_of(b);
    return process == 0 || process == process_of(a);
}

/* The kernel flushes for a process that was killed as if it had closed: with half the content. It
 * shows in the exit code (fields 9 and 52), which is set before the files are closed. A process
 * that only inherited the descriptor and closes it (fork and exec) publishes nothing. */
enum writer writer_judge(pid_t closer, pid_t writer)
{
    char text[2048];

    if (closer == 0)
        return WRITER_CLOSES; /* of another pid namespace: the content must validate */
    if (!same_process(closer, writer))
        return WRITER_OTHER;
    if (proc_read(closer, "stat", text, sizeof text) == 0)
        return WRITER_CLOSES;
    if ((stat_field(text, 9) & PF_EXITING_BIT) != 0 && (stat_field(text, 52) & 0x7f) != 0)
        return WRITER_KILLED;
    return WRITER_CLOSES;
}

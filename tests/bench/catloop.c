/* catloop.c: how long reading a file takes, for several files in turn, so that whatever else the
 * machine does hits all alike.
 *
 *   catloop ROUNDS PATH...      prints "<ns of open, read to the end, close> <ns of a cat> PATH"
 *
 * A round does each file 50 times in process and 5 times with cat, and begins with another file than
 * the one before. Of all rounds the tenth part that took least counts: those the rest of the machine
 * left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 16
#define ROUNDS_MAX 10000

extern char **environ;
static int64_t inside[FILES_MAX][ROUNDS_MAX], whole[FILES_MAX][ROUNDS_MAX];

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* What cat does: open, fstat, read until the end. */
static void read_once(const char *path)
{
    static char buf[131072];
    struct stat st;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        exit(1);
    }
    while (read(fd, buf, sizeof buf) > 0)
        ;
    close(fd);
}

static void cat_once(const char *path)
{
    char *argv[] = {"cat", (char *)(uintptr_t)path, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&pid, "/bin/cat", &actions, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) < 0 || status != 0)
        exit(1);
    posix_spawn_file_actions_destroy(&actions);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[1]) : 0;
    int files = argc - 2;

    if (rounds < 1 || rounds > ROUNDS_MAX || files > FILES_MAX)
        return 64;
    for (int r = 0; r < rounds; r++)
        for (int k = 0; k < files; k++) {
            int f = (k + r) % files;
            int64_t start = now();

            for (int i = 0; i < 50; i++)
                read_once(argv[2 + f]);
            inside[f][r] = (now() - start) / 50;
            start = now();
            for (int i = 0; i < 5; i++)
                cat_once(argv[2 + f]);
            whole[f][r] = (now() - start) / 5;
        }
    for (int f = 0; f < files; f++) {
        qsort(inside[f], (size_t)rounds, sizeof inside[f][0], compare);
        qsort(whole[f], (size_t)rounds, sizeof whole[f][0], compare);
        printf("%lld %lld %s\n", (long long)inside[f][rounds / 10], (long long)whole[f][rounds / 10],
               argv[2 + f]);
    }
    return 0;
}

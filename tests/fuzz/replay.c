/* Feeds every file of the corpus folders named on the command line to a fuzz harness, and each
 * of their prefixes too: a parser must survive an input that is cut anywhere. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *copy;
    uint8_t *data = malloc(1 << 20);
    size_t n;

    if (f == NULL || data == NULL)
        abort();
    n = fread(data, 1, 1 << 20, f);
    fclose(f);
    for (size_t cut = n; cut + 512 > n; cut--) {
        copy = malloc(cut > 0 ? cut : 1); /* exact size, so that an overrun is seen */
        if (copy == NULL)
            abort();
        memcpy(copy, data, cut);
        LLVMFuzzerTestOneInput(copy, cut);
        free(copy);
        if (cut == 0)
            break;
    }
    free(data);
}

int main(int argc, char **argv)
{
    size_t files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        struct dirent *entry;
        char path[4096];

        if (dir == NULL) {
            fprintf(stderr, "no corpus at %s\n", argv[i]);
            return 1;
        }
        while ((entry = readdir(dir)) != NULL) {
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            replay_file(path);
            files++;
        }
        closedir(dir);
    }
    printf("%zu corpus files replayed\n", files);
    return files > 0 ? 0 : 1;
}

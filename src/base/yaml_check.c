/* yaml_check.c: strict, typed access to a YAML tree, with a place and a reason for each refusal. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "base/yaml.h"

#include <errno.h>
#include <strings.h>

struct yaml *yaml_get(const struct yaml *map, const char *key)
{
    if (map == NULL || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n_items; i++)
        if (strcmp(map->items[i]->key->text, key) == 0)
            return map->items[i];
    return NULL;
}

int yaml_fail(const struct yaml *at, struct buf *why, const char *format, ...)
{
    va_list args;

    if (why->len > 0)
        return -EINVAL;
    if (at != NULL && at->line > 0) /* 0: not from a file, but from the environment */
        buf_printf(why, "line %u, column %u: ", at->line, at->column);
    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

int yaml_check_map(const struct yaml *y, const char *const *keys, struct buf *why)
{
    if (y == NULL)
        return 0;
    if (y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected keys and values here");
    for (size_t i = 0; i < y->n_items; i++) {
        const struct yaml *key = y->items[i]->key;
        const char *near;
        size_t k = 0;

        while (keys[k] != NULL && strcmp(keys[k], key->text) != 0)
            k++;
        if (keys[k] != NULL)
            continue;
        near = nearest_name(key->text, keys);
        if (near != NULL)
            return yaml_fail(key, why, "unknown key '%s'; did you mean '%s'?", key->text, near);
        return yaml_fail(key, why, "unknown key '%s'", key->text);
    }
    return 0;
}

int yaml_string(const struct yaml *y, const char **ret, struct buf *why)
{
    if (y->kind != YAML_SCALAR || y->text == NULL)
        return yaml_fail(y, why, "expected a text");
    if (strlen(y->text) != y->text_len)
        return yaml_fail(y, why, "the text holds a NUL byte");
    *ret = y->text;
    return 0;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasecmp(text, *words) == 0)
            return true;
    return false;
}

/* YAML 1.1 section 10.2.1.2, as Prometheus' reader takes them */
int yaml_bool(const struct yaml *y, bool *ret, struct buf *why)
{
    static const char *const yes[] = {"true", "yes", "on", "y", NULL};
    static const char *const no[] = {"false", "no", "off", "n", NULL};

    if (y->kind == YAML_SCALAR && y->text != NULL && !y->quoted) {
        bool value = is_one_of(y->text, yes);

        if (value || is_one_of(y->text, no)) {
            *ret = value;
            return 0;
        }
    }
    return yaml_fail(y, why, "expected true or false");
}

int yaml_u64(const struct yaml *y, uint64_t max, uint64_t *ret, struct buf *why)
{
    int r = -EINVAL;

    if (y->kind == YAML_SCALAR && y->text != NULL && !y->quoted)
        r = parse_u64(slice_of(y->text, y->text_len), max, ret);
    if (r == -ERANGE)
        return yaml_fail(y, why, "'%s' is too large; the limit is %llu", y->text,
                         (unsigned long long)max);
    return r < 0 ? yaml_fail(y, why, "expected a whole number") : 0;
}

int yaml_duration_ms(const struct yaml *y, int64_t *ret, struct buf *why)
{
    if (y->kind != YAML_SCALAR || y->text == NULL)
        return yaml_fail(y, why, "expected a duration, such as 15s or 1h30m");
    if (duration_parse_ms(slice_of(y->text, y->text_len), ret) < 0)
        return yaml_fail(y, why, "'%s' is not a duration, such as 15s or 1h30m", y->text);
    return 0;
}

int yaml_size(const struct yaml *y, uint64_t *ret, struct buf *why)
{
    static const struct {
        const char *unit;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", 1ull << 10},
        {"MiB", 1ull << 20},
        {"GiB", 1ull << 30},
        {"TiB", 1ull << 40},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
    };
    uint64_t number;
    size_t digits = 0;

    if (y->kind != YAML_SCALAR || y->text == NULL)
        return yaml_fail(y, why, "expected a size, such as 100MiB");
    while (y->text[digits] >= '0' && y->text[digits] <= '9')
        digits++;
    for (size_t i = 0; i < array_size(units); i++) {
        if (strcasecmp(y->text + digits, units[i].unit) != 0)
            continue;
        if (parse_u64(slice_of(y->text, digits), UINT64_MAX / units[i].bytes, &number) < 0)
            break;
        *ret = number * units[i].bytes;
        return 0;
    }
    return yaml_fail(y, why, "'%s' is not a size, such as 100MiB", y->text);
}

/* Damerau's distance between names of at most 63 bytes: inserted, dropped, changed or swapped. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[3][64];
    size_t n = strlen(a), m = strlen(b);

    if (n > 63 || m > 63)
        return 64;
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *above = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[n % 3][m];
}

const char *nearest_name(const char *name, const char *const *names)
{
    size_t len = strlen(name);
    unsigned near = len < 3 ? 1 : len < 7 ? 2 : 3;
    const char *best = NULL;

    for (; *names != NULL; names++) {
        unsigned d = distance(name, *names);

        if (d > near || (best != NULL && d == near) || d >= len)
            continue;
        near = d;
        best = *names;
    }
    return best;
}

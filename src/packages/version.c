#include "packages/version.h"

#include <errno.h>

/* What is left of a text that is being read. */
struct cursor {
    const char *at, *end;
};

static char peek(const struct cursor *c)
{
    return c->at < c->end ? *c->at : 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_separator(char c)
{
    return c == '-' || c == '_' || c == '.';
}

static struct cursor trimmed(struct slice text)
{
    struct cursor c = {text.data, (const char *)text.data + text.len};

    while (c.at < c.end && is_blank(*c.at))
        c.at++;
    while (c.end > c.at && is_blank(c.end[-1]))
        c.end--;
    return c;
}

/* 1 a number was read, 0 there is none, -EINVAL it is too large. */
static int read_number(struct cursor *c, uint64_t *ret)
{
    uint64_t v = 0;

    if (!is_digit(peek(c)))
        return 0;
    for (; is_digit(peek(c)); c->at++) {
        if (v > (INT64_MAX - 9) / 10)
            return -EINVAL;
        v = v * 10 + (uint64_t)(*c->at - '0');
    }
    *ret = v;
    return 1;
}

/* Takes the word, in any case, if it stands here. */
static bool read_word(struct cursor *c, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(c->end - c->at) < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(c->at[i]) != word[i])
            return false;
    c->at += n;
    return true;
}

/* A suffix [-_.]? word ([-_.]? number)?: 1 with its number (0 if left out) and which word; 0 if
 * none of the words stands here, and the cursor has not moved. */
static int read_suffix(struct cursor *c, const char *const *words, size_t *ret_word,
                       uint64_t *ret_number)
{
    struct cursor start = *c;
    struct cursor after;
    uint64_t number = 0;
    int r;

    if (is_separator(peek(c)))
        c->at++;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (!read_word(c, words[i]))
            continue;
        after = *c;
        if (is_separator(peek(c)))
            c->at++;
        r = read_number(c, &number);
        if (r < 0)
            return r;
        if (r == 0)
            *c = after;
        *ret_word = i;
        *ret_number = number;
        return 1;
    }
    *c = start;
    return 0;
}

static int read_release(struct cursor *c, struct version *v)
{
    uint64_t number;
    int r;

    r = read_number(c, &number);
    if (r <= 0)
        return -EINVAL;
    if (peek(c) == '!') {
        c->at++;
        v->epoch = number;
        r = read_number(c, &number);
        if (r <= 0)
            return -EINVAL;
    }
    v->release[0] = number;
    v->n_release = 1;
    while (peek(c) == '.' && c->at + 1 < c->end && is_digit(c->at[1])) {
        c->at++;
        if (v->n_release == VERSION_RELEASE_MAX || read_number(c, &number) < 0)
            return -EINVAL;
        v->release[v->n_release++] = number;
    }
    return 0;
}

static int read_pre(struct cursor *c, struct version *v)
{
    static const char *const words[] = {"alpha", "beta", "preview", "pre", "rc",
                                        "a",     "b",    "c",       NULL};
    static const char letters[] = "abrrrabr";
    size_t word;
    int r = read_suffix(c, words, &word, &v->pre_number);

    if (r == 1)
        v->pre = letters[word];
    return r < 0 ? r : 0;
}

static int read_post(struct cursor *c, struct version *v)
{
    static const char *const words[] = {"post", "rev", "r", NULL};
    size_t word;
    int r;

    /* "1.0-1" is an implicit post release (PEP 440, "Implicit post releases"). */
    if (peek(c) == '-' && c->at + 1 < c->end && is_digit(c->at[1])) {
        c->at++;
        r = read_number(c, &v->post_number);
    } else {
        r = read_suffix(c, words, &word, &v->post_number);
    }
    v->has_post = r == 1;
    return r < 0 ? r : 0;
}

static int read_dev(struct cursor *c, struct version *v)
{
    static const char *const words[] = {"dev", NULL};
    size_t word;
    int r = read_suffix(c, words, &word, &v->dev_number);

    v->has_dev = r == 1;
    return r < 0 ? r : 0;
}

static int read_local(struct cursor *c, struct version *v)
{
    size_t n = 0;
    bool was_separator = true;

    if (peek(c) != '+')
        return 0;
    for (c->at++; c->at < c->end; c->at++) {
        char ch = lower(*c->at);
        bool separator = is_separator(ch);

        if (!separator && !is_digit(ch) && !(ch >= 'a' && ch <= 'z'))
            return -EINVAL;
        if (separator && was_separator)
            return -EINVAL;
        v->local[n++] = separator ? '.' : ch; /* fits: the whole text is no longer */
        was_separator = separator;
    }
    v->local[n] = 0;
    return was_separator ? -EINVAL : 0;
}

int version_parse(struct slice text, struct version *ret)
{
    struct cursor c = trimmed(text);
    struct version v = {0};

    if (c.at == c.end || c.end - c.at > VERSION_TEXT_MAX)
        return -EINVAL;
    read_word(&c, "v");
    if (read_release(&c, &v) < 0 || read_pre(&c, &v) < 0 || read_post(&c, &v) < 0 ||
        read_dev(&c, &v) < 0 || read_local(&c, &v) < 0 || c.at != c.end)
        return -EINVAL;
    *ret = v;
    return 0;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int cmp_release(const struct version *a, const struct version *b)
{
    unsigned n = a->n_release > b->n_release ? a->n_release : b->n_release;

    for (unsigned i = 0; i < n; i++) {
        int r = cmp_u64(i < a->n_release ? a->release[i] : 0, i < b->n_release ? b->release[i] : 0);

        if (r != 0)
            return r;
    }
    return 0;
}

/* Where the pre-release part stands: a development release of a final version comes before its
 * pre-releases, no pre-release comes after them. */
static int pre_rank(const struct version *v)
{
    if (v->pre != 0)
        return v->pre;
    return v->has_dev && !v->has_post ? 0 : 127;
}

static const char *skip_zeros(const char *s, size_t *len)
{
    while (*len > 1 && *s == '0') {
        s++;
        --*len;
    }
    return s;
}

/* One segment of a local version: numbers compare as numbers and come after words. */
static int cmp_segment(const char *a, size_t na, const char *b, size_t nb)
{
    bool number_a = strspn(a, "0123456789") >= na, number_b = strspn(b, "0123456789") >= nb;

    if (number_a != number_b)
        return number_a ? 1 : -1;
    if (number_a) {
        a = skip_zeros(a, &na);
        b = skip_zeros(b, &nb);
        if (na != nb)
            return na < nb ? -1 : 1;
    }
    return slice_cmp(slice_of(a, na), slice_of(b, nb));
}

static int cmp_local(const char *a, const char *b)
{
    while (*a != 0 && *b != 0) {
        size_t na = strcspn(a, "."), nb = strcspn(b, ".");
        int r = cmp_segment(a, na, b, nb);

        if (r != 0)
            return r;
        a += na + (a[na] == '.');
        b += nb + (b[nb] == '.');
    }
    return (*a != 0) - (*b != 0);
}

int version_cmp(const struct version *a, const struct version *b)
{
    int r = cmp_u64(a->epoch, b->epoch);

    if (r == 0)
        r = cmp_release(a, b);
    if (r == 0)
        r = pre_rank(a) - pre_rank(b);
    if (r == 0)
        r = cmp_u64(a->pre_number, b->pre_number);
    if (r == 0)
        r = a->has_post - b->has_post;
    if (r == 0)
        r = cmp_u64(a->post_number, b->post_number);
    if (r == 0)
        r = b->has_dev - a->has_dev;
    if (r == 0)
        r = cmp_u64(a->dev_number, b->dev_number);
    return r != 0 ? r : cmp_local(a->local, b->local);
}

bool version_same(struct slice a, struct slice b)
{
    struct version va, vb;

    return version_parse(a, &va) == 0 && version_parse(b, &vb) == 0 && version_cmp(&va, &vb) == 0;
}

/* Segments of a local version that are numbers lose their leading zeros. */
static void print_local(const char *local, struct buf *out)
{
    for (size_t n; *local != 0; local += n + (local[n] == '.')) {
        size_t len = n = strcspn(local, ".");
        const char *s = local;

        if (strspn(local, "0123456789") >= n)
            s = skip_zeros(local, &len);
        buf_add(out, s, len);
        if (local[n] == '.')
            buf_add_char(out, '.');
    }
}

void version_print(const struct version *v, struct buf *out)
{
    if (v->epoch != 0)
        buf_printf(out, "%llu!", (unsigned long long)v->epoch);
    for (unsigned i = 0; i < v->n_release; i++) {
        if (i > 0)
            buf_add_char(out, '.');
        buf_add_u64(out, v->release[i]);
    }
    if (v->pre != 0) {
        buf_add_str(out, v->pre == 'r' ? "rc" : v->pre == 'a' ? "a" : "b");
        buf_add_u64(out, v->pre_number);
    }
    if (v->has_post)
        buf_printf(out, ".post%llu", (unsigned long long)v->post_number);
    if (v->has_dev)
        buf_printf(out, ".dev%llu", (unsigned long long)v->dev_number);
    if (v->local[0] != 0) {
        buf_add_char(out, '+');
        print_local(v->local, out);
    }
}

static bool specifier_valid(struct slice text)
{
    static const char *const operators[] = {"===", "~=", "==", "!=", "<=", ">=", "<", ">", NULL};
    struct cursor c = trimmed(text);
    struct version v;
    size_t i = 0;

    while (operators[i] != NULL && !read_word(&c, operators[i]))
        i++;
    c = trimmed(slice_of(c.at, (size_t)(c.end - c.at)));
    if (operators[i] == NULL || c.at == c.end)
        return false;
    if (i == 0) /* === compares texts */
        return memchr(c.at, ' ', (size_t)(c.end - c.at)) == NULL;
    if ((i == 2 || i == 3) && c.end - c.at > 2 && memcmp(c.end - 2, ".*", 2) == 0)
        c.end -= 2;
    if (version_parse(slice_of(c.at, (size_t)(c.end - c.at)), &v) < 0)
        return false;
    return i != 1 || v.n_release >= 2; /* ~= needs two release segments */
}

bool specifiers_valid(struct slice text)
{
    struct cursor c = trimmed(text);

    while (c.at < c.end) {
        const char *comma = memchr(c.at, ',', (size_t)(c.end - c.at));
        const char *end = comma != NULL ? comma : c.end;
        struct cursor one = trimmed(slice_of(c.at, (size_t)(end - c.at)));

        /* A trailing or doubled comma is accepted, as `packaging` does. */
        if (one.at < one.end && !specifier_valid(slice_of(one.at, (size_t)(one.end - one.at))))
            return false;
        c.at = comma != NULL ? comma + 1 : c.end;
    }
    return true;
}

#include "base/multipart.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

enum state {
    PREAMBLE, /* before the first boundary */
    BOUNDARY, /* right behind a boundary: "--" ends, a line end begins a part */
    HEADERS,
    CONTENT,
    EPILOGUE,
};

struct multipart {
    struct multipart_events events;
    void *ctx;
    struct multipart_limits limits;
    enum state state;
    /* "\r\n--" + boundary. CR stands at its beginning only, so after a mismatch the search goes on
     * at the next CR; nothing has to be looked at twice. */
    char delimiter[4 + 70 + 1];
    size_t delimiter_len;
    size_t matched;  /* bytes of the delimiter seen at the end of the last piece */
    size_t implied;  /* of these, how many never came: at the beginning no line end is needed */
    bool inside;     /* BOUNDARY: it would end the content of a part */
    struct buf line; /* HEADERS: the header lines so far; BOUNDARY: the rest of the line */
    size_t n_parts;
    int err;
    const char *why;
};

static int fail(struct multipart *m, int err, const char *why)
{
    m->err = -err;
    m->why = why;
    return m->err;
}

/* A parameter's value at *p, a token or a quoted string with backslash escapes, appended to out.
 * False if the quotes do not close. */
static bool read_value(const char **p, struct buf *out)
{
    const char *s = *p;
    bool quoted = *s == '"';

    for (s += quoted; *s != 0; s++) {
        if (quoted ? *s == '"' : *s == ';' || *s == ' ' || *s == '\t')
            break;
        /* Only what must be escaped is: old browsers send Windows paths as they are. */
        if (quoted && *s == '\\' && (s[1] == '"' || s[1] == '\\'))
            s++;
        buf_add_char(out, *s);
    }
    if (quoted && *s != '"')
        return false;
    *p = s + quoted;
    return true;
}

/* Finds `; name=value` in a header's value. 1 found, 0 absent, -EINVAL. */
static int find_parameter(const char *value, const char *name, struct buf *out)
{
    const char *p = value + strcspn(value, ";");
    size_t len = strlen(name);

    while (*p == ';') {
        autobuf other = {0};
        bool hit;

        p += 1 + strspn(p + 1, " \t");
        hit = strncasecmp(p, name, len) == 0 && p[len] == '=';
        p += strcspn(p, "=;");
        if (*p != '=')
            continue;
        p++;
        if (!read_value(&p, hit ? out : &other))
            return -EINVAL;
        if (hit)
            return 1;
        p += strspn(p, " \t");
        if (*p != ';' && *p != 0)
            return -EINVAL;
    }
    return 0;
}

/* RFC 2046 section 5.1.1: bchars; a blank may not be the last. */
static bool boundary_is_valid(const char *s)
{
    size_t n = strlen(s);

    if (n == 0 || n > 70 || s[n - 1] == ' ')
        return false;
    return strspn(s,
                  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'()+_,-./:=? ") ==
           n;
}

int multipart_new(const char *content_type, const struct multipart_events *events, void *ctx,
                  const struct multipart_limits *limits, struct multipart **ret)
{
    static const char type[] = "multipart/form-data";
    autobuf boundary = {0};
    struct multipart *m;

    if (content_type == NULL || strncasecmp(content_type, type, sizeof type - 1) != 0)
        return -EINVAL;
    content_type += sizeof type - 1;
    if (content_type[strspn(content_type, " \t")] != ';')
        return -EINVAL;
    if (find_parameter(content_type, "boundary", &boundary) != 1 ||
        boundary.len != strlen(boundary.data != NULL ? boundary.data : "") ||
        !boundary_is_valid(boundary.data != NULL ? boundary.data : ""))
        return -EINVAL;
    m = xcalloc(1, sizeof *m);
    m->events = *events;
    m->ctx = ctx;
    if (limits != NULL)
        m->limits = *limits;
    if (m->limits.parts == 0)
        m->limits.parts = 1000;
    if (m->limits.header_bytes == 0)
        m->limits.header_bytes = 16u << 10;
    m->line.limit_bytes = m->limits.header_bytes;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.data, boundary.len);
    m->delimiter_len = 4 + boundary.len;
    m->matched = m->implied = 2; /* the first boundary may stand at the very beginning */
    *ret = m;
    return 0;
}

void multipart_free(struct multipart *m)
{
    if (m == NULL)
        return;
    buf_done(&m->line);
    free(m);
}

const char *multipart_why(const struct multipart *m)
{
    return m->why != NULL ? m->why : "";
}

/* Reads one header line of a part. */
static int read_header(struct multipart *m, char *line, struct buf *name, struct buf *filename,
                       struct multipart_part *part)
{
    char *value = strchr(line, ':');
    int r;

    if (value == NULL || value == line || line[0] == ' ' || line[0] == '\t')
        return fail(m, EINVAL, "a header of a part has no name");
    *value++ = 0;
    value += strspn(value, " \t");
    if (strcasecmp(line, "Content-Type") == 0)
        part->content_type = value;
    if (strcasecmp(line, "Content-Transfer-Encoding") == 0 && strcasecmp(value, "binary") != 0 &&
        strcasecmp(value, "8bit") != 0 && strcasecmp(value, "7bit") != 0)
        return fail(m, EINVAL, "a part has a transfer encoding; send it as it is");
    if (strcasecmp(line, "Content-Disposition") != 0)
        return 0;
    if (strncasecmp(value, "form-data", 9) != 0 || (value[9] != ';' && value[9] != ' '))
        return fail(m, EINVAL, "a part's Content-Disposition is not form-data");
    if (name->data != NULL)
        return fail(m, EINVAL, "a part has two Content-Disposition headers");
    if (find_parameter(value, "name", name) != 1)
        return fail(m, EINVAL, "a part's Content-Disposition has no name");
    r = find_parameter(value, "filename", filename);
    if (r < 0)
        return fail(m, EINVAL, "a part's filename has an open quote");
    part->has_filename = r == 1;
    buf_reserve(name, 0);
    return 0;
}

/* All header lines of a part are in m->line, each NUL-terminated. */
static int begin_part(struct multipart *m)
{
    struct multipart_part part = {.name = "", .filename = "", .content_type = ""};
    autobuf name = {0}, filename = {0};
    size_t at = 0;
    int r = 0;

    if (++m->n_parts > m->limits.parts)
        return fail(m, EFBIG, "the form has too many parts");
    while (r == 0 && at < m->line.len) {
        size_t len = strlen(m->line.data + at);

        r = read_header(m, m->line.data + at, &name, &filename, &part);
        at += len + 1;
    }
    if (r < 0)
        return r;
    if (name.data == NULL)
        return fail(m, EINVAL, "a part has no Content-Disposition");
    part.name = name.data;
    if (filename.data != NULL)
        part.filename = filename.data;
    r = m->events.part(m->ctx, &part);
    buf_clear(&m->line);
    m->state = CONTENT;
    m->matched = m->implied = 2; /* some senders put nothing before the end of an empty part */
    return m->err = r < 0 ? r : 0;
}

/* Takes one line (without its end) of the headers. */
static int end_line(struct multipart *m, size_t line_start)
{
    if (m->line.len > line_start && m->line.data[m->line.len - 1] == '\r')
        m->line.data[--m->line.len] = 0;
    if (m->line.len > line_start) {
        buf_add_char(&m->line, 0);
        return m->line.failed ? fail(m, EFBIG, "a part's headers are too long") : 0;
    }
    return begin_part(m);
}

static size_t last_line_start(const struct buf *lines)
{
    const char *nul = lines->len > 0 ? memrchr(lines->data, 0, lines->len) : NULL;

    return nul != NULL ? (size_t)(nul - lines->data) + 1 : 0;
}

static int feed_headers(struct multipart *m, struct slice *in)
{
    const char *lf = memchr(in->data, '\n', in->len);
    size_t n = lf != NULL ? (size_t)(lf - (const char *)in->data) : in->len;
    size_t start = last_line_start(&m->line);

    if (memchr(in->data, 0, n) != NULL)
        return fail(m, EINVAL, "a part's headers hold a NUL");
    buf_add(&m->line, in->data, n);
    if (m->line.failed)
        return fail(m, EFBIG, "a part's headers are too long");
    *in = slice_skip(*in, lf != NULL ? n + 1 : n);
    return lf != NULL ? end_line(m, start) : 0;
}

static int give(struct multipart *m, const void *bytes, size_t n)
{
    int r = m->state == CONTENT && n > 0 ? m->events.data(m->ctx, bytes, n) : 0;

    return m->err = r < 0 ? r : 0;
}

/* What began as a delimiter was none: its bytes are content. */
static int give_back(struct multipart *m, size_t n)
{
    size_t implied = m->implied;

    m->matched = m->implied = 0;
    return n > implied ? give(m, m->delimiter + implied, n - implied) : 0;
}

static int found_delimiter(struct multipart *m)
{
    m->inside = m->state == CONTENT;
    m->matched = 0;
    m->state = BOUNDARY;
    return 0;
}

static int leave_boundary(struct multipart *m, enum state next)
{
    int r = m->inside ? m->events.end(m->ctx) : 0;

    buf_clear(&m->line);
    m->implied = 0;
    m->state = next;
    return m->err = r < 0 ? r : 0;
}

/* "--boundaryX" is content that looks like one. */
static int look_alike(struct multipart *m)
{
    int r;

    m->state = m->inside ? CONTENT : PREAMBLE;
    r = give_back(m, m->delimiter_len);
    if (r == 0)
        r = give(m, m->line.data, m->line.len);
    buf_clear(&m->line);
    return r;
}

/* Behind a boundary: "--", or blanks and a line end (RFC 2046: transport padding). */
static int feed_boundary(struct multipart *m, struct slice *in)
{
    char c = *(const char *)in->data;
    bool dash = m->line.len > 0 && m->line.data[0] == '-';

    if (dash ? c != '-'
             : c != '\n' && c != '\r' && c != ' ' && c != '\t' && (c != '-' || m->line.len))
        return look_alike(m);
    *in = slice_skip(*in, 1);
    if (dash)
        return leave_boundary(m, EPILOGUE);
    if (c == '\n')
        return leave_boundary(m, HEADERS);
    buf_add_char(&m->line, c);
    return m->line.failed ? fail(m, EFBIG, "a boundary's line is too long") : 0;
}

/* Goes on with a delimiter of which the last piece ended in the beginning. */
static int feed_matched(struct multipart *m, struct slice *in)
{
    size_t want = m->delimiter_len - m->matched;
    size_t n = in->len < want ? in->len : want;

    if (memcmp(m->delimiter + m->matched, in->data, n) != 0)
        return give_back(m, m->matched);
    m->matched += n;
    *in = slice_skip(*in, n);
    return n == want ? found_delimiter(m) : 0;
}

static int feed_content(struct multipart *m, struct slice *in)
{
    const char *begin = in->data, *end = begin + in->len, *p = begin;
    int r;

    while ((p = memchr(p, '\r', (size_t)(end - p))) != NULL) {
        size_t n = (size_t)(end - p) < m->delimiter_len ? (size_t)(end - p) : m->delimiter_len;

        if (memcmp(p, m->delimiter, n) == 0) {
            r = give(m, begin, (size_t)(p - begin));
            m->matched = n;
            *in = slice_skip(*in, (size_t)(p - begin) + n);
            if (r < 0)
                return r;
            return n == m->delimiter_len ? found_delimiter(m) : 0;
        }
        p++;
    }
    *in = slice_of(end, 0);
    return give(m, begin, (size_t)(end - begin));
}

int multipart_feed(struct multipart *m, const void *bytes, size_t n)
{
    struct slice in = slice_of(bytes, n);
    int r = m->err;

    while (r == 0 && in.len > 0) {
        if (m->state == EPILOGUE)
            return 0;
        else if (m->state == BOUNDARY)
            r = feed_boundary(m, &in);
        else if (m->state == HEADERS)
            r = feed_headers(m, &in);
        else if (m->matched > 0)
            r = feed_matched(m, &in);
        else
            r = feed_content(m, &in);
    }
    return r;
}

int multipart_end(struct multipart *m)
{
    if (m->err < 0)
        return m->err;
    if (m->state != EPILOGUE)
        return fail(m, EINVAL, "the form ends without its final boundary; was it cut short?");
    return 0;
}

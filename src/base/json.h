/* json.h: a streaming JSON writer onto a buf. (Input is parsed with jansson.) */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

/* Jansson has functions of these three names. Ours get others, so that a file may include both, and
 * that libjansson does not find ours when it calls its own. */
#include <jansson.h>
#define json_object json_write_object
#define json_array  json_write_array
#define json_null   json_write_null

#define JSON_DEPTH_MAX 1280

/* Commas are placed by the writer. Calls must form one valid value; a wrong order is a bug of the
 * caller and asserts. */
struct json {
    struct buf *out;
    uint64_t has_value[JSON_DEPTH_MAX / 64]; /* bit d: a value was written at depth d */
    unsigned depth;
    bool after_key;
};

void json_init(struct json *j, struct buf *out);
void json_object(struct json *j);
void json_object_end(struct json *j);
void json_array(struct json *j);
void json_array_end(struct json *j);
void json_key(struct json *j, const char *key);
void json_key_slice(struct json *j, struct slice key);
void json_str(struct json *j, const char *s);      /* NULL writes null */
void json_slice(struct json *j, struct slice s);   /* invalid UTF-8 becomes U+FFFD */
void json_u64(struct json *j, uint64_t v);
void json_i64(struct json *j, int64_t v);
void json_bool(struct json *j, bool v);
void json_null(struct json *j);
void json_raw(struct json *j, struct slice text);  /* one value, already JSON, verbatim */

/* key and value in one call */
void json_kstr(struct json *j, const char *key, const char *s);
void json_kslice(struct json *j, const char *key, struct slice s);
void json_ku64(struct json *j, const char *key, uint64_t v);
void json_ki64(struct json *j, const char *key, int64_t v);
void json_kbool(struct json *j, const char *key, bool v);
void json_knull(struct json *j, const char *key);
void json_kraw(struct json *j, const char *key, struct slice text);

/* Appends s as the inside of a JSON string, without the quotes. */
void json_escape(struct buf *out, struct slice s);

#endif

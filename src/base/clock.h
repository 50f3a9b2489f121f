/* clock.h: times as integers, and their text. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/slice.h"

int64_t clock_unix_ms(void);      /* wall clock, milliseconds since 1970 */
int64_t clock_unix_ns(void);
int64_t clock_monotonic_ms(void); /* never jumps */
int64_t clock_monotonic_ns(void);

/* The wall clock for what cannot be undone: where it leaps ahead it is believed only once it has
 * stood there for an hour. It goes on as it was till then; when it is set back it is followed at
 * once. Begins at the time offset_ms + monotonic. */
struct sober_clock {
    int64_t offset_ms;             /* what is believed: wall - monotonic */
    int64_t leap_ms, leaped_at_ms; /* the offset that it leaped to, and when, monotonic */
};
int64_t clock_sober(struct sober_clock *c, int64_t unix_ms, int64_t monotonic_ms);

#define CLOCK_TEXT_MAX 40
/* RFC 3339 in UTC with a trailing Z; `digits` decimals of a second, 0, 3, 6 or 9. Returns text. */
char *clock_print_ns(int64_t unix_ns, unsigned digits, char text[CLOCK_TEXT_MAX]);
/* RFC 3339 with any offset and up to 9 decimals. -EINVAL. */
int clock_parse(struct slice text, int64_t *ret_unix_ns);
/* HTTP date, RFC 9110 section 5.6.7 (IMF-fixdate). Returns text. */
char *clock_print_http(int64_t unix_ms, char text[CLOCK_TEXT_MAX]);
int clock_parse_http(struct slice text, int64_t *ret_unix_ms);

/* Durations: "15d", "1h30m", "250ms", "1y2w", and plain "0" (Prometheus and Go notation; units
 * y w d h m s ms, largest first, each once). -EINVAL, -ERANGE. */
int duration_parse_ms(struct slice text, int64_t *ret_ms);

#endif

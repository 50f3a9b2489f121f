/* log.h: one line per event on standard error, `time level event key=value …`; never a secret. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* The level up to which events are printed; LOG_INFO at start. Set once, before threads. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);

/* Writes one line with one write(2), so lines of several threads never mix. `id` is the request
 * id or NULL; `event` a stable dotted name; `format` gives the key=value pairs. Control bytes in
 * the result are escaped. Any thread.
 *   error: a person must act · warn: a peer or disk misbehaved · info: state change · debug */
void log_line(enum log_level level, const char *id, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif

/* config_schema.h: the one table of configuration keys: the file, the environment, the defaults and
 * the dump are made from it. Private to config*.c. */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include "base/yaml.h"
#include "config.h"

enum config_type {
    CONFIG_TEXT,
    CONFIG_PATH,       /* a text in which a leading DATA, or one after "word:", is the data folder */
    CONFIG_URL,        /* http or https, without a password */
    CONFIG_NAMES,      /* a list of words; in one text, with blanks or commas between them */
    CONFIG_MOUNT,      /* a path, or none */
    CONFIG_UNSEAL,
    CONFIG_MEMORY,     /* a size, or a share of the machine's: 25% */
    CONFIG_SIZE,
    CONFIG_NUMBER,     /* uint64_t */
    CONFIG_UNSIGNED,   /* unsigned */
    CONFIG_DURATION,   /* int64_t, milliseconds */
    CONFIG_LISTEN,
    CONFIG_IDENTITIES,
    CONFIG_GRANTS,
    CONFIG_AUTH,       /* enum images_auth */
    CONFIG_MIRRORS,    /* the lists of config_images.c */
    CONFIG_RETENTION,
    CONFIG_WEBHOOKS,
    CONFIG_KEEPS,
};

struct config_key {
    const char *section;  /* NULL: a key of the top */
    const char *name;
    enum config_type type;
    size_t offset;        /* of the field in struct config */
    const char *fallback; /* the default, as the environment would write it; NULL: unset */
    uint64_t min, max;    /* of numbers, sizes and durations in ms; max 0: none */
};

extern const struct config_key config_keys[]; /* ends with a NULL name */
extern const char *const config_sections[];   /* NULL-terminated */

/* Sets a field from a value of the file or one made from the environment. -EINVAL with why. */
int config_set(struct config *c, const struct config_key *key, const struct yaml *value,
               struct buf *why);

void config_free_listen(struct config *c);
void config_free_identities(struct config *c);
void config_free_grants(struct config *c);
/* "host:port" or "[v6]:port" with a port up to 65535? */
bool config_address_valid(const char *address);

/* As it is read: "1h30m"; config_dump.c. */
void config_print_duration(struct buf *out, int64_t ms);

/* The lists: config_lists.c. Names are NULL-terminated, NULL if there are none. */
int config_set_listen(struct config *c, const struct yaml *value, struct buf *why);
int config_set_names(char ***names, const struct yaml *value, struct buf *why);
void config_free_names(char ***names);
int config_set_identities(struct config *c, const struct yaml *value, struct buf *why);
int config_set_grants(struct config *c, const struct yaml *value, struct buf *why);
void config_print_grants(struct buf *out, const struct config *c); /* config_grants.c */

struct config_area_name {
    const char *name;
    unsigned bits;
};
extern const struct config_area_name config_areas[]; /* ends with a NULL name */

#endif

/* config_images.h: the lists of maps: mirrors, retention and webhooks of images, and
 * metrics.retention_rules. One table of fields for each, from which they are read, freed and
 * dumped. Private to config*.c. */
#ifndef CONFIG_IMAGES_H
#define CONFIG_IMAGES_H

#include "config_schema.h"

bool config_is_images_list(enum config_type type);
int config_set_images_list(struct config *c, const struct config_key *key,
                           const struct yaml *value, struct buf *why);
void config_free_images_lists(struct config *c);
void config_print_images_list(const struct config *c, const struct config_key *key,
                              struct buf *out);

int config_set_images_auth(struct config *c, const struct config_key *key,
                           const struct yaml *value, struct buf *why);
const char *config_images_auth_name(enum images_auth auth);

#endif

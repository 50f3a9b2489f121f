#include "domain.h"

/* domains.inc is made by infrafs_domains() in CMakeLists.txt: one line a domain. */
#define DOMAIN(name) extern const struct domain name##_domain;
#include "domains.inc"
#undef DOMAIN

const struct domain *const domain_table[] = {
#define DOMAIN(name) &name##_domain,
#include "domains.inc"
#undef DOMAIN
    NULL,
};

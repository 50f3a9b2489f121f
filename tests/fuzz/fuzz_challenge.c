/* What another registry asks for, and the scopes that clients ask for. */
#include "images/challenge.h"
#include "images/reference.h"
#include "images/scope.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice text = slice_of(data, n);
    struct challenge challenge;
    struct scope scope;

    if (challenge_parse(text, &challenge) == 0 &&
        (strlen(challenge.realm) > n || strlen(challenge.service) > n || strlen(challenge.scope) > n))
        abort();
    if (scope_parse(text, &scope) == 0 && scope.name.len > 0 && !repository_name_valid(scope.name))
        abort();
    return 0;
}

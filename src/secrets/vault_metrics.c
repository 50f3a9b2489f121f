/* vault_metrics.c: sys/metrics: what the domains say of themselves, in the format of Prometheus; and
 * sys/version-history. */
#include "base/clock.h"
#include "base/scope.h"
#include "secrets/vault.h"

#include <errno.h>

/* Vault's other format is a sample of its own gauges: who asks for it learns the state. */
static int answer_json(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    struct vault_answer a;

    vault_plain_begin(&a, req);
    json_key(&a.json, "Counters");
    json_array(&a.json);
    json_array_end(&a.json);
    json_key(&a.json, "Gauges");
    json_array(&a.json);
    json_object(&a.json);
    json_key(&a.json, "Labels");
    json_object(&a.json);
    json_object_end(&a.json);
    json_kstr(&a.json, "Name", "vault.core.unsealed");
    json_ki64(&a.json, "Value", secrets_is_sealed(s) ? 0 : 1);
    json_object_end(&a.json);
    json_array_end(&a.json);
    json_key(&a.json, "Points");
    json_array(&a.json);
    json_array_end(&a.json);
    json_key(&a.json, "Samples");
    json_array(&a.json);
    json_array_end(&a.json);
    json_ktime(&a.json, "Timestamp", clock_unix_ns());
    vault_plain_end(&a, resp, 200);
    return 0;
}

int sys_metrics(struct web_request *req, struct web_response *resp)
{
    const char *format = web_query(req, "format");
    struct secrets *s = req->self;
    struct buf out = {0};
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_READ, "sys/metrics");
    if (r < 0)
        return r;
    if (format == NULL || strcmp(format, "prometheus") != 0)
        return answer_json(req, resp);
    for (size_t i = 0; s->daemon != NULL && i < s->daemon->n_domains; i++) {
        const struct domain_instance *d = &s->daemon->domains[i];

        if (d->domain->metrics != NULL)
            d->domain->metrics(d->self, &out);
    }
    web_reply_buf(req, resp, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
    return 0;
}

/* One version is known: the one that runs. */
int sys_version_history(struct web_request *req, struct web_response *resp)
{
    struct secrets *s = req->self;
    int64_t since_ns = s->daemon != NULL ? s->daemon->started_unix_ms * INT64_C(1000000) : 0;
    struct vault_answer a;
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_LIST, "sys/version-history");
    if (r < 0)
        return r;
    if (!vault_is_list(req))
        return -ENOTSUP;
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_key(&a.json, "key_info");
    json_object(&a.json);
    json_key(&a.json, VAULT_VERSION);
    json_object(&a.json);
    json_ktime(&a.json, "build_date", since_ns);
    json_knull(&a.json, "previous_version");
    json_ktime(&a.json, "timestamp_installed", since_ns);
    json_object_end(&a.json);
    json_object_end(&a.json);
    json_key(&a.json, "keys");
    json_array(&a.json);
    json_str(&a.json, VAULT_VERSION);
    json_array_end(&a.json);
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 200);
    return 0;
}

/* Templates against what Prometheus' own made of them; files of rules; alerts in time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/json.h"
#include "metrics/rules/alert.h"
#include "metrics/rules/rule_file.h"
#include "metrics/rules/template.h"
#include "metrics/scrape/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct label label_items[] = {{{"instance", 8}, {"h:1", 3}}, {{"job", 3}, {"node", 4}}};
static struct label external_items[] = {{{"dc", 2}, {"eu", 2}}};

/* up{job="b"} 0.5, up{job="a"} 1.5; any other query but "none": only the second. */
static int answer(void *ctx, struct op *op, struct slice text, struct template_sample **ret,
                  size_t *ret_n, struct buf *why)
{
    static struct label b[] = {{{"__name__", 8}, {"up", 2}}, {{"job", 3}, {"b", 1}}};
    static struct label a[] = {{{"__name__", 8}, {"up", 2}}, {{"job", 3}, {"a", 1}}};
    size_t n = 0;

    (void)ctx;
    (void)why;
    *ret = op_alloc(op, 2 * sizeof **ret);
    if (slice_eq(text, SLICE("up")))
        (*ret)[n++] = (struct template_sample){{b, 2}, 0.5};
    if (!slice_eq(text, SLICE("none")))
        (*ret)[n++] = (struct template_sample){{a, 2}, 1.5};
    *ret_n = n;
    return 0;
}

static const struct template_env env = {
    .labels = {label_items, 2},
    .external_labels = {external_items, 1},
    .external_url = "http://ext:9090/pre",
    .value = 1234.5,
    .now_ms = 1435065584128,
    .query = answer,
};

static void check_template(const char *text, const char *want, const char *fails,
                           const char *reason)
{
    struct buf out = {0}, why = {0};
    struct op op;
    int parsed, r;

    op_init(&op, DOOR_INTERNAL, NULL);
    parsed = template_check(&op, "__alert_A", slice_str(text), &why);
    if ((parsed < 0) != (fails != NULL && strcmp(fails, "parse") == 0))
        fail_msg("%s: parsed %d %s", text, parsed, why.data);
    if (parsed < 0 && reason != NULL && strstr(why.data, reason) == NULL &&
        strstr(reason, "non executable") == NULL && strstr(reason, "bad character") == NULL)
        fail_msg("%s: '%s' is not '%s'", text, why.data, reason);
    buf_clear(&why);
    r = template_expand(&op, "__alert_A", &env, slice_str(text), &out, &why);
    if ((r < 0) != (fails != NULL))
        fail_msg("%s: %d %s", text, r, why.data);
    if (r < 0)
        assert_non_null(strstr(why.data, "template: __alert_A"));
    else if (strcmp(out.data != NULL ? out.data : "", want) != 0)
        fail_msg("%s: '%s' is not '%s'", text, out.data, want);
    op_done(&op);
    buf_done(&out);
    buf_done(&why);
}

static void test_templates(void **state)
{
    json_t *cases = json_load_file(TEST_DATA "/alert-templates.json", 0, NULL), *c;
    size_t i;

    (void)state;
    assert_non_null(cases);
    assert_true(json_array_size(cases) > 70);
    json_array_foreach(cases, i, c)
        check_template(json_string_value(json_object_get(c, "template")),
                       json_string_value(json_object_get(c, "text")),
                       json_string_value(json_object_get(c, "fails")),
                       json_string_value(json_object_get(c, "reason")));
    json_decref(cases);
}

/* What never ends, or grows without end, is cut off. */
static void test_template_bounds(void **state)
{
    const char *const texts[] = {
        "{{ define \"t\" }}{{ template \"t\" . }}{{ end }}{{ template \"t\" . }}",
        "{{ range 1000000 }}{{ range 1000000 }}{{ end }}x{{ end }}",
        "{{ printf \"%1000d%1000d\" 1 1 | printf \"%[1]s%s\" }}{{ range 100000 }}0123456789abcdef{{ end }}",
    };
    struct buf deep = {0}, out = {0}, why = {0};
    struct op op;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        op_init(&op, DOOR_INTERNAL, NULL);
        assert_int_equal(template_expand(&op, "t", &env, slice_str(texts[i]), &out, &why), -EINVAL);
        op_done(&op);
        buf_clear(&out);
        buf_clear(&why);
    }
    for (size_t i = 0; i < 5000; i++)
        buf_add_str(&deep, "{{ if (((");
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(template_check(&op, "t", buf_slice(&deep), &why), -EINVAL);
    op_done(&op);
    buf_done(&deep);
    buf_done(&out);
    buf_done(&why);
}

struct file_case {
    const char *text, *why; /* NULL: it is valid */
};

#define GROUP "groups:\n- name: g\n  rules:\n"

static void test_files(void **state)
{
    static const struct file_case cases[] = {
        {"", NULL},
        {"groups: []\n", NULL},
        {"groups:\n- name: g\n", NULL},
        {GROUP "  - record: a:b\n    expr: sum(up)\n    labels: {x: y}\n", NULL},
        {GROUP "  - record: a:b\n    expr: 1\n", NULL},
        {GROUP "  - alert: A\n    expr: up == 0\n    for: 5m\n    keep_firing_for: 1m\n"
               "    labels: {severity: '{{ $labels.job }}'}\n    annotations: {s: '{{ $value }}'}\n",
         NULL},
        {"groups:\n- name: g\n  interval: 30s\n  limit: 3\n  query_offset: 10s\n"
         "  labels: {team: a}\n  rules: []\n",
         NULL},
        {"group: []\n", "did you mean 'groups'"},
        {"groups:\n- name: g\n  rule: []\n", "did you mean 'rules'"},
        {"groups:\n- rules: []\n", "Groupname must not be empty"},
        {"groups:\n- name: g\n- name: g\n", "groupname: \"g\" is repeated in the same file"},
        {GROUP "  - expr: 1\n", "one of 'record' or 'alert' must be set"},
        {GROUP "  - record: a\n    alert: b\n    expr: 1\n",
         "only one of 'record' and 'alert' must be set"},
        {GROUP "  - record: a\n", "field 'expr' must be set in rule"},
        {GROUP "  - record: a\n    expr: sum(up\n", "could not parse expression: 1:7: parse error"},
        {GROUP "  - record: a\n    expr: 1\n    for: 1m\n",
         "invalid field 'for' in recording rule"},
        {GROUP "  - record: a\n    expr: 1\n    annotations: {a: b}\n",
         "invalid field 'annotations' in recording rule"},
        {GROUP "  - record: 'a{b}'\n    expr: 1\n", "braces present in the recording rule name"},
        {GROUP "  - alert: A\n    expr: up\n    labels: {__name__: x}\n",
         "invalid label name: __name__"},
        {GROUP "  - alert: A\n    expr: up\n    annotations: {s: '{{ nosuch }}'}\n",
         "group \"g\", rule 1, \"A\": annotation \"s\": template: __alert_A:1: function \"nosuch\""},
        {GROUP "  - alert: A\n    expr: up\n    labels: {s: '{{ $x }}'}\n", "undefined variable"},
        {GROUP "  - alert: A\n    expr: up\n    for: soon\n", "line 6, column 10"},
        {GROUP "  - alert: A\n    expr: up\n    fore: 1m\n", "did you mean 'for'"},
        {"groups: {a: b}\n", "expected a list"},
        {"[1, 2]\n", "expected 'groups:'"},
        {"groups: [\n", "line"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rule_groups groups = {0};
        struct buf why = {0};
        int r = rule_file_parse(slice_str(cases[i].text), "f.yml", &groups, &why);

        if ((r < 0) != (cases[i].why != NULL))
            fail_msg("case %zu: %d %s", i, r, why.data);
        if (r < 0 && strstr(why.data, cases[i].why) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, why.data, cases[i].why);
        if (r < 0)
            assert_int_equal(groups.n, 0);
        rule_groups_done(&groups);
        buf_done(&why);
    }
}

static void test_group(void **state)
{
    static const char text[] = "groups:\n- name: g\n  interval: 30s\n  labels: {team: a, x: g}\n"
                               "  rules:\n  - record: r\n    expr: sum  by(job)(up)\n"
                               "    labels: {x: own}\n";
    struct rule_groups groups = {0};
    struct buf why = {0};

    (void)state;
    assert_int_equal(rule_file_parse(slice_str(text), "f.yml", &groups, &why), 0);
    assert_int_equal(groups.n, 1);
    assert_int_equal(groups.items[0]->interval_ms, 30000);
    assert_string_equal(groups.items[0]->rules[0].expression, "sum by (job) (up)");
    assert_string_equal(pairs_get(&groups.items[0]->rules[0].labels, "team"), "a");
    assert_string_equal(pairs_get(&groups.items[0]->rules[0].labels, "x"), "own");
    rule_groups_done(&groups);
    buf_done(&why);
}

static void see(struct alert **alerts, const struct rule *rule, int64_t s, const char *const *names)
{
    struct alert_found found[8];
    size_t n = 0;

    memset(found, 0, sizeof found);
    for (; names[n] != NULL; n++) {
        pairs_add(&found[n].labels, "alertname", "A");
        pairs_add(&found[n].labels, "instance", names[n]);
    }
    assert_int_equal(alerts_update(alerts, rule, s * 1000, found, n), 0);
}

static const struct alert *only(const struct alert *alerts)
{
    assert_non_null(alerts);
    assert_null(alerts->hh.next);
    return alerts;
}

static void test_alerts(void **state)
{
    static const char *const one[] = {"a", NULL}, *const none[] = {NULL};
    const struct rule rule = {.alerting = true, .for_ms = 60000};
    struct alert *alerts = NULL;

    (void)state;
    see(&alerts, &rule, 1000, one);
    assert_int_equal(only(alerts)->state, ALERT_PENDING);
    assert_false(alert_is_due(alerts, 1000000));
    see(&alerts, &rule, 1030, none); /* a pending one just goes */
    assert_null(alerts);
    see(&alerts, &rule, 2000, one);
    see(&alerts, &rule, 2059, one);
    assert_int_equal(only(alerts)->state, ALERT_PENDING);
    see(&alerts, &rule, 2060, one);
    assert_int_equal(only(alerts)->state, ALERT_FIRING);
    assert_int_equal(alerts->active_ms, 2000000);
    assert_int_equal(alerts->fired_ms, 2060000);
    assert_true(alert_is_due(alerts, 2060000));
    alerts->sent_ms = 2060000;
    assert_false(alert_is_due(alerts, 2090000));
    assert_true(alert_is_due(alerts, 2121000)); /* told again each minute */
    see(&alerts, &rule, 2200, none);
    assert_int_equal(only(alerts)->state, ALERT_INACTIVE);
    assert_true(alert_is_due(alerts, 2200000)); /* that it is over */
    assert_int_equal(alerts_active(alerts), 0);
    see(&alerts, &rule, 2300, one); /* begins anew */
    assert_int_equal(only(alerts)->state, ALERT_PENDING);
    assert_int_equal(alerts->active_ms, 2300000);
    alerts_free(&alerts);
}

/* A clock that is set back keeps nothing waiting till it has caught up. */
static void test_alerts_set_back(void **state)
{
    static const char *const one[] = {"a", NULL}, *const none[] = {NULL};
    const struct rule rule = {.alerting = true, .for_ms = 60000};
    struct alert *alerts = NULL;

    (void)state;
    see(&alerts, &rule, 90000, one);
    see(&alerts, &rule, 1000, one);
    see(&alerts, &rule, 1060, one);
    assert_int_equal(only(alerts)->state, ALERT_FIRING);
    alerts->sent_ms = 1060000;
    see(&alerts, &rule, 500, one);
    assert_false(alert_is_due(alerts, 500000));
    assert_true(alert_is_due(alerts, 561000));
    see(&alerts, &rule, 600, none);
    see(&alerts, &rule, 400, none);
    assert_true(alert_is_due(alerts, 400000));
    see(&alerts, &rule, 400 + 15 * 60 + 1, none);
    assert_null(alerts);
}

static void test_alerts_kept(void **state)
{
    static const char *const one[] = {"a", NULL}, *const none[] = {NULL};
    const struct rule rule = {.alerting = true, .keep_firing_ms = 300000};
    struct alert *alerts = NULL;

    (void)state;
    see(&alerts, &rule, 1000, one);
    assert_int_equal(only(alerts)->state, ALERT_FIRING); /* no `for`: at once */
    see(&alerts, &rule, 1100, none);
    see(&alerts, &rule, 1399, none);
    assert_int_equal(only(alerts)->state, ALERT_FIRING);
    see(&alerts, &rule, 1400, none);
    assert_int_equal(only(alerts)->state, ALERT_INACTIVE);
    see(&alerts, &rule, 1400 + 15 * 60 + 1, none); /* told of for a quarter of an hour */
    assert_null(alerts);
}

static void test_alerts_twice(void **state)
{
    const struct rule rule = {.alerting = true};
    struct alert_found found[2];
    struct alert *alerts = NULL;

    (void)state;
    memset(found, 0, sizeof found);
    for (size_t i = 0; i < 2; i++)
        pairs_add(&found[i].labels, "alertname", "A");
    assert_int_equal(alerts_update(&alerts, &rule, 1000, found, 2), -EEXIST);
    assert_null(alerts);
}

static void test_restore(void **state)
{
    const struct rule hour = {.alerting = true, .for_ms = 3600000};
    const struct rule minute = {.alerting = true, .for_ms = 60000};
    struct alert a = {.state = ALERT_PENDING, .active_ms = 10000000};

    (void)state;
    /* pending for 10 minutes, then 5 minutes away: those do not count */
    alert_restore(&a, &hour, 9100000, 9700000, 10000000);
    assert_int_equal(a.active_ms, 9400000);
    assert_int_equal(a.state, ALERT_PENDING);
    /* it had been firing */
    alert_restore(&a, &minute, 9000000, 9900000, 10000000);
    assert_int_equal(a.active_ms, 9000000);
    assert_int_equal(a.state, ALERT_FIRING);
    /* nearly there: ten minutes of grace */
    a = (struct alert){.state = ALERT_PENDING};
    alert_restore(&a, &hour, 10000000 - 3600000, 10000000 - 60000, 10000000);
    assert_int_equal(a.active_ms, 10000000 + 600000 - 3600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),    cmocka_unit_test(test_template_bounds),
        cmocka_unit_test(test_files),        cmocka_unit_test(test_group),
        cmocka_unit_test(test_alerts),       cmocka_unit_test(test_alerts_kept),
        cmocka_unit_test(test_alerts_set_back),
        cmocka_unit_test(test_alerts_twice), cmocka_unit_test(test_restore),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}

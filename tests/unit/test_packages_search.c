/* `pip search`: the call that comes in, good and bad, and what is found. */
#include "packages_form.h"

#include "packages/xmlrpc.h"

#define CALL(params)                                                                               \
    "<?xml version='1.0'?>\n<methodCall>\n<methodName>search</methodName>\n<params>\n" params      \
    "</params>\n</methodCall>\n"
#define WORD(text) CALL("<param>\n<value><string>" text "</string></value>\n</param>\n")
/* As pip's Python writes it. */
#define PIP(words)                                                                                 \
    CALL("<param>\n<value><struct>\n<member>\n<name>name</name>\n<value><array><data>\n" words     \
         "</data></array></value>\n</member>\n<member>\n<name>summary</name>\n"                    \
         "<value><array><data>\n<value><string>thing</string></value>\n</data></array></value>\n"  \
         "</member>\n</struct></value>\n</param>\n<param>\n<value><string>or</string></value>\n"   \
         "</param>\n")
#define VALUE(text) "<value><string>" text "</string></value>\n"

static void test_good_calls(void **state)
{
    static const struct {
        const char *text, *strings; /* member=text; */
    } cases[] = {
        {WORD("foo"), "=foo;"},
        {PIP(VALUE("a") VALUE("b")), "name=a;name=b;summary=thing;=or;"},
        {WORD(" \n a b \t"), "=a b;"},
        {WORD("&lt;&amp;&gt;&quot;&apos;"), "=<&>\"';"},
        {WORD("&#65;&#x42;&#xe9;&#x20AC;&#x1f600;"), "=AB\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80;"},
        {CALL("<param><value>bare</value></param><param><value><int>1</int></value></param>"),
         "=bare;"},
        {CALL("<param><value><string/></value></param><param ></param >"), "=;"},
        {CALL("<param><value><struct><member><name>o</name><value><struct><member><name>i</name>"
              "<value>x</value></member></struct></value></member></struct></value></param>"),
         "i=x;"},
        {"<methodCall><methodName>search</methodName></methodCall>", ""},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        char *text = strdup(cases[i].text);
        struct xmlrpc_call call;
        const char *why = NULL;
        autobuf got = {0};

        if (xmlrpc_parse(text, strlen(text), &call, &why) < 0)
            fail_msg("case %zu: %s", i, why);
        assert_true(slice_eq(call.method, SLICE("search")));
        buf_add_str(&got, "");
        for (size_t k = 0; k < call.n; k++) {
            buf_add_slice(&got, call.strings[k].member);
            buf_add_char(&got, '=');
            buf_add_slice(&got, call.strings[k].text);
            buf_add_char(&got, ';');
        }
        if (!slice_eq(buf_slice(&got), slice_str(cases[i].strings)))
            fail_msg("case %zu: '%s'", i, got.data);
        free(text);
    }
}

#define DEEP8 "<a><a><a><a><a><a><a><a>"

static void test_bad_calls(void **state)
{
    static const char *const cases[] = {
        "",
        "search",
        "{\"method\": \"search\"}",
        "<?xml version='1.0'",
        "<methodCall>",
        "<methodCall></methodCall>",
        "<methodCall><methodName>search</methodName>",
        "<methodCall><methodName>search</methodNam></methodCall>",
        "<methodCall><methodName></methodName></methodCall>",
        "<methodResponse><methodName>search</methodName></methodResponse>",
        "</methodCall>",
        "<methodCall/><methodCall/>",
        WORD("a") "trailing",
        WORD("a") WORD("b"),
        "<!DOCTYPE methodCall [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]>" WORD("&b;"),
        "<!DOCTYPE methodCall SYSTEM \"file:///etc/passwd\">" WORD("a"),
        WORD("&b;"),
        WORD("&amp"),
        WORD("&#0;"),
        WORD("&#xD800;"),
        WORD("&#xFFFFFFFF;"),
        WORD("&#99999999999;"),
        WORD("&#x;"),
        WORD("&#12"),
        WORD("\x01"),
        WORD("\xff"),
        WORD("\xed\xa0\x80"),
        WORD("<!-- x -->"),
        WORD("<![CDATA[a]]>"),
        WORD("<?php ?>"),
        CALL("<param a='1'></param>"),
        CALL("<param>text<value>a</value></param>"),
        CALL("<param><value>a</value>text</param>"),
        CALL("<param"),
        CALL("<>"),
        CALL(DEEP8 DEEP8),
    };
    autobuf many = {0};

    (void)state;
    buf_add_str(&many, "<methodCall><methodName>search</methodName>");
    for (int i = 0; i <= XMLRPC_STRINGS_MAX; i++)
        buf_add_str(&many, "<value>a</value>");
    buf_add_str(&many, "</methodCall>");
    for (size_t i = 0; i <= array_size(cases); i++) {
        struct slice given = i < array_size(cases) ? slice_str(cases[i]) : buf_slice(&many);
        char *text = malloc(given.len + 1); /* exactly as long, for the address sanitizer */
        struct xmlrpc_call call;
        const char *why = NULL;

        memcpy(text, given.data, given.len);
        if (xmlrpc_parse(text, given.len, &call, &why) != -EINVAL || why == NULL)
            fail_msg("case %zu is taken: %s", i, (const char *)given.data);
        free(text);
        assert_int_equal(web_test_call(&t, "POST", "/RPC2", NULL, given), 400);
    }
}

static void publish(const char *project, const char *version, const char *headers)
{
    autobuf wheel = {0}, file = {0};

    make_wheel(&wheel, project, version, headers, "x");
    buf_printf(&file, "%s-%s-py3-none-any.whl", project, version);
    assert_int_equal(upload(project, version, file.data, buf_slice(&wheel)), 200);
}

/* The names in the answer, "a,b,". */
static void found(const char *call, struct buf *names)
{
    const char *at;

    assert_int_equal(web_test_call(&t, "POST", "/pypi", NULL, slice_str(call)), 200);
    buf_add_str(names, "");
    at = web_test_text(&t);
    while ((at = strstr(at, "<name>name</name><value><string>")) != NULL) {
        at += strlen("<name>name</name><value><string>");
        buf_add(names, at, (size_t)(strchr(at, '<') - at));
        buf_add_char(names, ',');
    }
}

static void test_search(void **state)
{
    static const struct {
        const char *call, *names;
    } cases[] = {
        {PIP(VALUE("shop")), "shop,shop_tools,"},
        {PIP(VALUE("SHOP")), "shop,shop_tools,"},
        {PIP(VALUE("shop.tools")), "shop_tools,"},
        {PIP(VALUE("tools") VALUE("other")), "other,shop_tools,"},
        {PIP(VALUE("none")), ""},
        {WORD("oo"), "shop_tools,"},
        {CALL("<param><value><struct><member><name>name</name><value><array><data>" VALUE("shop")
                  VALUE("tool") "</data></array></value></member></struct></value></param>"),
         "shop_tools,"},
        {CALL(""), ""},
    };

    (void)state;
    publish("shop_tools", "1.0", "Summary: <tools> & \"more\"\n");
    publish("shop", "1.0", "Summary: old\n");
    publish("shop", "1.10", "Summary: sells things\n");
    publish("shop", "2.0rc1", "Summary: not yet\n");
    publish("other", "3", "");
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf names = {0};

        found(cases[i].call, &names);
        if (!slice_eq(buf_slice(&names), slice_str(cases[i].names)))
            fail_msg("case %zu: '%s'", i, names.data);
    }
    assert_int_equal(web_test_call(&t, "POST", "/RPC2", NULL, SLICE(WORD("shop"))), 200);
    assert_non_null(strstr(web_test_text(&t), "<string>1.10</string>"));
    assert_non_null(strstr(web_test_text(&t), "<string>sells things</string>"));
    assert_non_null(strstr(web_test_text(&t), "&lt;tools&gt; &amp; \"more\""));
    assert_int_equal(
        web_test_call(&t, "POST", "/RPC2", NULL,
                      SLICE("<methodCall><methodName>list_packages</methodName></methodCall>")),
        200);
    assert_non_null(strstr(web_test_text(&t), "<int>-32601</int>"));
}

static void test_rights(void **state)
{
    autobuf one = {0};

    (void)state;
    publish("foo", "1.0", "");
    publish("foo_bar", "1.0", "");
    t.who = &w.one; /* may have packages/foo only */
    found(WORD("foo"), &one);
    assert_string_equal(one.data, "foo,");
    t.who = w.anonymous;
    assert_int_equal(web_test_call(&t, "POST", "/RPC2", NULL, SLICE(WORD("foo"))), 401);
    t.who = &w.team;
}

static void test_no_more_than_a_hundred(void **state)
{
    autobuf names = {0};
    char name[32];

    (void)state;
    for (int i = 0; i < 120; i++) {
        snprintf(name, sizeof name, "many%03d", i);
        publish(name, "1.0", "");
    }
    publish("zz_many", "1.0", "");
    found(WORD("many"), &names);
    assert_int_equal(names.len, 100 * strlen("many000,"));
    buf_clear(&names);
    found(PIP(VALUE("many") VALUE("zz-many")), &names); /* who is named exactly comes first */
    assert_memory_equal(names.data, "zz_many,", 8);
    assert_int_equal(names.len, 100 * strlen("many000,"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_good_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_more_than_a_hundred, setup, teardown),
    };

    return cmocka_run_group_tests_name("packages_search", tests, NULL, NULL);
}

/* Assuan's lines, and the conversation with a pinentry: what is said, and that nothing but a yes in its place is one.
 */
#include "server/assuan.h"
#include "server/pinentry.h"

#include "cleanup.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after these */
#include <cmocka.h>

static void commands_are_escaped(void **state)
{
    (void)state;
    struct buffer to = BUFFER(4096);
    assert_int_equal(assuan_command(&to, "CONFIRM", NULL), 0);
    assert_int_equal(assuan_command(&to, "SETDESC", "100% of\r\na\x01\x7f\xc3\xa4"), 0);
    assert_string_equal(to.data, "CONFIRM\nSETDESC 100%25 of%0D%0Aa%01%7F\xc3\xa4\n");
    buffer_free(&to);
}

static void commands_are_bounded(void **state)
{
    (void)state;
    for (int more = -1; more <= 1; more++) {
        struct buffer to = BUFFER(4096);
        char argument[ASSUAN_LINE + 2] = "";
        memset(argument, 'x', (size_t)(ASSUAN_LINE - 2 + more));
        assert_int_equal(assuan_command(&to, "X", argument), more == 1 ? -EMSGSIZE : 0);
        assert_int_equal(to.length, more == 1 ? 0 : ASSUAN_LINE + 1 + more);
        buffer_free(&to);
    }
    struct buffer full = BUFFER(5);
    assert_int_equal(assuan_command(&full, "CONFIRM", NULL), -EMSGSIZE);
    assert_int_equal(full.length, 0);
    buffer_free(&full);
}

static enum assuan_kind kind_of_line(const char *line, struct assuan_line *ret)
{
    size_t length = assuan_next(span_of(line), ret);
    if (ret->kind != ASSUAN_MORE)
        assert_true(length > 0 && length <= strlen(line));
    return ret->kind;
}

static void lines_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum assuan_kind kind;
        unsigned code;
        const char *rest;
    } lines[] = {
        {"", ASSUAN_MORE, 0, ""},
        {"OK", ASSUAN_MORE, 0, ""},
        {"OK\n", ASSUAN_OK, 0, ""},
        {"OK\r\n", ASSUAN_OK, 0, ""},
        {"OK Pleased to meet you\nOK", ASSUAN_OK, 0, "Pleased to meet you"},
        {"OKAY\n", ASSUAN_GARBAGE, 0, ""},
        {"ok\n", ASSUAN_GARBAGE, 0, ""},
        {" OK\n", ASSUAN_GARBAGE, 0, ""},
        {"ERR 83886179 Operation cancelled <Pinentry>\n", ASSUAN_ERROR, 99, "Operation cancelled <Pinentry>"},
        {"ERR 99\n", ASSUAN_ERROR, 99, ""},
        {"ERR 4294967295 x\n", ASSUAN_ERROR, 65535, "x"},
        {"ERR\n", ASSUAN_GARBAGE, 0, ""},
        {"ERR -1\n", ASSUAN_GARBAGE, 0, ""},
        {"ERR 99x\n", ASSUAN_GARBAGE, 0, ""},
        {"ERR 99999999999\n", ASSUAN_GARBAGE, 0, ""},
        {"ERROR 99\n", ASSUAN_GARBAGE, 0, ""},
        {"\n", ASSUAN_ASIDE, 0, ""},
        {"# OK\n", ASSUAN_ASIDE, 0, ""},
        {"S ERROR curses.isatty 83918950 \n", ASSUAN_ASIDE, 0, ""},
        {"D data\n", ASSUAN_ASIDE, 0, ""},
        {"SOK\n", ASSUAN_GARBAGE, 0, ""},
        {"INQUIRE PASSPHRASE\n", ASSUAN_GARBAGE, 0, ""},
        {"CAN\n", ASSUAN_GARBAGE, 0, ""},
    };
    for (size_t i = 0; i < ELEMENTS(lines); i++) {
        struct assuan_line line;
        print_message("%s\n", lines[i].text);
        assert_int_equal(kind_of_line(lines[i].text, &line), lines[i].kind);
        assert_int_equal(line.code, lines[i].code);
        assert_int_equal(line.text.length, strlen(lines[i].rest));
        if (line.text.length)
            assert_memory_equal(line.text.data, lines[i].rest, line.text.length);
    }
    struct assuan_line line;
    assert_int_equal(assuan_next((struct span){"OK\0yes\n", 7}, &line), 7);
    assert_int_equal(line.kind, ASSUAN_GARBAGE);
}

static void lines_are_bounded(void **state)
{
    (void)state;
    char text[ASSUAN_LINE + 4];
    struct assuan_line line;
    memset(text, 'x', sizeof(text));
    memcpy(text, "OK ", 3);
    for (size_t length = ASSUAN_LINE - 1; length <= ASSUAN_LINE + 1; length++) {
        text[length] = '\n';
        assert_int_equal(assuan_next((struct span){text, length + 1}, &line), length + 1);
        assert_int_equal(line.kind, length <= ASSUAN_LINE ? ASSUAN_OK : ASSUAN_GARBAGE);
        text[length] = 'x';
    }
    assert_int_equal(assuan_next((struct span){text, ASSUAN_LINE + 1}, &line), 0);
    assert_int_equal(line.kind, ASSUAN_MORE);
    assert_int_equal(assuan_next((struct span){text, ASSUAN_LINE + 2}, &line), ASSUAN_LINE + 2);
    assert_int_equal(line.kind, ASSUAN_GARBAGE);
}

/* ---- the conversation ---- */

static struct pinentry_question question;

static int begin(void **state)
{
    (void)state;
    question = (struct pinentry_question){.program = "/usr/bin/thing",
                                          .application = "",
                                          .profile = "p",
                                          .account = "",
                                          .terminal = "",
                                          .locale = "",
                                          .pid = 12,
                                          .timeout_s = 60};
    return 0;
}

/* Goes on until the pinentry, which does all that it is told, is asked; returns all that was said. */
static void reach_question(struct pinentry *pinentry, struct buffer *all)
{
    *pinentry = (struct pinentry){.question = &question};
    enum pinentry_verdict verdict = PINENTRY_TALKS;
    for (int i = 0; i < 20 && !(all->data && strstr(all->data, "CONFIRM\n")); i++) {
        struct buffer say = BUFFER(4096);
        verdict = pinentry_hear(pinentry, span_of("OK fine\n"), &say);
        assert_int_equal(verdict, PINENTRY_TALKS);
        assert_true(say.length > 0 && strchr(say.data, '\n') == say.data + say.length - 1);
        buffer_append(all, say.data, say.length);
        buffer_free(&say);
    }
    assert_non_null(strstr(all->data, "CONFIRM\n"));
}

static void what_is_said(void **state)
{
    (void)state;
    struct pinentry pinentry;
    _cleanup_buffer_ struct buffer all = BUFFER(1 << 16), more = BUFFER(1 << 16);
    reach_question(&pinentry, &all);
    pinentry_clear(&pinentry);
    assert_string_equal(
        all.data, "SETTIMEOUT 60\nSETTITLE mltoken\n"
                  "SETDESC A program asks mltoken for a token.%0A%0AProgram: /usr/bin/thing (pid 12)%0AProfile: p\n"
                  "SETOK Allow\nSETCANCEL Deny\nCONFIRM\n");
    question.terminal = "/dev/pts/7";
    question.locale = "de_DE.UTF-8";
    question.application = "x\n<i>";
    question.account = "alice";
    question.pid = 0;
    reach_question(&pinentry, &more);
    pinentry_clear(&pinentry);
    assert_non_null(
        strstr(more.data, "OPTION ttyname=/dev/pts/7\nOPTION ttytype=xterm\nOPTION lc-ctype=de_DE.UTF-8\nSETT"));
    assert_non_null(strstr(more.data, "Program: /usr/bin/thing%0AIt calls itself \"x\\x0a?i>\": its own word, not "
                                      "checked%0AProfile: p%0AAccount: alice\n"));
}

static void what_is_shown_fits(void **state)
{
    (void)state;
    char path[1024], application[65], account[512];
    static const char fills[] = "%\x01x\xff";
    for (size_t i = 0; i < sizeof(fills) - 1; i++) {
        struct pinentry pinentry;
        _cleanup_buffer_ struct buffer all = BUFFER(1 << 16);
        memset(path, fills[i], sizeof(path));
        memset(application, fills[i], sizeof(application));
        memset(account, fills[i], sizeof(account));
        memcpy(path, "/begin", 6);
        memcpy(path + sizeof(path) - 5, "/end", 5);
        application[64] = account[511] = '\0';
        question.program = path;
        question.application = application;
        question.account = account;
        reach_question(&pinentry, &all);
        pinentry_clear(&pinentry);
        assert_non_null(strstr(all.data, "Program: /begin"));
        assert_non_null(strstr(all.data, "/end (pid 12)"));
        assert_non_null(strstr(all.data, "Profile: p%0AAccount: "));
        for (const char *line = all.data; *line; line = strchr(line, '\n') + 1)
            assert_true(strcspn(line, "\n") <= ASSUAN_LINE);
    }
}

static void answers(void **state)
{
    (void)state;
    static const struct {
        const char *said;
        enum pinentry_verdict verdict;
        const char *problem;
    } all[] = {
        {"OK\n", PINENTRY_ALLOWED, ""},
        {"S OK\n# OK\nD OK\n", PINENTRY_TALKS, ""},
        {"S x\nOK\n", PINENTRY_ALLOWED, ""},
        {"ERR 83886194 Not confirmed\n", PINENTRY_DENIED, ""},
        {"ERR 83886179 cancelled\nOK\n", PINENTRY_DENIED, ""},
        {"ERR 83886278 fully\n", PINENTRY_DENIED, ""},
        {"ERR 83886142 Timeout\n", PINENTRY_TIMEOUT, ""},
        {"ERR 1 Gen\x1b[1meral\n", PINENTRY_BROKEN, "it says: Gen\\x1b[1meral"},
        {"yes\n", PINENTRY_BROKEN, "it does not speak pinentry's protocol"},
        {"INQUIRE x\n", PINENTRY_BROKEN, "it does not speak pinentry's protocol"},
    };
    for (size_t i = 0; i < ELEMENTS(all); i++) {
        struct pinentry pinentry;
        _cleanup_buffer_ struct buffer said = BUFFER(1 << 16), more = BUFFER(100);
        reach_question(&pinentry, &said);
        assert_int_equal(pinentry_hear(&pinentry, span_of(all[i].said), &more), all[i].verdict);
        assert_string_equal(pinentry.problem, all[i].problem);
        assert_int_equal(more.length, 0);
        pinentry_clear(&pinentry);
    }
}

/* The same in single bytes, and what is told before it was asked. */
static void no_answer_before_its_question(void **state)
{
    (void)state;
    struct pinentry slow = {.question = &question}, hasty = {.question = &question};
    enum pinentry_verdict verdict = PINENTRY_TALKS;
    size_t commands = 0;
    for (int i = 0; i < 100 && verdict == PINENTRY_TALKS; i++) {
        struct buffer say = BUFFER(4096);
        verdict = pinentry_hear(&slow, (struct span){&"OK\n"[i % 3], 1}, &say);
        assert_true(say.length == 0 || i % 3 == 2);
        commands += say.length > 0;
        buffer_free(&say);
    }
    assert_int_equal(verdict, PINENTRY_ALLOWED);
    assert_int_equal(commands, 6);
    struct buffer say = BUFFER(4096);
    assert_int_equal(pinentry_hear(&hasty, span_of("OK\nOK\nOK\nOK\nOK\nOK\nOK\nOK\n"), &say), PINENTRY_BROKEN);
    buffer_free(&say);
    pinentry_clear(&slow);
    pinentry_clear(&hasty);
}

static void what_it_need_not_know(void **state)
{
    (void)state;
    for (int refused = 0; refused <= 6; refused++) {
        struct pinentry pinentry = {.question = &question};
        enum pinentry_verdict verdict = PINENTRY_TALKS;
        for (int i = 0; i <= 6 && verdict == PINENTRY_TALKS; i++) {
            struct buffer say = BUFFER(4096);
            verdict = pinentry_hear(&pinentry, span_of(i == refused ? "ERR 83886254 no\n" : "OK\n"), &say);
            buffer_free(&say);
        }
        /* its greeting, the text, the question itself */
        bool needed = refused == 0 || refused == 3 || refused == 6;
        assert_int_equal(verdict, needed ? PINENTRY_BROKEN : PINENTRY_ALLOWED);
        pinentry_clear(&pinentry);
    }
}

static void too_much(void **state)
{
    (void)state;
    for (int more = 0; more <= 1; more++) {
        struct pinentry pinentry = {.question = &question};
        struct buffer say = BUFFER(4096);
        enum pinentry_verdict verdict = PINENTRY_TALKS;
        size_t left = (size_t)(LIMIT_PINENTRY + more);
        for (; left > 0 && verdict == PINENTRY_TALKS; left -= left < 16 ? left : 16)
            verdict = pinentry_hear(&pinentry, (struct span){"# 345678901234\n\n", left < 16 ? left : 16}, &say);
        assert_int_equal(verdict, more ? PINENTRY_BROKEN : PINENTRY_TALKS);
        pinentry_clear(&pinentry);
        buffer_free(&say);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_escaped),
        cmocka_unit_test(commands_are_bounded),
        cmocka_unit_test(lines_are_told_apart),
        cmocka_unit_test(lines_are_bounded),
        cmocka_unit_test_setup(what_is_said, begin),
        cmocka_unit_test_setup(what_is_shown_fits, begin),
        cmocka_unit_test_setup(answers, begin),
        cmocka_unit_test_setup(no_answer_before_its_question, begin),
        cmocka_unit_test_setup(what_it_need_not_know, begin),
        cmocka_unit_test_setup(too_much, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

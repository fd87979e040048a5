/* The agent's end of the store protocol, against a program that does what its line of behaviours says: one word a
 * request, in the order in which they come, over all its lives. */
#include "limits.h"
/* Deadlines that a test can wait for; a test that waits for none has them long, for a machine that is slow. */
enum { LONG_MS = 60000, SHORT_MS = 1500 };
static int answer_ms, person_ms, hush_ms;
#undef LIMIT_STORE_MS
#define LIMIT_STORE_MS answer_ms
#undef LIMIT_STORE_WAIT_MS
#define LIMIT_STORE_WAIT_MS person_ms
#undef LIMIT_STORE_HUSH_MS
#define LIMIT_STORE_HUSH_MS hush_ms

#include "store/process.c" /* NOLINT: it is built again, with these */
#include "store_fixture.h"
#include <signal.h>
#include <sys/stat.h>

static const char program[] =
    "#!/usr/bin/python3 -SE\n"
    "import os, struct, sys, time, signal\n"
    "here = os.path.dirname(os.path.abspath(sys.argv[0]))\n"
    "def behaviour():\n"
    "    with open(here + '/script') as f: words = f.read().split()\n"
    "    if not words: return 'ok'\n"
    "    with open(here + '/script', 'w') as f: f.write(' '.join(words[1:]))\n"
    "    return words[0]\n"
    "def note(text):\n"
    "    with open(here + '/notes', 'a') as f: f.write(text + '\\n')\n"
    "def write(data):\n"
    "    while data: data = data[os.write(1, data):]\n"
    "def frame(value=b'', **fields):\n"
    "    body = ''.join(f'{k}={v}\\n' for k, v in fields.items()).encode() + b'\\n' + value\n"
    "    return struct.pack('>I', len(body)) + body\n"
    "def read(n):\n"
    "    data = b''\n"
    "    while len(data) < n:\n"
    "        part = os.read(0, n - len(data))\n"
    "        if not part: os._exit(0)\n"
    "        data += part\n"
    "    return data\n"
    "note('start ' + os.environ.get('MLTOKEN_KEY_FILE', '') + ' ' + os.environ.get('UNRELATED', '-'))\n"
    "first = behaviour() if os.path.exists(here + '/greets') else 'hello'\n"
    "if first == 'nohello': time.sleep(60)\n"
    "if first == 'dies': os._exit(3)\n"
    "write(frame(hello=2 if first == 'old' else 1, name='test', later='x'))\n"
    "if first == 'old': time.sleep(60)\n"
    "while True:\n"
    "    head, _, value = read(struct.unpack('>I', read(4))[0]).partition(b'\\n\\n')\n"
    "    asked = dict(line.split('=', 1) for line in head.decode().split('\\n'))\n"
    "    note(asked['op'] + ' ' + value.decode() + ('nobody' if asked.get('ask') == 'no' else ''))\n"
    "    do = behaviour()\n"
    "    id = asked['id']\n"
    "    good = frame(b'value', id=id, result='ok', version=7, unknown='x')\n"
    "    if do == 'ok': write(good)\n"
    "    elif do == 'dribble':\n"
    "        for i in range(len(good)): os.write(1, good[i:i+1]); time.sleep(0.002)\n"
    "    elif do == 'hang': time.sleep(60)\n"
    "    elif do == 'stop': os.kill(os.getpid(), signal.SIGSTOP)\n"
    "    elif do == 'exit': os._exit(4)\n"
    "    elif do == 'answer-and-exit': write(good); os._exit(0)\n"
    "    elif do == 'half': write(good[:-3]); os._exit(0)\n"
    "    elif do == 'close': os.close(0); os.close(1); time.sleep(60)\n"
    "    elif do == 'garbage': write(b'\\0\\0\\0\\5hello')\n"
    "    elif do == 'huge': write(b'\\1\\0\\0\\0')\n"
    "    elif do == 'largest':\n"
    "        write(frame(b'v' * 65536, id=id, result='ok', version=1))\n"
    "    elif do == 'too-long':\n"
    "        write(frame(b'v' * 65537, id=id, result='ok', version=1))\n"
    "    elif do == 'wrong-id': write(frame(id=int(id) + 1, result='ok', version=1))\n"
    "    elif do == 'twice': write(good + good)\n"
    "    elif do == 'no-version': write(frame(id=id, result='ok'))\n"
    "    elif do == 'odd': write(frame(id=id, result='odd'))\n"
    "    elif do == 'wait': write(frame(id=id, result='waiting', reason='unlock \\u202eme')); time.sleep(7); "
    "write(good)\n"
    "    elif do == 'wait-for-ever':\n"
    "        while True: write(frame(id=id, result='waiting', reason='a person is asked')); time.sleep(0.2)\n"
    "    elif do == 'refuse':\n"
    "        write(frame(id=id, result='waiting', reason='unlock me'))\n"
    "        while not os.path.exists(here + '/go'): time.sleep(0.01)\n"
    "        write(frame(id=id, result='fail', kind='locked', reason='it was not unlocked'))\n"
    "    elif do in ('wait-term', 'wait-stubborn'):\n"
    "        signal.signal(signal.SIGTERM, lambda *_: (note('closed'), do == 'wait-term' and os._exit(0)))\n"
    "        note('pid ' + str(os.getpid()))\n"
    "        write(frame(id=id, result='waiting', reason='a person is asked'))\n"
    "        while True: time.sleep(60)\n"
    "    elif do == 'list':\n"
    "        write(frame(b'p\\tt\\t' + b'a' * 64 + b'\\nq\\tu\\t' + b'b' * 64 + b'\\n', id=id, result='ok'))\n"
    "    elif do == 'bad-list': write(frame(b'p\\tt\\tab\\n', id=id, result='ok'))\n"
    "    elif do == 'conflict': write(frame(b'newer', id=id, result='conflict', version=9, reason='there is "
    "another'))\n"
    "    elif do in ('missing', 'bound'): write(frame(id=id, result=do, reason=do))\n"
    "    else: write(frame(id=id, result='fail', kind=do, reason='it is ' + do))\n";

static char directory[] = "/tmp/mlt-process-XXXXXX";
static char *setting;

static void write_file(const char *name, const char *text, mode_t mode)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(0, fclose(file));
    assert_int_equal(0, chmod(path, mode));
}

static char *read_notes(void)
{
    static char notes[4096];
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/notes", directory);
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(notes, 1, sizeof(notes) - 1, file) : 0;
    notes[n] = '\0';
    if (file)
        (void)fclose(file);
    return notes;
}

static int starts(void)
{
    int count = 0;
    for (const char *at = read_notes(); (at = strstr(at, "start ")); at++)
        count++;
    return count;
}

static int make_store(const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/mltoken-store-%s", directory, name);
    return store_process_new(loop, name, path, &setting, &store);
}

static int open_store(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof(directory), "%s", "/tmp/mlt-process-XXXXXX");
    assert_non_null(mkdtemp(directory));
    write_file("mltoken-store-test", program, 0700);
    write_file("script", "", 0600);
    setting = NULL;
    answer_ms = person_ms = hush_ms = LONG_MS;
    assert_int_equal(0, secret_arena_open());
    assert_int_equal(0, loop_new(&loop));
    return make_store("test");
}

static int close_store(void **state)
{
    char command[128];
    (void)state;
    store = store_free(store);
    loop = loop_free(loop);
    assert_int_equal(0, secret_arena_used());
    secret_arena_close();
    (void)snprintf(command, sizeof(command), "rm -rf %s", directory);
    assert_int_equal(0, system(command)); /* NOLINT: a path of our own */
    return 0;
}

static void script(const char *words)
{
    write_file("script", words, 0600);
}

static void ask(struct told *told)
{
    get(told, key("p", "t", 'a'));
}

static void it_is_started_when_it_is_needed(void **state)
{
    struct told told = {0};
    (void)state;
    setting = strdup("MLTOKEN_KEY_FILE=/the/key");
    assert_int_equal(0, setenv("UNRELATED", "seen", 1));
    spin(50);
    assert_string_equal("", read_notes());
    ask(&told);
    assert_int_equal(0, told.count);
    wait_for(&told);
    assert_int_equal(0, told.error);
    assert_string_equal("value", told.value);
    assert_int_equal(7, told.version);
    put(&told, key("p", "t", 'a'), "kept", 3);
    wait_for(&told);
    assert_int_equal(7, told.version);
    assert_string_equal("start /the/key -\nget \nput kept\n", read_notes());
    free(setting);
    setting = NULL;
}

static void answers(void **state)
{
    static const struct {
        const char *word;
        int error;
        const char *value, *reason;
    } cases[] = {
        {"dribble", 0, "value", ""},
        {"missing", STORE_MISSING, "", "missing"},
        {"bound", STORE_BOUND, "", "bound"},
        {"unavailable", STORE_UNAVAILABLE, "", "it is unavailable"},
        {"locked", STORE_LOCKED, "", "it is locked"},
        {"denied", STORE_LOCKED, "", "it is denied"},
        {"full", -ENOSPC, "", "it is full"},
        {"corrupt", -EBADMSG, "", "it is corrupt"},
        {"unheard-of", STORE_FAILED, "", "it is unheard-of"},
    };
    (void)state;
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        struct told told = {0};
        script(cases[i].word);
        ask(&told);
        wait_for(&told);
        assert_int_equal(cases[i].error, told.error);
        assert_string_equal(cases[i].value, told.value);
        assert_string_equal(cases[i].reason, told.reason);
    }
    struct told told = {0};
    script("conflict list");
    put(&told, key("p", "t", 'a'), "kept", 3);
    wait_for(&told);
    assert_int_equal(STORE_CONFLICT, told.error);
    assert_string_equal("newer", told.value);
    assert_int_equal(9, told.version);
    list(&told, NULL);
    wait_for(&told);
    assert_string_equal("p/t:aa q/u:bb ", told.list);
    drop(&told, "p", NULL);
    wait_for(&told);
    assert_int_equal(0, told.error);
    assert_int_equal(1, starts());
}

/* Each costs the request at hand; the next one has a new program, and its answer. */
static void what_no_store_does(void **state)
{
    static const char *const words[] = {"garbage", "huge", "wrong-id", "no-version", "odd"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        struct told bad = {0}, waiting = {0};
        script(words[i]);
        ask(&bad);
        ask(&waiting);
        wait_for(&bad);
        assert_int_equal(STORE_FAILED, bad.error);
        assert_non_null(strstr(bad.reason, "store test"));
        wait_for(&waiting);
        assert_int_equal(0, waiting.error);
        assert_int_equal((int)i + 2, starts());
    }
    struct told told = {0};
    script("bad-list");
    list(&told, NULL);
    wait_for(&told);
    assert_int_equal(STORE_FAILED, told.error);
    script("twice");
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error); /* the second answer ends the program, and harms nobody */
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error);
}

/* A put may have taken place; anything else is asked once more. */
static void one_that_dies(void **state)
{
    static const char *const words[] = {"exit", "half", "close"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        struct told told = {0};
        char twice[64];
        script(words[i]);
        put(&told, key("p", "t", 'a'), "kept", STORE_ANY);
        wait_for(&told);
        assert_int_equal(STORE_FAILED, told.error);
        assert_non_null(strstr(told.reason, "ended without an answer"));
        script(words[i]);
        ask(&told);
        wait_for(&told);
        assert_int_equal(0, told.error);
        (void)snprintf(twice, sizeof(twice), "%s %s", words[i], words[i]);
        script(twice);
        ask(&told);
        wait_for(&told);
        assert_int_equal(STORE_FAILED, told.error);
    }
}

static void sizes(void **state)
{
    struct told told = {0};
    (void)state;
    script("largest too-long");
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error);
    ask(&told);
    wait_for(&told);
    assert_int_equal(-EMSGSIZE, told.error);
    assert_int_equal(1, starts());
}

static void one_that_ends_by_itself(void **state)
{
    struct told told = {0};
    (void)state;
    script("answer-and-exit");
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error);
    spin(100);
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error);
    assert_int_equal(2, starts());
}

static void one_that_hangs(void **state)
{
    static const char *const words[] = {"hang", "stop"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        struct told first = {0}, second = {0}, next = {0};
        script(words[i]);
        answer_ms = SHORT_MS;
        ask(&first);
        ask(&second);
        wait_for(&first);
        wait_for(&second); /* it has waited as long */
        answer_ms = LONG_MS;
        assert_int_equal(STORE_FAILED, first.error);
        assert_int_equal(STORE_FAILED, second.error);
        assert_non_null(strstr(first.reason, "does not answer within"));
        ask(&next);
        wait_for(&next);
        assert_int_equal(0, next.error);
    }
}

static void one_that_never_begins(void **state)
{
    struct told first = {0}, second = {0};
    (void)state;
    write_file("greets", "", 0600);
    script("dies old nohello hello ok");
    ask(&first);
    ask(&second);
    wait_for(&first);
    wait_for(&second);
    assert_int_equal(STORE_FAILED, first.error);
    assert_int_equal(STORE_FAILED, second.error); /* it would do no better */
    ask(&first);
    wait_for(&first);
    assert_non_null(strstr(first.reason, "protocol"));
    answer_ms = SHORT_MS;
    ask(&first);
    wait_for(&first);
    assert_non_null(strstr(first.reason, "does not answer"));
    answer_ms = LONG_MS;
    ask(&first);
    wait_for(&first);
    assert_int_equal(0, first.error);
}

static void one_that_is_not_there(void **state)
{
    struct told told = {0};
    (void)state;
    store = store_free(store);
    assert_int_equal(0, make_store("none"));
    ask(&told);
    wait_for(&told);
    assert_int_equal(STORE_UNAVAILABLE, told.error);
    assert_string_equal("there is no program mltoken-store-none", told.reason);
    write_file("mltoken-store-none", "not a program", 0700);
    ask(&told);
    wait_for(&told);
    assert_true(told.error != 0);
}

static void waiting_for_a_person(void **state)
{
    struct told told = {0};
    (void)state;
    script("wait wait-for-ever");
    answer_ms = 6000;
    ask(&told);
    for (int i = 0; i < 6000 && !store_waiting(store); i++)
        spin(10);
    assert_non_null(store_waiting(store));
    assert_non_null(strstr(store_waiting(store), "unlock"));
    assert_null(strstr(store_waiting(store), "\u202e"));
    wait_for(&told); /* later than an answer would have to come otherwise */
    assert_int_equal(0, told.error);
    assert_null(store_waiting(store));
    person_ms = 2500;
    ask(&told);
    wait_for(&told);
    assert_int_equal(STORE_FAILED, told.error);
    assert_non_null(strstr(told.reason, "2 s in vain: a person is asked"));
    assert_null(store_waiting(store));
}

static void describe(const struct told *told, char text[static 256])
{
    _cleanup_buffer_ struct buffer buffer = BUFFER(255);
    store_call_describe(told->call, &buffer);
    (void)snprintf(text, 256, "%s", buffer.data ? buffer.data : "");
}

/* For all who wait, and for who comes a moment later; what needs nobody is done all the same. */
static void a_person_says_no_once(void **state)
{
    struct told told[4] = {{0}};
    char text[256];
    (void)state;
    script("refuse locked ok locked");
    for (size_t i = 0; i < 3; i++)
        ask(&told[i]);
    describe(&told[0], text);
    assert_string_equal("store test has not answered yet", text);
    for (int i = 0; i < 6000 && !store_waiting(store); i++)
        spin(10);
    describe(&told[0], text);
    assert_string_equal("unlock me", text);
    describe(&told[2], text);
    assert_string_equal("behind profile p: unlock me", text);
    write_file("go", "", 0600);
    for (size_t i = 0; i < 3; i++)
        wait_for(&told[i]);
    ask(&told[3]);
    wait_for(&told[3]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(i == 2 ? 0 : STORE_LOCKED, told[i].error);
    assert_string_equal("it was not unlocked", told[0].reason);
    assert_non_null(strstr(told[1].reason, "store test is locked, and a person was asked in vain"));
    assert_non_null(strstr(read_notes(), "get \nget nobody\nget nobody\nget nobody\n"));
    assert_true(process_of(store)->hush_ms > loop_now(loop));
    process_of(store)->hush_ms = loop_now(loop); /* the moment has passed */
    write_file("notes", "", 0600);
    ask(&told[0]);
    wait_for(&told[0]);
    assert_string_equal("get \n", read_notes());
}

static void nobody_is_asked(void **state)
{
    struct told told = {0};
    (void)state;
    script("locked");
    ask(&told);
    store_ask_nobody(told.call);
    wait_for(&told);
    assert_string_equal("it is locked", told.reason);
    assert_non_null(strstr(read_notes(), "get nobody\n"));
}

/* It closes its window in a moment of its own, in which nothing else waits; one that does not is killed. */
static void ending_while_a_person_is_asked(void **state)
{
    static const char *const words[] = {"wait-term", "wait-stubborn"};
    (void)state;
    for (size_t i = 0; i < ELEMENTS(words); i++) {
        struct told told = {0}, next = {0};
        script(words[i]);
        write_file("notes", "", 0600);
        person_ms = 2500;
        ask(&told);
        wait_for(&told);
        assert_int_equal(STORE_FAILED, told.error);
        ask(&next);
        wait_for(&next);
        assert_int_equal(0, next.error);
        const char *pid = strstr(read_notes(), "pid ");
        assert_non_null(pid);
        pid_t number = (pid_t)strtol(pid + 4, NULL, 10);
        for (int j = 0; j < 6000 && kill(number, 0) == 0; j++)
            spin(10);
        assert_int_equal(-1, kill(number, 0));
        assert_non_null(strstr(read_notes(), "closed"));
    }
}

/* The deadline of a request ends with its answer, whatever it was. */
static void one_that_has_nothing_to_do(void **state)
{
    struct told told = {0};
    (void)state;
    script("list");
    answer_ms = 5000;
    list(&told, NULL);
    wait_for(&told);
    spin(answer_ms + 500);
    ask(&told);
    wait_for(&told);
    assert_int_equal(0, told.error);
    assert_int_equal(1, starts());
}

static void cancelling(void **state)
{
    struct told gone = {0}, next = {0};
    (void)state;
    put(&gone, key("p", "t", 'a'), "kept", STORE_ANY);
    ask(&next);
    store_cancel(gone.call);
    wait_for(&next);
    assert_int_equal(0, gone.count);
    assert_non_null(strstr(read_notes(), "put kept\nget"));
    script("hang");
    ask(&gone);
    spin(50); /* the store is freed while its program hangs */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_started_when_it_is_needed),
        TEST(answers),
        TEST(what_no_store_does),
        TEST(one_that_dies),
        TEST(sizes),
        TEST(one_that_ends_by_itself),
        TEST(one_that_hangs),
        TEST(one_that_never_begins),
        TEST(one_that_is_not_there),
        TEST(waiting_for_a_person),
        TEST(a_person_says_no_once),
        TEST(nobody_is_asked),
        TEST(ending_while_a_person_is_asked),
        TEST(one_that_has_nothing_to_do),
        TEST(cancelling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

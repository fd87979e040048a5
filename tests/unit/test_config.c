/* The configuration: what is read, what is refused and in which words, and that no message repeats a secret. */
#include "cleanup.h"
#include "config_asserts.h"
#include "grant/grant.h"
#include "source.h"

/* A sound profile called p, with more lines. */
static struct config *read_profile(const char *lines)
{
    char text[8192];
    int n = snprintf(text, sizeof(text),
                     "[profile p]\ngrant = client_credentials\nauthority = https://as.example\nclient_id = id\n"
                     "client_secret = file:/s\n%s",
                     lines);
    assert_true(n > 0 && (size_t)n < sizeof(text));
    return read_one(text);
}

static void assert_refused(const char *line, const char *key, const char *part)
{
    char start[64];
    _cleanup_config_ struct config *config = read_profile(line);
    (void)snprintf(start, sizeof(start), "f:6: %s: ", key);
    assert_problem(config, start, part);
    assert_int_equal(config->profile_count, 1);
    const struct profile *profile = config->profiles[0];
    assert_null(profile->grant);
    assert_string_equal(profile->problem, config->problems[0]);
    assert_int_equal(profile->problem_line, 6);
}

static void assert_list(char *const *list, const char *const *expected)
{
    size_t i = 0;
    for (; expected[i]; i++) {
        assert_non_null(list[i]);
        assert_string_equal(list[i], expected[i]);
    }
    assert_null(list[i]);
}

static void test_defaults(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config = read_profile("");
    assert_sound(config);
    assert_int_equal(config->file_count, 1);
    const struct profile *p = config_profile(config, "p");
    assert_non_null(p);
    assert_ptr_equal(p->grant, &grant_client_credentials);
    assert_string_equal(p->name, "p");
    assert_string_equal(p->file, "f");
    assert_int_equal(p->line, 1);
    assert_string_equal(p->authority, "https://as.example");
    assert_string_equal(p->client_id, "id");
    assert_int_equal(p->client_secret.kind, SOURCE_FILE);
    assert_string_equal(p->client_secret.value, "/s");
    assert_int_equal(p->dialect, DIALECT_OIDC);
    assert_int_equal(p->client_auth, CLIENT_AUTH_DEFAULT);
    assert_string_equal(p->header, "Authorization: Bearer {token}");
    assert_int_equal(p->min_valid_s, 300);
    assert_int_equal(p->refresh_ahead_s, REFRESH_AHEAD_DEFAULT);
    assert_int_equal(p->timeout_ms, 30000);
    assert_null(p->store);
    assert_null(p->scopes);
    assert_null(p->endpoint_hosts);
    assert_null(p->token_endpoint);
    assert_false(profile_guarded(p));
}

static void test_every_key(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        read_profile("token_endpoint = https://as.example/token\n"
                     "device_authorization_endpoint = https://as.example/device\n"
                     "revocation_endpoint = https://as.example/revoke\n"
                     "jwks_uri = https://as.example/keys\n"
                     "endpoint_hosts = b.example a.example, [::1], a.example\n"
                     "verification_hosts = v.example\n"
                     "dialect = oidc\nclient_auth = client_secret_post\n"
                     "scope = openid  https://x.example/.default openid\n"
                     "resource = https://r.example/\naudience = aud\nheader = api-key: {token}\n"
                     "min_valid = 0\nrefresh_ahead = never\nstore = memory\n"
                     "ca_file = ~/ca.pem\nproxy = http://proxy.example:3128\ntimeout = 300\n"
                     "confirm = yes\nallow = /bin/b  ~/bin/a\t/bin/b\n");
    assert_sound(config);
    const struct profile *p = config_default(config);
    assert_non_null(p);
    assert_string_equal(p->token_endpoint, "https://as.example/token");
    assert_string_equal(p->device_authorization_endpoint, "https://as.example/device");
    assert_string_equal(p->revocation_endpoint, "https://as.example/revoke");
    assert_string_equal(p->jwks_uri, "https://as.example/keys");
    assert_list(p->endpoint_hosts, (const char *const[]){"::1", "a.example", "b.example", NULL});
    assert_list(p->verification_hosts, (const char *const[]){"v.example", NULL});
    assert_int_equal(p->client_auth, CLIENT_AUTH_POST);
    assert_list(p->scopes, (const char *const[]){"https://x.example/.default", "openid", NULL});
    assert_string_equal(p->resource, "https://r.example/");
    assert_string_equal(p->audience, "aud");
    assert_string_equal(p->header, "api-key: {token}");
    assert_int_equal(p->min_valid_s, 0);
    assert_int_equal(p->refresh_ahead_s, REFRESH_AHEAD_NEVER);
    assert_string_equal(p->ca_file, "/home/tester/ca.pem");
    assert_string_equal(p->proxy, "http://proxy.example:3128");
    assert_int_equal(p->timeout_ms, 300000);
    assert_true(p->confirm);
    assert_list(p->allow, (const char *const[]){"/bin/b", "/home/tester/bin/a", "/bin/b", NULL});
    assert_true(profile_guarded(p));
}

static void test_bad_values(void **state)
{
    (void)state;
    static const struct {
        const char *line, *key, *part;
    } cases[] = {
        {"scop = x", "scop", "did you mean scope?"},
        {"SCOPE = x", "SCOPE", "did you mean scope?"},
        {"flavour = x", "flavour", "unknown key"},
        {"client_id = again", "client_id", "repeated key, first at line 4"},
        {"scope =", "scope", "has no value"},
        {"scope = \"openid\"", "scope", "scope 1 holds a character"},
        {"just words", "is neither", "a value cannot go on"},
        {"token_endpoint = http://as.example/t", "token_endpoint", "ssh tunnel"},
        {"token_endpoint = http://127.0.0.1/t", "token_endpoint", "while the authority is https"},
        {"token_endpoint = https://u:p@as.example/t", "token_endpoint", "not a plain address"},
        {"jwks_uri = as.example", "jwks_uri", "not a plain address"},
        {"endpoint_hosts = https://a.example", "endpoint_hosts", "bare names"},
        {"verification_hosts = a.example b/c", "verification_hosts", "name 2"},
        {"dialect = entra_v3", "dialect", "did you mean entra_v1?"},
        {"client_auth = mtls", "client_auth", "use one of"},
        {"client_auth = client_secret_pots", "client_auth", "did you mean client_secret_post?"},
        {"tenant = contoso.com", "tenant", "only means something"},
        {"tenant = a/b", "tenant", "letters, digits"},
        {"resource = https://a b", "resource", "holds a blank"},
        {"resource = https://a/#b", "resource", "fragment"},
        {"audience = \xc3\xa4", "audience", "outside ASCII"},
        {"header = {token}", "header", "not a header line"},
        {"header = a b: {token}", "header", "not a header line"},
        {"header = api-key: x", "header", "must hold {token} once"},
        {"header = api-key: {token}{token}", "header", "must hold {token} once"},
        {"header = {token}: {token}", "header", "not a header line"},
        {"min_valid = 5m", "min_valid", "digits alone"},
        {"min_valid = -1", "min_valid", "digits alone"},
        {"min_valid = 99999999", "min_valid", "out of range"},
        {"refresh_ahead = sometimes", "refresh_ahead", "never"},
        {"store = Keyring", "store", "keyring, file, memory, or NAME"},
        {"store = ../x", "store", "not the name of a store"},
        {"ca_file = ca.pem", "ca_file", "needs a whole path"},
        {"proxy = socks5://x", "proxy", "not a plain address"},
        {"proxy = http://user:" SECRET "@x", "proxy", "not a plain address"},
        {"proxy = http://x/y", "proxy", "has a path"},
        {"timeout = 0", "timeout", "out of range"},
        {"timeout = 301", "timeout", "out of range"},
        {"confirm = true", "confirm", "use one of: no, yes"},
        {"confirm = YES", "confirm", "no, yes"},
        {"allow = bin/x", "allow", "needs a whole path"},
        {"allow = /bin/x bin/y", "allow", "needs a whole path"},
        {"allow = /1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16 /17", "allow", "has 17 programs, at most 16"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        if (strcmp(cases[i].key, "is neither") == 0) {
            _cleanup_config_ struct config *config = read_profile(cases[i].line);
            assert_problem(config, "f:6: is neither", cases[i].part);
            assert_null(config->profiles[0]->grant);
        } else {
            assert_refused(cases[i].line, cases[i].key, cases[i].part);
        }
    }
}

static void assert_authority(const char *authority, const char *lines, const char *expected, enum dialect dialect)
{
    char text[8192];
    (void)snprintf(text, sizeof(text),
                   "[profile p]\ngrant = client_credentials\nauthority = %s\nclient_id = i\nclient_secret = "
                   "env:X\n%s",
                   authority, lines);
    _cleanup_config_ struct config *config = read_one(text);
    if (!expected) {
        assert_int_equal(config->problem_count, 1);
        return;
    }
    assert_sound(config);
    assert_string_equal(config->profiles[0]->authority, expected);
    assert_int_equal(config->profiles[0]->dialect, dialect);
}

static void test_authority(void **state)
{
    (void)state;
    assert_authority("https://as.example/realms/x/", "", "https://as.example/realms/x/", DIALECT_OIDC);
    assert_authority("http://127.0.0.1:8080/x", "", "http://127.0.0.1:8080/x", DIALECT_OIDC);
    assert_authority("http://[::1]:8080", "token_endpoint = http://127.0.0.1:1/t\n", "http://[::1]:8080", DIALECT_OIDC);
    assert_authority("http://localhost:8080", "", NULL, DIALECT_OIDC);
    assert_authority("http://169.254.169.254/", "", NULL, DIALECT_OIDC);
    assert_authority("https://as.example/?a=b", "", NULL, DIALECT_OIDC);
    assert_authority("ftp://as.example", "", NULL, DIALECT_OIDC);
#define ENTRA "https://login.microsoftonline.com"
    assert_authority(ENTRA "/t/v2.0", "", ENTRA "/t/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA "/t/v2.0/", "scope = x\n", ENTRA "/t/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA "/t", "scope = x\n", ENTRA "/t/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA, "tenant = contoso.com\n", ENTRA "/contoso.com/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA "/", "tenant = c\nresource = r\n", ENTRA "/c", DIALECT_ENTRA_V1);
    assert_authority(ENTRA "/t/", "resource = r\n", ENTRA "/t", DIALECT_ENTRA_V1);
    assert_authority(ENTRA "/t/v2.0", "resource = r\n", ENTRA "/t/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA "/T/v2.0", "tenant = t\n", ENTRA "/T/v2.0", DIALECT_ENTRA);
    assert_authority(ENTRA "/t/v2.0", "tenant = u\n", NULL, DIALECT_ENTRA);
    assert_authority(ENTRA, "", NULL, DIALECT_ENTRA);
    assert_authority(ENTRA "/t/v2.0/more", "", NULL, DIALECT_ENTRA);
    assert_authority(ENTRA "/t/v2.0", "dialect = entra_v1\n", NULL, DIALECT_ENTRA);
    assert_authority(ENTRA "/t/v2.0", "dialect = oidc\n", ENTRA "/t/v2.0", DIALECT_OIDC);
    assert_authority("http://127.0.0.1:9/x/v2.0", "dialect = entra\n", "http://127.0.0.1:9/x/v2.0", DIALECT_ENTRA);
    assert_authority("http://127.0.0.1:9", "dialect = entra\ntenant = t\n", "http://127.0.0.1:9/t/v2.0", DIALECT_ENTRA);
}

/* The first message of a user who follows az's habits must say what to do. */
static void test_tunnel(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        read_one("[profile p]\ngrant = client_credentials\nauthority = http://as.example\n"
                 "client_id = i\nclient_secret = env:X\n");
    assert_problem(config, "f:3: authority: ", "ssh -N -L");
}

static void test_sources(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *argv[6];
    } commands[] = {
        {"pass show ml/secret", {"pass", "show", "ml/secret"}},
        {"  a\t b  ", {"a", "b"}},
        {"a 'b  c' \"d $\"'$x'", {NULL}},
        {"a 'b  c' \"d \\\"\\\\ \\$ \\` \\n\"", {"a", "b  c", "d \"\\ $ ` \\n"}},
        {"a b\\ c\\'d e'f'\"g\" ''", {"a", "b c'd", "efg", ""}},
        {"~/bin/x ~/y a~/b '~/c'", {"/home/tester/bin/x", "/home/tester/y", "a~/b", "~/c"}},
        {"sh -c 'a | b; echo $HOME'", {"sh", "-c", "a | b; echo $HOME"}},
        {"a | b", {NULL}},
        {"a $(b)", {NULL}},
        {"a `b`", {NULL}},
        {"a > b", {NULL}},
        {"a; b", {NULL}},
        {"a \"`b`\"", {NULL}},
        {"a 'b", {NULL}},
        {"a \"b", {NULL}},
        {"a \\", {NULL}},
        {"", {NULL}},
        {"''", {NULL}},
    };
    for (size_t i = 0; i < ELEMENTS(commands); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text),
                       "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\n"
                       "client_secret = command:%s\n",
                       commands[i].value);
        _cleanup_config_ struct config *config = read_one(text);
        if (!commands[i].argv[0]) {
            assert_problem(config, "f:5: client_secret: ", "command");
            continue;
        }
        assert_sound(config);
        assert_int_equal(config->profiles[0]->client_secret.kind, SOURCE_COMMAND);
        assert_list(config->profiles[0]->client_secret.argv, commands[i].argv);
    }
}

static void test_env_names(void **state)
{
    (void)state;
    static const char *const allowed[] = {"CI_SECRET",    "x",    "_", "AZURE_CLIENT_SECRET", "LDAP_PASSWORD",
                                          "LOCAL_SECRET", "PROXY"};
    static const char *const refused[] = {"",
                                          "1A",
                                          "A-B",
                                          "A B",
                                          "LD_PRELOAD",
                                          "ld_preload",
                                          "GLIBC_TUNABLES",
                                          "MALLOC_X",
                                          "SSLKEYLOGFILE",
                                          "SSL_CERT_FILE",
                                          "OPENSSL_CONF",
                                          "http_proxy",
                                          "HTTPS_PROXY",
                                          "ALL_PROXY",
                                          "PATH",
                                          "HOME",
                                          "NOTIFY_SOCKET",
                                          "MLTOKEN_SOCK",
                                          "LOCPATH",
                                          "CURL_HOME",
                                          "\xc3\xa4"};
    for (size_t i = 0; i < ELEMENTS(allowed); i++)
        assert_true(source_env_allowed(span_of(allowed[i])));
    for (size_t i = 0; i < ELEMENTS(refused); i++)
        assert_false(source_env_allowed(span_of(refused[i])));
}

/* However a secret comes into the file, no message holds it (read_two() looks at each), and its profile is disabled. */
static void test_no_echo(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = " SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_sceret = " SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\npassword = " SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:" SECRET
        "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = file:" SECRET
        "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = "
        "command:'" SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = "
        "credential:/" SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\n" SECRET
        "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\n" SECRET
        "==\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\n" SECRET
        "=\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\n[" SECRET
        "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://x:" SECRET
        "@a\nclient_id = i\nclient_secret = env:X\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = "
        "env:X\nrefresh_ahead = " SECRET "\n",
        "[profile p]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\nclient_secret = env:X\ntimeout "
        "= " SECRET "\n",
        "client_secret = " SECRET "\n",
        "[agent]\nclient_secret = " SECRET "\n",
        "[agent]\npassword = " SECRET "\n",
        "[agent]\nstore = " SECRET "\n",
        "[agent]\ndefault_profile = " SECRET "\n",
        "[profile " SECRET "/]\n",
        "[" SECRET "]\n",
        "[profile p]\ngrant = " SECRET "\n",
        "[profile p]\ndialect = " SECRET "\n",
        "[profil x]\nclient_secret = " SECRET "\n",
    };
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        _cleanup_config_ struct config *config = read_one(texts[i]);
        assert_true(config->problem_count > 0);
        for (size_t k = 0; k < config->profile_count; k++)
            if (config->profiles[k]->problem)
                assert_null(strstr(config->profiles[k]->problem, SECRET));
    }
}

/* A profile's own store counts, else the agent's, wherever that stands. */
static void test_stores(void **state)
{
    (void)state;
    static const char body[] = "grant = client_credentials\nauthority = https://a\nclient_id = i\n";
    char text[1024];
    (void)snprintf(text, sizeof(text),
                   "[profile a]\n%sclient_secret = stored\n[agent]\nstore = file\nkey_file = /k\n[profile b]\n%s"
                   "client_secret = env:X\nstore = vault-2\n",
                   body, body);
    _cleanup_config_ struct config *config = read_one(text);
    assert_int_equal(config->problem_count, 0);
    assert_string_equal(config->store, "file");
    assert_string_equal(config->key_file, "/k");
    assert_string_equal(config_profile(config, "a")->store, "file");
    assert_int_equal(config_profile(config, "a")->client_secret.kind, SOURCE_STORED);
    assert_string_equal(config_profile(config, "b")->store, "vault-2");
}

static void test_guards(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        read_profile("confirm = no\nallow = /1 /2 /3 /4 /5 /6 /7 /8 /9 /10 /11 /12 /13 /14 /15 /16\n");
    assert_sound(config);
    assert_false(config_default(config)->confirm);
    assert_null(config->pinentry);
    size_t count = 0;
    while (config_default(config)->allow[count])
        count++;
    assert_int_equal(count, LIMIT_ALLOW);
    assert_true(profile_guarded(config_default(config)));
    _cleanup_config_ struct config *name = read_one("[agent]\npinentry = pinentry-tty\n");
    assert_string_equal(name->pinentry, "pinentry-tty");
    _cleanup_config_ struct config *path = read_one("[agent]\npinentry = ~/my bin/pinentry\n");
    assert_string_equal(path->pinentry, "/home/tester/my bin/pinentry");
}

static void test_lock_on(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool suspend, session;
    } cases[] = {
        {"[agent]\nlock_on = suspend session\n", true, true},   {"[agent]\nlock_on = session\tsuspend\n", true, true},
        {"[agent]\nlock_on = session  session\n", false, true}, {"[agent]\nlock_on = suspend\n", true, false},
        {"[agent]\nlock_on = suspend lid\n", false, false},     {"[agent]\nstore = file\n", false, false},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_config_ struct config *config = read_one(cases[i].text);
        assert_int_equal(config->lock_on_suspend, cases[i].suspend);
        assert_int_equal(config->lock_on_session, cases[i].session);
    }
}

static void test_sections(void **state)
{
    (void)state;
    static const struct {
        const char *text, *start, *part;
    } cases[] = {
        {"[profiles x]\na = b\n", "f:1: ", "unknown section"},
        {"[profile]\na = b\n", "f:1: ", "unknown section"},
        {"[profile a/b]\na = b\n", "f:1: [profile]: ", "not a name"},
        {"[profile .a]\n", "f:1: [profile]: ", "not a name"},
        {"[profile \"a\"]\n", "f:1: [profile]: ", "not a name"},
        {"a = b\n", "f:1: ", "before any section"},
        {"[agent]\n[agent]\n", "f:2: [agent]: ", "repeated section, first at line 1"},
        {"[agent]\nscope = x\n", "f:2: scope: ", "belongs into a profile"},
        {"[agent]\ndefualt_profile = x\n", "f:2: defualt_profile: ", "did you mean default_profile?"},
        {"[agent]\nstore = memory\nstore = memory\n", "f:3: store: ", "repeated key"},
        {"[agent]\nstore =\n", "f:2: store: ", "has no value"},
        {"[agent]\nstore = a_b\n", "f:2: store: ", "not the name of a store"},
        {"[agent]\nkey_file = x\n", "f:2: key_file: ", "needs a whole path"},
        {"[agent]\npinentry = bin/x\n", "f:2: pinentry: ", "needs a whole path"},
        {"[agent]\npinentry = pinentry --now\n", "f:2: pinentry: ", "without arguments"},
        {"[agent]\nconfirm = yes\n", "f:2: confirm: ", "belongs into a profile"},
        {"[agent]\nlock_on = suspend lid\n", "f:2: lock_on: ", "the words suspend and session"},
        {"[agent]\nlock_on = yes\n", "f:2: lock_on: ", "the words suspend and session"},
        {"[agent]\ndefault_profile = x\n", "f:2: default_profile: ", "there is no such profile"},
        {"[agent\nclient_secret = x\n", "f:1: a section is", "alone on its line"},
        {"[profile a]\n", "f:1: grant: ", "is missing"},
    };
    for (size_t i = 0; i < ELEMENTS(cases); i++) {
        _cleanup_config_ struct config *config = read_one(cases[i].text);
        assert_problem(config, cases[i].start, cases[i].part);
    }
}

static void test_profile_name_limit(void **state)
{
    (void)state;
    for (int length = LIMIT_PROFILE_NAME - 1; length <= LIMIT_PROFILE_NAME + 1; length++) {
        char text[256], name[LIMIT_PROFILE_NAME + 2] = "";
        memset(name, 'n', (size_t)length);
        (void)snprintf(text, sizeof(text),
                       "[profile %s]\ngrant = client_credentials\nauthority = https://a\nclient_id = i\n"
                       "client_secret = env:X\n",
                       name);
        _cleanup_config_ struct config *config = read_one(text);
        assert_int_equal(config->profile_count, length <= LIMIT_PROFILE_NAME);
        assert_int_equal(config->problem_count, length > LIMIT_PROFILE_NAME);
    }
}

/* A bad profile is disabled alone. */
/* The file of the PAM module: its own section is for the module to read. */
static void test_others(void **state)
{
    static const char text[] = "[pam]\nprofile = p\nwhatever = 1\n[profile p]\ngrant = static\ntoken = file:/x\n";
    struct config *config;
    (void)state;
    struct config_text texts[] = {{.file = "f", .text = {text, sizeof(text) - 1}, .others = "pam"}};
    assert_int_equal(0, config_read_all(texts, 1, &config));
    assert_int_equal(0, config->problem_count);
    assert_int_equal(1, config->profile_count);
    config_free(config);
    texts[0].others = NULL;
    assert_int_equal(0, config_read_all(texts, 1, &config));
    assert_int_equal(1, config->problem_count);
    assert_string_equal("f:1: unknown section; write [profile NAME] or [agent]", config->problems[0]);
    config_free(config);
}

static void test_alone(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        read_one("[profile c]\n" GOOD "[profile b]\ngrant = cliend_credentials\nscope = x\n"
                 "[profile a]\n" GOOD);
    assert_problem(config, "f:7: grant: ", "did you mean client_credentials?");
    assert_int_equal(config->profile_count, 3);
    assert_null(config_profile(config, "b")->grant);
    assert_non_null(config_profile(config, "a")->grant);
    assert_null(config_profile(config, "c")->problem);
    assert_null(config_profile(config, "d"));
    assert_string_equal(config->profiles[0]->name, "a");
    assert_null(config_default(config)); /* three, and none named */
}

static void test_repeated_profile(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config = read_one("[profile a]\n" GOOD "[profile a]\n" GOOD "[profile b]\n" GOOD);
    assert_problem(config, "f:6: a: ", "repeated section, first at line 1");
    assert_int_equal(config->profile_count, 2);
    assert_null(config->profiles[0]->grant);
    assert_non_null(config->profiles[1]->grant);
}

static void test_two_files(void **state)
{
    (void)state;
    _cleanup_config_ struct config *config =
        read_two("[agent]\ndefault_profile = a\n[profile a]\n" GOOD "[profile b]\n" GOOD "scope = system\n",
                 "[agent]\ndefault_profile = b\n[profile b]\n" GOOD "scope = user\n[profile c]\n" GOOD);
    assert_sound(config);
    assert_int_equal(config->file_count, 2);
    assert_int_equal(config->profile_count, 3);
    assert_string_equal(config_profile(config, "b")->scopes[0], "user");
    assert_string_equal(config_profile(config, "b")->file, "f");
    assert_string_equal(config_profile(config, "a")->file, "/etc/f");
    assert_string_equal(config_default(config)->name, "b");
}

static void test_default(void **state)
{
    (void)state;
    _cleanup_config_ struct config *one = read_one("[profile a]\n" GOOD);
    assert_string_equal(config_default(one)->name, "a");
    _cleanup_config_ struct config *none = read_one(NULL);
    assert_null(config_default(none));
    assert_int_equal(none->file_count, 0);
    assert_int_equal(none->problem_count, 0);
    _cleanup_config_ struct config *wrong = read_one("[agent]\ndefault_profile = aaa\n[profile aab]\n" GOOD);
    assert_problem(wrong, "f:2: default_profile: ", "did you mean aab");
    assert_null(config_default(wrong)); /* named wrongly: not simply the only one */
}

static void test_fingerprint(void **state)
{
    (void)state;
    _cleanup_config_ struct config *a = read_one("[profile a]\n" GOOD "scope = x\n");
    _cleanup_config_ struct config *b = read_one("# moved\n\n[profile a]\nscope=x\r\n" GOOD);
    _cleanup_config_ struct config *c = read_one("[profile a]\n" GOOD "scope = y\n");
    _cleanup_config_ struct config *d = read_one("[profile a]\n" GOOD "scope = x\ntimeout = 30\n");
    assert_string_equal(a->profiles[0]->fingerprint, b->profiles[0]->fingerprint);
    assert_string_not_equal(a->profiles[0]->fingerprint, c->profiles[0]->fingerprint);
    assert_string_not_equal(a->profiles[0]->fingerprint, d->profiles[0]->fingerprint);
}

static void test_error_limit(void **state)
{
    (void)state;
    for (int count = LIMIT_CONFIG_ERRORS - 1; count <= LIMIT_CONFIG_ERRORS + 1; count++) {
        char text[4096] = "";
        size_t used = (size_t)snprintf(text, sizeof(text), "[profile a]\n%s", GOOD);
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "bad\n");
        _cleanup_config_ struct config *config = read_one(text);
        assert_int_equal(config->problem_count, count > LIMIT_CONFIG_ERRORS ? LIMIT_CONFIG_ERRORS + 1 : count);
        const char *last = config->problems[config->problem_count - 1];
        assert_int_equal(strstr(last, "f: 1 more problems") != NULL, count > LIMIT_CONFIG_ERRORS);
    }
}

static void test_list_limits(void **state)
{
    (void)state;
    for (int count = LIMIT_HOSTS - 1; count <= LIMIT_HOSTS + 1; count++) {
        char text[1024];
        size_t used = (size_t)snprintf(text, sizeof(text), "endpoint_hosts =");
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, " h%d", i);
        _cleanup_config_ struct config *config = read_profile(text);
        assert_int_equal(config->problem_count, count > LIMIT_HOSTS);
    }
    for (int count = LIMIT_CONFIG_KEYS - 1; count <= LIMIT_CONFIG_KEYS + 1; count++) {
        char text[4096] = "";
        size_t used = 0;
        for (int i = 0; i < count; i++)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "k%d = v\n", i);
        _cleanup_config_ struct config *config = read_profile(text);
        bool beyond = false;
        for (size_t i = 0; i < config->problem_count; i++)
            beyond = beyond || strstr(config->problems[i], "too many");
        assert_int_equal(beyond, count > LIMIT_CONFIG_KEYS);
        assert_null(config->profiles[0]->grant);
    }
}

static int set_up(void **state)
{
    (void)state;
    return setenv("HOME", "/home/tester", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_key),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_authority),
        cmocka_unit_test(test_tunnel),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_env_names),
        cmocka_unit_test(test_no_echo),
        cmocka_unit_test(test_stores),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_lock_on),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_profile_name_limit),
        cmocka_unit_test(test_repeated_profile),
        cmocka_unit_test(test_two_files),
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_error_limit),
        cmocka_unit_test(test_list_limits),
    };
    return cmocka_run_group_tests_name("config", tests, set_up, NULL);
}

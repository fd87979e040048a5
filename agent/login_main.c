/* mltoken-pam-login: signs a person in for the PAM module, which executes it as a user of its own. Everything that an
 * authority says is read in this process alone, and what the module gets to hear has the form of lines.h. Only wires;
 * login/ has the parts, and pam_mltoken(8) what may be relied on. */
#include "log.h"
#include "login/attempt.h"
#include "login/fitness.h"
#include "login/mapping.h"
#include "login/proof.h"
#include "login/surroundings.h"

static int run(const struct wanted *wanted, const struct voice *voice)
{
    char problem[LIMIT_PROBLEM] = "";
    struct config *config = NULL;
    struct profile *profile = NULL;
    int r = fitness_find(wanted, &config, &profile, problem);
    if (r == 0)
        r = surroundings_leave();
    if (r < 0) {
        config_free(config);
        (void)voice->fail(voice->arg, *problem ? FAILING_CONFIG : FAILING_INTERNAL, *problem ? problem : strerror(-r));
        return 1;
    }
    if (wanted->what == WANTED_VERIFY)
        return proof_run(wanted, config, profile, voice);
    return attempt_run(wanted, config, profile, voice, wanted->what == WANTED_SIGN_IN);
}

/* Before anything is understood of it. */
static bool is_for_terminal(char *const argv[])
{
    for (char *const *arg = argv; *arg; arg++)
        if (strcmp(*arg, "--map") == 0)
            return true;
    return false;
}

int main(int argc, char **argv)
{
    (void)argc;
    struct wanted wanted = {0};
    struct mapping mapping;
    char problem[LIMIT_TEXT] = "";
    bool terminal = is_for_terminal(argv);
    int r = surroundings_settle(argv, terminal);
    struct voice voice = terminal ? mapping_voice(&mapping, &wanted) : voice_lines(&wanted);
    log_as("mltoken-pam-login");
    log_open(true, false);
    if (r < 0) {
        (void)voice.fail(voice.arg, FAILING_INTERNAL, strerror(-r));
        return 1;
    }
    r = wanted_read(argv, &wanted, problem);
    if (r < 0)
        (void)voice.fail(voice.arg, FAILING_CONFIG, problem);
    if (r != 0)
        return r < 0;
    log_open(true, wanted.debug);
    return run(&wanted, &voice);
}

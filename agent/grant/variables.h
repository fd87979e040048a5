/* The variables of the agent's environment that a grant looks at, by which platforms say what they offer. The agent's
 * first program takes along those of the grants that its configuration names (environment.h), and nothing else of the
 * agent is there then: this is a table and no code, beside the grants' own. */
#pragma once

struct grant_variables {
    const char *grant;
    const char *const *names; /* NULL-terminated */
};

extern const struct grant_variables grant_variables[]; /* ended by a NULL grant */

/* The Varlink descriptions of what the agent speaks: the very files, compiled in. */
#pragma once

extern const char description_agent[];
extern const char description_service[];

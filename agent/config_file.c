#include "config.h"

#include "cleanup.h"

DEFINE_CLEANUP(struct config *, config_free)

int config_load(const char *path, struct config **ret)
{
    _cleanup_free_ char *system = NULL, *user = NULL;
    struct config_text texts[2] = {0};
    const char *paths[2] = {path, NULL};
    size_t count = 0;
    int r = path ? 0 : config_paths(&system, &user);
    if (!path)
        paths[0] = system, paths[1] = user;
    while (r == 0 && count < 2 && paths[count]) {
        r = config_text_read(paths[count], &texts[count]);
        count += r == 0;
    }
    if (r == 0)
        return config_open(texts, count, ret);
    for (size_t i = 0; i < count; i++)
        config_text_clear(&texts[i]);
    return r;
}

int config_check(FILE *out, const char *path)
{
    _cleanup_(config_free_cleanup) struct config *config = NULL;
    if (config_load(path, &config) < 0 || !config || config_read_on(config, SIZE_MAX) < 0) {
        (void)fputs("mltoken-agent: out of memory\n", stderr);
        return 1;
    }
    if (path && config->file_count == 0) {
        (void)fprintf(out, "%s: there is no such file; create it with: mltoken config new\n", path);
        return 3;
    }
    for (size_t i = 0; i < config->problem_count; i++)
        (void)fprintf(out, "%s\n", config->problems[i]);
    if (config->problem_count > 0)
        return 3;
    (void)fprintf(out, "OK: %zu profile%s%s\n", config->profile_count, config->profile_count == 1 ? "" : "s",
                  config->file_count == 0 ? " (no configuration yet; create one with: mltoken config new)" : "");
    return 0;
}

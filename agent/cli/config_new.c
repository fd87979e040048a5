#include "config_new.h"

#include "cleanup.h"
#include "options.h"
#include "output.h"

static int show_templates(const struct context *context)
{
    _cleanup_json_ json_object *list = json_object_new_array();
    struct buffer text = BUFFER(LIMIT_REPLY);
    for (size_t i = 0; template_at(i); i++) {
        const struct template *template = template_at(i);
        json_object *item = json_object_new_object();
        (void)json_put_text(item, "name", template->name);
        (void)json_put_text(item, "grant", template->grant);
        (void)json_put_text(item, "about", template->about);
        (void)json_object_array_add(list, item);
        buffer_format(&text, "%-19s %-19s %s\n", template->name, template->grant, template->about);
    }
    if (!context->json)
        return output_write(&text);
    buffer_free(&text);
    return output_json(list);
}

int config_new(struct context *context, int argc, char **argv)
{
    struct new_profile profile = {0};
    bool listing = false;
    struct option options[4 + FIELD_COUNT] = {
        {"--from", OPTION_TEXT, &profile.from, "SYSTEM", "begin from what is known of it: azure-openai, keycloak, ..."},
        {"--list", OPTION_FLAG, &listing, NULL, "print what there is to begin from"},
        {"--profile", OPTION_TEXT, &profile.name, "NAME", "the profile's name"},
        {"--grant", OPTION_TEXT, &profile.grant, "GRANT", "client_credentials, device_code, ..."},
    };
    for (enum field field = 0; field < FIELD_COUNT; field++)
        options[4 + field] =
            (struct option){field_option(field), OPTION_TEXT, &profile.values[field], "VALUE", field_help(field)};
    const struct usage usage = {.command = "config new",
                                .arguments = "[OPTIONS]",
                                .summary =
                                    "Writes a starting configuration, or adds a profile to the one that is there.",
                                USAGE_OPTIONS(options)};
    struct arguments arguments;
    char path[CONFIG_PATH_SIZE];
    int r = options_parse(context, &usage, argc, argv, &arguments);
    if (r != OPTIONS_GO)
        return r;
    if (listing)
        return show_templates(context);
    if (config_path(path, sizeof(path)) < 0)
        return EXIT_CONFIGURATION;
    r = config_ask(&profile);
    if (r == EXIT_DONE)
        r = config_write("config new", path, &profile);
    if (r != EXIT_DONE)
        return r;
    struct buffer text = BUFFER(2 * CONFIG_PATH_SIZE);
    buffer_format(&text, "the profile %s stands in %s\n", profile.name, path);
    config_next(context, &profile);
    return output_write(&text);
}

#include "import_record.h"

#include "cleanup.h"
#include <errno.h>
#include <stdio.h>

void import_record_free(struct import_record *record)
{
    json_wipe(record->parameters);
    *record = (struct import_record){0};
}

/* The next line, without its end. */
static int take_line(struct span *rest, const char *word, struct line *ret)
{
    const char *end = rest->length > 0 ? memchr(rest->data, '\n', rest->length) : NULL;
    if (!end)
        return -EBADMSG;
    size_t length = (size_t)(end - rest->data);
    int r = line_parse((struct span){rest->data, length}, ret);
    if (r == 0 && strcmp(ret->word, word) != 0)
        r = -EBADMSG;
    rest->data += length + 1;
    rest->length -= length + 1;
    return r == -ENOMEM ? r : r < 0 ? -EBADMSG : 0;
}

static int read_head(const struct line *line, uid_t uid, struct import_record *ret, const char **ret_wrong)
{
    int64_t version = 0, owner = -1;
    const char *profile = "";
    *ret_wrong = "version";
    if (line_number(line, "version", &version) < 0 || version != 1)
        return -EBADMSG;
    *ret_wrong = "uid";
    if (line_number(line, "uid", &owner) < 0 || owner != (int64_t)uid)
        return -EBADMSG;
    *ret_wrong = "profile";
    int r = line_text(line, "profile", &profile);
    if ((r < 0 && r != -ENOENT) || strlen(profile) > LIMIT_PROFILE_NAME)
        return -EBADMSG;
    (void)snprintf(ret->profile, sizeof(ret->profile), "%s", profile);
    return 0;
}

/* Puts a field under the name that Import has for it. */
static int put(json_object *to, const struct line *line, const char *field, const char *name, bool required)
{
    const char *text = NULL;
    int r = line_text(line, field, &text);
    if (r == -ENOENT && !required)
        return 0;
    if (r < 0 || !*text)
        return -EBADMSG;
    return json_put_text(to, name, text);
}

static int put_scopes(json_object *to, const struct line *line)
{
    const char *text = "";
    int r = line_text(line, "scopes", &text);
    if (r < 0 && r != -ENOENT)
        return -EBADMSG;
    json_object *scopes = json_object_new_array();
    if (json_put(to, "scopes", scopes) < 0)
        return -ENOMEM;
    for (size_t count = 0; *text; count++) {
        size_t length = strcspn(text, " ");
        if (count >= LIMIT_SCOPES || length > LIMIT_SCOPE)
            return -EBADMSG;
        json_object *scope = length > 0 ? json_object_new_string_len(text, (int)length) : NULL;
        if (length > 0 && (!scope || json_object_array_add(scopes, scope) < 0))
            return json_object_put(scope), -ENOMEM;
        text += length + (text[length] == ' ');
    }
    return 0;
}

static int put_end(json_object *to, const struct line *line)
{
    int64_t expires_at = -1;
    int r = line_number(line, "expires_at", &expires_at);
    if (r == -ENOENT)
        return 0;
    return r < 0 || expires_at < 0 ? -EBADMSG : json_put_integer(to, "expiresAt", expires_at);
}

static int read_done(const struct line *line, struct import_record *ret, const char **ret_wrong)
{
    static const struct {
        const char *field, *name;
        bool required;
    } texts[] = {{"issuer", "issuer", true},
                 {"client_id", "clientId", true},
                 {"id_token", "idToken", true},
                 {"refresh_token", "refreshToken", false},
                 {"access_token", "accessToken", false}};
    const char *issuer = "";
    ret->parameters = json_object_new_object();
    if (!ret->parameters)
        return -ENOMEM;
    for (size_t i = 0; i < ELEMENTS(texts); i++) {
        *ret_wrong = texts[i].field;
        int r = put(ret->parameters, line, texts[i].field, texts[i].name, texts[i].required);
        if (r < 0)
            return r;
    }
    *ret_wrong = "issuer";
    if (line_text(line, "issuer", &issuer) < 0 || strlen(issuer) > LIMIT_URL)
        return -EBADMSG;
    (void)snprintf(ret->issuer, sizeof(ret->issuer), "%s", issuer);
    *ret_wrong = "scopes";
    int r = put_scopes(ret->parameters, line);
    if (r < 0)
        return r;
    *ret_wrong = "expires_at";
    return put_end(ret->parameters, line);
}

int import_record_read(struct span text, uid_t uid, struct import_record *ret, const char **ret_wrong)
{
    _cleanup_line_ struct line head = {0};
    _cleanup_line_ struct line done = {0};
    _cleanup_import_record_ struct import_record record = {0};
    struct span rest = text;
    *ret_wrong = "its first line";
    int r = take_line(&rest, "record", &head);
    if (r == 0)
        r = read_head(&head, uid, &record, ret_wrong);
    if (r < 0)
        return r;
    *ret_wrong = "its second line";
    r = take_line(&rest, "done", &done);
    if (r == 0)
        r = read_done(&done, &record, ret_wrong);
    if (r < 0)
        return r;
    *ret_wrong = "what follows it";
    if (rest.length > 0)
        return -EBADMSG;
    *ret = record;
    record = (struct import_record){0};
    return 0;
}

#include "token/request.h"

#include "buffer.h"
#include "cleanup.h"
#include <errno.h>

DEFINE_CLEANUP(char **, scopes_free)

static int duplicate(const char *from, char **ret)
{
    *ret = from ? strdup(from) : NULL;
    return from && !*ret ? -ENOMEM : 0;
}

static int duplicate_list(char *const *from, char ***ret)
{
    size_t count = 0;
    if (!from) {
        *ret = NULL;
        return 0;
    }
    while (from[count])
        count++;
    _cleanup_(scopes_free_cleanup) char **list = calloc(count + 1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (duplicate(from[i], &list[i]) < 0)
            return -ENOMEM;
    *ret = TAKE_PTR(list);
    return 0;
}

void request_clear(struct request *request)
{
    scopes_free(request->scopes);
    free(request->resource);
    free(request->audience);
    free(request->claims);
    *request = (struct request){.min_valid_s = -1};
}

int request_copy(const struct request *from, struct request *ret)
{
    struct request copy = {.min_valid_s = from->min_valid_s, .refresh = from->refresh};
    if (duplicate_list(from->scopes, &copy.scopes) < 0 || duplicate(from->resource, &copy.resource) < 0 ||
        duplicate(from->audience, &copy.audience) < 0 || duplicate(from->claims, &copy.claims) < 0) {
        request_clear(&copy);
        return -ENOMEM;
    }
    *ret = copy;
    return 0;
}

char *const *request_scopes(const struct request *request, const struct profile *profile)
{
    return request && request->scopes ? request->scopes : profile->scopes;
}

const char *request_resource(const struct request *request, const struct profile *profile)
{
    return request && request->resource ? request->resource : profile->resource;
}

const char *request_audience(const struct request *request, const struct profile *profile)
{
    return request && request->audience ? request->audience : profile->audience;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

size_t scopes_sort(char **scopes)
{
    size_t count = 0, kept = 0;
    while (scopes[count])
        count++;
    qsort(scopes, count, sizeof(*scopes), compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(scopes[kept - 1], scopes[i]) != 0) {
            char *repeated = scopes[kept];
            scopes[kept++] = scopes[i];
            scopes[i] = repeated;
        }
    return kept;
}

void scopes_normalise(char **scopes)
{
    if (!scopes)
        return;
    for (size_t i = scopes_sort(scopes); scopes[i]; i++) {
        free(scopes[i]);
        scopes[i] = NULL;
    }
}

/* RFC 6749 section 3.3: printable ASCII without space, quote and backslash. */
bool scope_valid(struct span scope)
{
    for (size_t i = 0; i < scope.length; i++) {
        char c = scope.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return scope.length > 0;
}

int scopes_parse(const char *text, char ***ret)
{
    _cleanup_(scopes_free_cleanup) char **list = calloc(LIMIT_SCOPES + 1, sizeof(*list));
    size_t count = 0;
    if (!list)
        return -ENOMEM;
    while (*(text += strspn(text, " "))) {
        struct span scope = {text, strcspn(text, " ")};
        if (!scope_valid(scope))
            return -EINVAL;
        if (scope.length > LIMIT_SCOPE || count == LIMIT_SCOPES)
            return -E2BIG;
        list[count] = strndup(scope.data, scope.length);
        if (!list[count++])
            return -ENOMEM;
        text += scope.length;
    }
    scopes_normalise(list);
    *ret = TAKE_PTR(list);
    return 0;
}

char **scopes_free(char **scopes)
{
    for (char **scope = scopes; scope && *scope; scope++)
        free(*scope);
    free(scopes);
    return NULL;
}

char *scopes_join(char *const *scopes)
{
    _cleanup_buffer_ struct buffer text = BUFFER(LIMIT_SCOPES * (LIMIT_SCOPE + 1));
    for (char *const *scope = scopes; scope && *scope; scope++) {
        if (scope != scopes)
            buffer_byte(&text, ' ');
        buffer_text(&text, *scope);
    }
    return buffer_take(&text);
}

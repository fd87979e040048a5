/* libFuzzer: any bytes as a browser's request to a sign-in's page, and what it brings as an authority's answer. Every
 * span lies within the bytes; no start of a request that is whole is whole itself; an answer that is for a state has
 * just that one. */
#include "acquire/visit.h"
#include "grant/redirect_answer.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hold(bool truth)
{
    if (!truth)
        abort();
}

static void hold_within(struct span part, const char *text, size_t size)
{
    hold(!part.data || (part.data >= text && part.data + part.length <= text + size));
}

static void read_answer(struct span text)
{
    struct redirect_answer answer = {0};
    int r = redirect_answer_read(text, &answer);
    hold(r == 0 || r == -EINVAL || r == -EMSGSIZE || r == -ENOMEM);
    if (r == 0 && answer.state)
        hold(redirect_answer_is_for(text, answer.state));
    if (r == 0 && answer.code)
        for (const char *p = answer.code; *p; p++)
            hold((unsigned char)*p >= 0x20 && *p != 0x7f);
    hold(!redirect_answer_is_for(text, "a state that is not \x01 there"));
    redirect_answer_clear(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct visit visit = {0};
    int r = visit_read((struct span){text, size}, &visit);
    hold(r == 0 || r == -EAGAIN || r == -ENOTSUP || r == -EBADMSG);
    read_answer((struct span){text, size});
    if (r != 0)
        return 0;
    hold(visit.path.length > 0 && visit.path.data[0] == '/' && visit.host.data);
    hold_within(visit.path, text, size);
    hold_within(visit.query, text, size);
    hold_within(visit.host, text, size);
    hold_within(visit.cookie, text, size);
    hold(!visit_has_cookie(&visit, "mltoken", "\x01"));
    read_answer(visit.query);
    return 0;
}

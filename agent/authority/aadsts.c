#include "authority/aadsts.h"

#include "cleanup.h"

static const struct aadsts table[] = {
    /* not now */
    {50196, AADSTS_THROTTLES, "the authority saw too many equal requests from this client"},
    {90055, AADSTS_THROTTLES, "the authority is throttling this client"},
    {40010, AADSTS_PASSES, NULL},
    {50033, AADSTS_PASSES, NULL},
    {50087, AADSTS_PASSES, NULL},
    {50088, AADSTS_PASSES, NULL},
    {50166, AADSTS_PASSES, NULL},
    {80005, AADSTS_PASSES, NULL},
    {90006, AADSTS_PASSES, NULL},
    {90012, AADSTS_PASSES, NULL},
    {90024, AADSTS_PASSES, NULL},
    {90033, AADSTS_PASSES, NULL},
    {90090, AADSTS_PASSES, NULL},
    /* sign in again */
    {50055, AADSTS_SAYS, "the password has expired"},
    {50058, AADSTS_SAYS, "the session has ended"},
    {50072, AADSTS_SAYS, "a second factor must be set up first"},
    {50074, AADSTS_SAYS, "a second factor is asked for"},
    {50076, AADSTS_SAYS, "a second factor is asked for"},
    {50078, AADSTS_SAYS, "the second factor was shown too long ago"},
    {50079, AADSTS_SAYS, "a second factor must be set up first"},
    {50085, AADSTS_SAYS, "the identity provider behind the authority asks for a sign-in"},
    {50089, AADSTS_SAYS, "the sign-in took too long, or its session has ended"},
    {50132, AADSTS_SAYS, "the session was revoked, or the password was changed"},
    {50133, AADSTS_SAYS, "the session was revoked, or the password was changed"},
    {50144, AADSTS_SAYS, "the password has expired"},
    {50173, AADSTS_SAYS, "the session was revoked, or the password was changed"},
    {65001, AADSTS_SAYS, "nobody has consented to what this client asks for"},
    {70000, AADSTS_SAYS, "the sign-in is no longer valid"},
    {70008, AADSTS_SAYS, "the sign-in has expired by age or disuse"},
    {70043, AADSTS_SAYS, "the sign-in has expired by the authority's sign-in frequency rule"},
    {700082, AADSTS_SAYS, "the sign-in has expired by disuse"},
    {700084, AADSTS_SAYS, "the sign-in has expired by age"},
    /* conditional access */
    {50097, AADSTS_SAYS, "the device must prove who it is"},
    {50129, AADSTS_SAYS, "the device must be registered with the directory"},
    {50131, AADSTS_SAYS, "conditional access blocks this sign-in"},
    {50158, AADSTS_SAYS, "conditional access asks for one more step"},
    {53000, AADSTS_SAYS, "conditional access asks for a managed device"},
    {53001, AADSTS_SAYS, "conditional access asks for a joined device"},
    {53002, AADSTS_SAYS, "conditional access does not allow this application"},
    {53003, AADSTS_SAYS, "conditional access blocks this sign-in"},
    {530032, AADSTS_SAYS, "conditional access blocks this sign-in"},
    {530035, AADSTS_SAYS, "security defaults block this sign-in"},
    /* wrong credentials of a person: a machine that tries again locks the account */
    {50034, AADSTS_SAYS, "this directory has no such user"},
    {50053, AADSTS_SAYS, "the account is locked"},
    {50056, AADSTS_SAYS, "the user name or password is wrong"},
    {50057, AADSTS_SAYS, "the account is disabled"},
    {50126, AADSTS_SAYS, "the user name or password is wrong"},
    /* device codes */
    {50134, AADSTS_SAYS, "the sign-in was begun at another data centre: begin it again"},
    {70018, AADSTS_SAYS, "the code that was typed is not one that waits: begin the sign-in again"},
    {70019, AADSTS_SAYS, "the code has expired: begin the sign-in again"},
    {90120, AADSTS_SAYS, "this sign-in was approved or declined already: begin it again"},
    /* how the application is set up */
    {28002, AADSTS_SAYS, "scope asks for more than one resource"},
    {50012, AADSTS_SAYS, "the authority does not accept this client's proof"},
    {50194, AADSTS_SAYS, "the application serves one tenant: name that tenant in authority, not common"},
    {500011, AADSTS_SAYS, "this tenant does not know the resource: look at scope or resource"},
    {700016, AADSTS_SAYS, "this tenant does not know the application: look at client_id and authority"},
    {70021, AADSTS_SAYS,
     "no federated credential of the application fits the assertion's issuer, subject and audience; a new one counts "
     "after some minutes"},
    {700211, AADSTS_SAYS,
     "no federated credential of the application fits the assertion's issuer; a new one counts after some minutes"},
    {700229, AADSTS_SAYS, "an assertion from outside must be an application's own, not a person's"},
    {70001, AADSTS_SAYS, "this tenant does not know the application: look at client_id and authority"},
    {70011, AADSTS_SAYS, "scope is not valid: for client_credentials it is RESOURCE/.default"},
    {700024, AADSTS_SAYS, "the assertion is not valid at this time: is this machine's clock right?"},
    {700027, AADSTS_SAYS,
     "the application has no such certificate, or the assertion was made with another key: upload client_certificate "
     "there"},
    {700025, AADSTS_SAYS, "the application is a public client: leave client_secret out"},
    {7000112, AADSTS_SAYS, "the application is disabled"},
    {7000215, AADSTS_SAYS, "client_secret is wrong: is it the secret's value, not its id?"},
    {7000218, AADSTS_SAYS, "the application is not set up as a public client, and no client_secret was sent"},
    {7000222, AADSTS_SAYS, "client_secret has expired: make a new one at the authority"},
    {9001023, AADSTS_SAYS, "this grant needs a tenant in authority, not common or consumers"},
    {901002, AADSTS_SAYS, "this endpoint takes scope, not resource"},
    {90002, AADSTS_SAYS, "there is no such tenant: look at authority"},
};

const struct aadsts *aadsts_find(int64_t number)
{
    for (size_t i = 0; i < ELEMENTS(table); i++)
        if (table[i].number == number)
            return &table[i];
    return NULL;
}

int64_t aadsts_number(struct span description)
{
    static const char prefix[] = "AADSTS";
    size_t length = sizeof(prefix) - 1;
    int64_t number = 0;
    if (description.length <= length || !span_equals((struct span){description.data, length}, span_of(prefix)))
        return 0;
    for (size_t i = length; i < description.length && i < length + 9; i++) {
        char c = description.data[i];
        if (c < '0' || c > '9')
            break;
        number = number * 10 + (c - '0');
    }
    return number;
}

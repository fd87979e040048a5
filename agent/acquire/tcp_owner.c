#include "acquire/tcp_owner.h"

#include "cleanup.h"
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
};

union place {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static void put_end(const union place *place, __be16 *port, __be32 address[static 4])
{
    if (place->any.sa_family == AF_INET) {
        *port = place->v4.sin_port;
        address[0] = place->v4.sin_addr.s_addr;
    } else {
        *port = place->v6.sin6_port;
        memcpy(address, &place->v6.sin6_addr, sizeof(place->v6.sin6_addr));
    }
}

/* Our ends are the other side's, swapped. */
static bool describe(int fd, struct question *ret)
{
    union place ours = {0}, theirs = {0};
    socklen_t a = sizeof(ours), b = sizeof(theirs);
    if (getsockname(fd, &ours.any, &a) < 0 || getpeername(fd, &theirs.any, &b) < 0)
        return false;
    *ret = (struct question){
        .header = {.nlmsg_len = sizeof(*ret), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
        .request = {.sdiag_family = (uint8_t)ours.any.sa_family,
                    .sdiag_protocol = IPPROTO_TCP,
                    .idiag_states = ~0U,
                    .id = {.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}}};
    put_end(&theirs, &ret->request.id.idiag_sport, ret->request.id.idiag_src);
    put_end(&ours, &ret->request.id.idiag_dport, ret->request.id.idiag_dst);
    return true;
}

bool tcp_owner_foreign(int fd)
{
    struct question question;
    struct {
        struct nlmsghdr header;
        struct inet_diag_msg message;
        char more[1024];
    } told = {0};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    _cleanup_close_ int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (netlink < 0 || !describe(fd, &question) ||
        sendto(netlink, &question, sizeof(question), 0, (struct sockaddr *)&kernel, sizeof(kernel)) < 0)
        return false;
    ssize_t n = recv(netlink, &told, sizeof(told), MSG_DONTWAIT);
    if (n < (ssize_t)(sizeof(told.header) + sizeof(told.message)) || told.header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
        return false;
    /* no inode: it was closed, and its owner is not known any more; nobody waits for an answer */
    return told.message.idiag_inode == 0 || (told.message.idiag_uid != 0 && told.message.idiag_uid != geteuid());
}

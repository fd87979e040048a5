/* Whose the other end of a loopback connection is, as the kernel knows it. */
#pragma once

#include <stdbool.h>

/* Whether it is certain that another user (not root) made the connection, or that whoever did has closed it already:
 * asks sock_diag, without waiting. Where that does not tell, false. */
bool tcp_owner_foreign(int fd);

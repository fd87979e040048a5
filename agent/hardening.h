/* What every program of ours does to itself first, before it has anything worth stealing. */
#pragma once

/* First thing in main(): no core dumps and no ptrace or /proc/PID/mem by others of our uid, umask 077, no new
 * privileges, every signal blocked but those of faults (threads of libraries inherit that; the loop reads signals from
 * a signalfd), as many descriptors as the hard limit allows (65,536 at most), and a name that survives /proc/self/exe.
 * No new privileges holds for command: sources too: they cannot use sudo or another set-uid helper. A token agent is no
 * way to become root; whoever needs that points file: at what a root service wrote for them.
 * 0; -EPERM when the program was started set-uid or with file capabilities (nothing was done); another negative errno.
 */
int hardening_apply(void);

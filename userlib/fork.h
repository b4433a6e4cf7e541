/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fork.h - what is done at fork()
 */
#ifndef PW_FORK_H
#define PW_FORK_H

#include "types.h"

/*
 * Registers the handlers, once, if @libc_is_up: the earlier the better, since
 * handlers of others that were registered later run first.
 */
void pw_fork_watch(bool libc_is_up);

#endif /* PW_FORK_H */

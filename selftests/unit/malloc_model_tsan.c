// SPDX-License-Identifier: GPL-2.0-only
/*
 * malloc_model_tsan.c - the same under the thread sanitizer
 */
#include "malloc_model.c"

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * The frames of the examples: every word depends on the frame's number, so a torn or stale frame is
 * noticed.
 */

#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t frame_word(uint32_t number, size_t at) {
    return number * UINT32_C(0x9e3779b1) + (uint32_t)at;
}

#endif

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/*
 * A libnativewindow.so for Linux, which has none: an "AHardwareBuffer" with two descriptors, and the
 * function that libbuffersync looks up, with the layout of cutils/native_handle.h.
 */

#include <stddef.h>

typedef struct AHardwareBuffer AHardwareBuffer;

struct native_handle {
    int version;
    int numFds;
    int numInts;
    int data[4];
};

const struct native_handle* AHardwareBuffer_getNativeHandle(const AHardwareBuffer* buffer) {
    static struct native_handle handle = {offsetof(struct native_handle, data), 2, 2, {0, 0, 7, 7}};
    const int* fds = (const int*)buffer;
    handle.data[0] = fds[0];
    handle.data[1] = fds[1];
    return &handle;
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/**
 * How a group uses a buffer: by the CPU or by a device, to read or to write. Readers share a buffer, a
 * writer excludes everybody else. Declare what really happens: the service derives the cache
 * maintenance before a grant from it.
 */
public enum Access {
    /** The CPU reads. */
    READ(0x1),
    /** The CPU reads or writes. */
    WRITE(0x2),
    /** A device reads. */
    DMA_READ(0x5),
    /** A device reads or writes. */
    DMA_WRITE(0x6);

    /** The value in Access.aidl. */
    final int number;

    Access(int number) {
        this.number = number;
    }

    boolean isCpu() {
        return this == READ || this == WRITE;
    }
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/**
 * What a group does with a buffer, and by whom. Reads share it, writes exclude everybody else. It has
 * to be what really happens: the cache maintenance before a grant is derived from it.
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

    /** Access.aidl's. */
    final int number;

    Access(int number) {
        this.number = number;
    }

    boolean isCpu() {
        return this == READ || this == WRITE;
    }
}

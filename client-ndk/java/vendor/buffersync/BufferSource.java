/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.Objects;

/**
 * Gives the descriptors of dma-bufs. On Android, {@code AndroidBuffers} makes a source from a {@code
 * HardwareBuffer} or a {@code ParcelFileDescriptor}; {@link #ofFd} makes one from a number.
 */
@FunctionalInterface
public interface BufferSource {
    /**
     * Returns the descriptors. At least one must be a dma-buf; others are skipped. They must stay open
     * until the call that uses this source returns. That call does not keep them.
     *
     * @return file descriptors, by number
     * @throws BufferSyncException if there are no descriptors
     */
    int[] fds() throws BufferSyncException;

    /**
     * Makes a source from descriptors of this process.
     *
     * @param fds by number; the caller keeps them
     * @return the source
     */
    static BufferSource ofFd(int... fds) {
        int[] copy = Objects.requireNonNull(fds).clone();
        return () -> copy.clone();
    }
}

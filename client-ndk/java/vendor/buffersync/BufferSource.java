/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.Objects;

/**
 * Whoever has a dma-buf's descriptor. On Android, {@code AndroidBuffers} makes them of a {@code
 * HardwareBuffer} or a {@code ParcelFileDescriptor}; anywhere, {@link #ofFd} of a number.
 */
@FunctionalInterface
public interface BufferSource {
    /**
     * The descriptors, among them at least one dma-buf's; others are skipped. They stay open until
     * the call that asked for them returns, and are not kept.
     *
     * @return file descriptors, by number
     * @throws BufferSyncException if there are none to be had
     */
    int[] fds() throws BufferSyncException;

    /**
     * Of descriptors that this process has.
     *
     * @param fds by number; they stay the caller's
     * @return a source of these
     */
    static BufferSource ofFd(int... fds) {
        int[] copy = Objects.requireNonNull(fds).clone();
        return () -> copy.clone();
    }
}

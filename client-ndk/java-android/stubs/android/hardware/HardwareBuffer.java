/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package android.hardware;

/** A stand-in: see the README of stubs. */
public final class HardwareBuffer implements AutoCloseable {
    private boolean closed;

    /** Android has factory methods instead. */
    public HardwareBuffer() {}

    /**
     * Tells if it is closed.
     *
     * @return true if so
     */
    public boolean isClosed() {
        return closed;
    }

    @Override
    public void close() {
        closed = true;
    }
}

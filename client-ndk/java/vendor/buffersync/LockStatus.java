/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A lock of a group, named by its number. Immutable: the lock as it was when it was asked for. */
public final class LockStatus {
    private static final int HEADER = 5;

    private final long lock;
    private final boolean waiting;
    private final boolean granted;
    private final long deadlineNanos;
    private final List<BufferState> buffers;

    private LockStatus(long[] values, int at, int end) {
        this.lock = values[at + 1];
        this.waiting = values[at + 2] != 0;
        this.granted = values[at + 3] != 0;
        this.deadlineNanos = values[at + 4];
        this.buffers = Grant.buffersOf(values, at + HEADER, end);
    }

    /** Reads one lock after the other: how many numbers follow, and these numbers. */
    static List<LockStatus> listOf(long[] values) {
        List<LockStatus> locks = new ArrayList<>();
        for (int at = 0; at + HEADER <= values.length; ) {
            int end = at + 1 + (int) values[at];
            locks.add(new LockStatus(values, at, end));
            at = end;
        }
        return Collections.unmodifiableList(locks);
    }

    /**
     * The number of the lock.
     *
     * @return what {@link SyncGroup#lockBuffers} returned
     */
    public long lock() {
        return lock;
    }

    /**
     * Tells if the lock waits: for its grant or, if it has one, for more.
     *
     * @return true if so
     */
    public boolean isWaiting() {
        return waiting;
    }

    /**
     * Tells if the lock has a grant.
     *
     * @return true if so
     */
    public boolean isGranted() {
        return granted;
    }

    /**
     * The time at which the grant is taken away.
     *
     * @return a reading of {@code CLOCK_MONOTONIC} in nanoseconds; 0 if there is no grant
     */
    public long deadlineNanos() {
        return deadlineNanos;
    }

    /**
     * The buffers of the grant.
     *
     * @return the buffers; none if there is no grant
     */
    public List<BufferState> buffers() {
        return buffers;
    }

    @Override
    public String toString() {
        return "LockStatus[" + lock + (waiting ? ", waiting" : "") + (granted ? ", granted" : "") + "]";
    }
}

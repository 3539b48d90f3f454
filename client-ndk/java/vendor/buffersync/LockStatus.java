/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A lock of a group, as the service had it when {@link SyncGroup#locks} asked. Immutable. */
public final class LockStatus {
    private static final int HEADER = 5;

    private final long lock;
    private final boolean waiting;
    private final boolean granted;
    private final @Nullable Duration deadline;
    private final List<BufferState> buffers;

    private LockStatus(long[] values, int at, int end) {
        this.lock = values[at + 1];
        this.waiting = values[at + 2] != 0;
        this.granted = values[at + 3] != 0;
        this.deadline = SyncGroup.moment(values[at + 4]);
        this.buffers = BufferState.listOf(values, at + HEADER, end);
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
     * @return the same as {@link Grant#getLock} and {@link PendingLock#getLock}
     */
    public long getLock() {
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
     * @return a reading of {@code CLOCK_MONOTONIC}, the clock of {@link System#nanoTime} on Linux and
     *     Android; null if there is no grant, and while it has no deadline
     */
    public @Nullable Duration getDeadline() {
        return deadline;
    }

    /**
     * The buffers of the grant.
     *
     * @return the buffers; none if there is no grant
     */
    public List<BufferState> getBuffers() {
        return buffers;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof LockStatus
                && ((LockStatus) other).lock == lock
                && ((LockStatus) other).waiting == waiting
                && ((LockStatus) other).granted == granted
                && Objects.equals(((LockStatus) other).deadline, deadline)
                && ((LockStatus) other).buffers.equals(buffers);
    }

    @Override
    public int hashCode() {
        return Objects.hash(lock, waiting, granted, deadline, buffers);
    }

    @Override
    public String toString() {
        return "LockStatus[lock "
                + lock
                + (waiting ? ", waiting" : "")
                + (granted ? ", granted " + buffers : "")
                + "]";
    }
}

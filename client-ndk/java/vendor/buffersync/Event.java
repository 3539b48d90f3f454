/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** An event of a group. Immutable. */
public final class Event {
    /** Types of events. */
    public enum Type {
        /** A queued lock is granted: {@link PendingLock#await} returns the grant at once. */
        GRANTED,
        /**
         * A queued lock ended: an implicit fence of a buffer did not signal in time, or its cache
         * maintenance failed.
         */
        LOCK_FAILED,
        /** The growth of a grant ended, see {@link ErrorCode#DEADLOCK}. */
        WOUNDED,
        /** A queued lock was not granted before its time-out. */
        TIMED_OUT,
        /** A grant was taken away at its deadline. */
        EVICTED,
        /** The release fence of an earlier unlock failed, or did not signal in time. */
        FENCE_EVICTED,
        /**
         * Somebody has to wait for a buffer of the grant, which goes on. A holder that is done early
         * lets the others go on early.
         */
        CONTENDED
    }

    private static final Type[] TYPES = Type.values();

    private final long[] values;

    Event(long[] values) {
        this.values = values;
    }

    /**
     * The type of the event.
     *
     * @return the type
     */
    public Type getType() {
        return TYPES[(int) values[0]];
    }

    /**
     * The number of the lock.
     *
     * @return the same as {@link PendingLock#getLock} and {@link Grant#getLock}
     */
    public long getLock() {
        return values[1];
    }

    /**
     * The reason why a lock failed.
     *
     * @return an errno: ETIMEDOUT (110) if an implicit fence did not signal in time, another one if
     *     cache maintenance failed; 0 for other types of events
     */
    public int getErrno() {
        return (int) values[2];
    }

    /**
     * The buffer on which a lock failed.
     *
     * @return its id; 0 for other types of events
     */
    public long getBuffer() {
        return values[3];
    }

    /**
     * The time at which the grant is taken away, for {@link Type#GRANTED} and {@link Type#CONTENDED}.
     *
     * @return a reading of {@code CLOCK_MONOTONIC}, the clock of {@link System#nanoTime} on Linux and
     *     Android; null for other types of events, and while the grant has no deadline
     */
    public @Nullable Duration getDeadline() {
        return SyncGroup.moment(values[4]);
    }

    /**
     * The lock that was in the way: for {@link Type#TIMED_OUT} one that the lock waited for, for {@link
     * Type#EVICTED} one that was waiting for the grant. An event does not have its owner's name.
     *
     * @return null for other types of events, and if the service named none
     */
    public @Nullable LockInTheWay getLockInTheWay() {
        return LockInTheWay.of(values[5], values[6], null);
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof Event && Arrays.equals(((Event) other).values, values);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(values);
    }

    @Override
    public String toString() {
        LockInTheWay by = getLockInTheWay();
        String failed = getErrno() == 0 ? "" : ", errno " + getErrno() + " of buffer " + getBuffer();
        return "Event[" + getType() + " of lock " + getLock() + failed + (by == null ? "" : ", " + by) + "]";
    }
}

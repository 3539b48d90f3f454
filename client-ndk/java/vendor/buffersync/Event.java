/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/** An event of a group. Immutable. */
public final class Event {
    /** Types of events. */
    public enum Type {
        /** A queued lock is granted: call {@link SyncGroup#grant} or {@link SyncGroup#lockStatus}. */
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

    private final long[] values;

    Event(long[] values) {
        this.values = values;
    }

    /**
     * The type of the event.
     *
     * @return the type
     */
    public Type type() {
        return Type.values()[(int) values[0]];
    }

    /**
     * The number of the lock, and of the grant that it became.
     *
     * @return the same as {@link Grant#id}, and as {@link SyncGroup#lockBuffers} returns
     */
    public long grant() {
        return values[1];
    }

    /**
     * The reason why a lock failed.
     *
     * @return an errno: ETIMEDOUT (110) if an implicit fence did not signal in time, another one if
     *     cache maintenance failed; 0 for other types of events
     */
    public int errno() {
        return (int) values[2];
    }

    /**
     * The buffer on which a lock failed.
     *
     * @return its id; 0 for other types of events
     */
    public long buffer() {
        return values[3];
    }

    /**
     * The time at which the grant is taken away, for {@link Type#GRANTED} and {@link Type#CONTENDED}.
     *
     * @return a reading of {@code CLOCK_MONOTONIC} in nanoseconds; 0 for other types of events
     */
    public long deadlineNanos() {
        return values[4];
    }

    @Override
    public String toString() {
        return type() + "[grant=" + grant() + "]";
    }
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * What an EventRecord reports.
 */
@VintfStability
@Backing(type="int")
enum EventType {
    /**
     * A queued lock is granted. value0: when it is taken away, CLOCK_MONOTONIC nanoseconds.
     * value1: how many BUFFER records follow, one for each buffer of the group. They are written
     * together with this record, so they are there to be read as soon as it is.
     */
    GRANTED = 1,
    /** Belongs to the GRANTED before it. value0: bufferId, value1: generation, flags: EVICTED. */
    BUFFER = 2,
    /**
     * A queued lock ended without a grant: cache maintenance of buffer value0 failed with errno
     * value1 (ETIMEDOUT: an implicit fence did not signal in time). Nothing is held, the group can
     * be locked again.
     */
    LOCK_FAILED = 3,
    /**
     * The grant was taken away at its deadline, and its token is dead. Stop touching the buffers:
     * the next holder has them. flags: FENCE if the group had unlocked, but its release fence had
     * not signalled (or had failed).
     */
    EVICTED = 4,
}

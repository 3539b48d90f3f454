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
     * A queued lock is granted. value0: when the grant is taken away, CLOCK_MONOTONIC nanoseconds.
     * value1: how many BUFFER records follow, one for each buffer of the group. They are written
     * together with this record, so they are there to be read as soon as it is.
     */
    GRANTED = 1,
    /**
     * Belongs to the GRANTED before it. value0: the buffer's id, as ISyncGroup.add() named it. value1:
     * its generation. flags: EVICTED, FENCED, TORN.
     *
     * The generation is how many exclusive grants this buffer has seen, this one included. Two reads
     * that see the same generation, neither of them marked EVICTED, saw the same content; a difference
     * of more than one means that a frame was overwritten in between. It counts from the buffer's first
     * registration in any group. It starts again when the last group lets the buffer go, unless the
     * service remembers the buffer (see ISyncGroup.add()): then it continues.
     */
    BUFFER = 2,
    /**
     * A queued lock ended without a grant. flags: with FENCE, an implicit fence of buffer value0 did
     * not signal within Capabilities.maxHoldMs (tryLock(): had not signalled); without it, cache
     * maintenance of buffer value0 failed. value1 is an errno, ETIMEDOUT for a fence that did not
     * signal. The group holds what it
     * held before the lock, and can be locked again; if it holds nothing, with its old ticket while
     * that lives (see ISyncGroup).
     *
     * Locks that wait for the same fence fail at the same time: the time counts from when the first of
     * them began to wait. A lock that had asked by then, and comes to its turn later, fails after one
     * look.
     */
    LOCK_FAILED = 3,
    /**
     * The grant was taken away at its deadline, and its token is dead. Stop touching the buffers:
     * the next holder has them. flags: FENCE if the group had unlocked, but a release fence failed, or
     * had not signalled when as much time had passed since the unlock as a grant of the group lasts.
     * One record for each such fence.
     */
    EVICTED = 4,
    /**
     * A queued lock that was to grow a grant ended without it: an older lock wants what the group
     * holds, and waiting on could deadlock (the kernel's -EDEADLK). The group still holds what it
     * held. unlock() it, then lock() again: that lock has the old ticket, as far as that may be
     * kept (see ISyncGroup). Until then lock() throws ERROR_DEADLOCK.
     */
    WOUNDED = 5,
    /**
     * A queued lock ended without a grant: its timeoutNs is over. If deadlines of other grants or of
     * release fences fall on the same instant, they come first: a lock that gets its buffers by them
     * is granted. The group holds what it held before the lock, and can be locked again; if it holds
     * nothing, with its old ticket while that lives (see ISyncGroup).
     */
    TIMED_OUT = 6,
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * The types of an EventRecord.
 */
@VintfStability
@Backing(type="int")
enum EventType {
    /**
     * A queued lock is granted. value0: the deadline of the grant, in CLOCK_MONOTONIC nanoseconds;
     * 0 if it has none yet (HoldFrom.CONFLICT). value1: the number of BUFFER records that follow,
     * one for each buffer of the lock. They are written together with this record, so a client
     * that can read this record can read them too.
     */
    GRANTED = 1,
    /**
     * Belongs to the GRANTED record before it. value0: the buffer's id, as ISyncGroup.add()
     * returned it. value1: its generation. flags: EVICTED, FENCED, TORN.
     *
     * The generation of a buffer grows by one with each exclusive grant, this one included.
     * Two reads that see the same generation, neither of them marked EVICTED, saw the same content;
     * a difference of more than one means that a frame was overwritten in between. It continues
     * while a group has the buffer, or the service remembers it (see ISyncGroup.add()). A number
     * never comes again, also if the buffer is removed and added, or the service restarts.
     */
    BUFFER = 2,
    /**
     * A queued lock ended without a grant. flags: with FENCE, an implicit fence of buffer value0
     * did not signal within Capabilities.maxHoldMs (with ISyncGroup.TRY: was pending); without it,
     * cache maintenance of buffer value0 failed. value1 is an errno, ETIMEDOUT for a fence that did
     * not signal. If this was a growth, its grant goes on as it was; otherwise the lock has ended,
     * and the group's next lock has its ticket while that lives (see ISyncGroup).
     *
     * Locks that wait for the same fence fail at the same time: the time starts when the first of
     * them begins to wait. A lock that was requested within that time, and whose turn comes after
     * it, fails after one look at the fence.
     */
    LOCK_FAILED = 3,
    /**
     * Without FENCE: the grant was taken away at its deadline, and its number is dead. Stop
     * touching the buffers: the next holder has them. With FENCE: the grant, or a part of it, was
     * unlocked with a release fence that failed, or had not signalled when the group's hold limit
     * had passed since the unlock. There is one record for each such fence. If only a part was
     * unlocked, the grant goes on with the rest.
     *
     * A grant that came by an event is taken away before its deadline if nobody has read its
     * GRANTED record for a while (usually a second) and a lock waits for it: its client is stopped.
     *
     * Without FENCE, value0 and value1 name a lock that was waiting for a buffer of the grant: the
     * number of its group (see ISyncGroup.getGroupName()), and its own; 0 if none was.
     */
    EVICTED = 4,
    /**
     * A queued growth ended: an older lock wants a buffer that the grant has, and more waiting
     * could deadlock (the kernel's -EDEADLK). The grant goes on as it was. unlock() it, then lock()
     * everything: the new lock has the old ticket while that lives (see ISyncGroup). Until then
     * grow() throws ERROR_DEADLOCK.
     */
    WOUNDED = 5,
    /**
     * A queued lock ended without a grant: its timeoutNs is over. If deadlines of other grants or
     * of release fences fall on the same instant, they come first: a lock that gets its buffers
     * because of them is granted. If this was a growth, its grant goes on as it was; otherwise the
     * lock has ended, and the group's next lock has its ticket while that lives (see ISyncGroup).
     *
     * Both values name a lock in the way: value0 is the number of its group (see
     * ISyncGroup.getGroupName()), value1 its own. It holds a buffer that this one lacks, has given
     * a release fence for it that is pending, or waits for it with an older ticket. Both are 0 if
     * there is none: the lock waited for implicit fences or for cache maintenance.
     */
    TIMED_OUT = 6,
    /**
     * A lock has to wait for a buffer of the grant, or the grant gets its deadline because it
     * waits for more itself (HoldFrom.CONFLICT). value0: the deadline of the grant, in
     * CLOCK_MONOTONIC nanoseconds; with HoldFrom.CONFLICT it had none before. There is one such
     * record in a grant, for the first lock that has to wait; a reader beside a reader and a
     * refused ISyncGroup.TRY do not wait. It comes after the GRANTED record. If lock() itself
     * grants, it may be readable before lock() returns, and after unlock() it may still be there:
     * skip it if its lock has ended. It does not end the grant: a holder that is done early lets
     * the others go on early.
     */
    CONTENDED = 7,
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * The answer of ISyncGroup.lock(), grow() and unlockAndLock(): the lock is GRANTED or QUEUED.
 */
@VintfStability
parcelable LockReply {
    /**
     * GRANTED: the deadline of the grant, in CLOCK_MONOTONIC nanoseconds, 0 if it has none yet
     * (HoldFrom.CONFLICT); then three numbers for each buffer of the lock: its id, its generation,
     * and bits of EventRecord.FLAG_*, as in a BUFFER record. The lock holds all its buffers, and
     * they are coherent; the reply is complete, and no GRANTED record follows.
     *
     * QUEUED: empty, which no grant is. The lock is accepted, but it still waits for other holders,
     * for a fence that the CPU must wait for, or for cache maintenance. The grant arrives as
     * EventType.GRANTED on the event channel, unless LOCK_FAILED, TIMED_OUT or, for a growth,
     * WOUNDED or EVICTED ends the wait.
     *
     * These are plain numbers because every lock has them: an array is marshalled as one block, a
     * parcelable field by field.
     */
    long[] grant;
    /**
     * GRANTED: a sync_file that devices must wait for before they begin, in which the fences of all
     * buffers are merged (SYNC_IOC_MERGE). ISyncGroup.getAcquireFence() returns the fence of one
     * buffer. If it signals an error, the content of the buffers is wrong. Null if no fence is
     * pending, and then no buffer has FLAG_FENCED. If one has it and this is null, the service had
     * no descriptor for the fence: ask for it with getAcquireFence() before a device begins.
     * QUEUED: null.
     */
    @nullable ParcelFileDescriptor acquireFence;
}

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * Answer of ISyncGroup.lock(), tryLock(), unlockAndLock() and unlockWithFencesAndLock(): the lock is
 * GRANTED or QUEUED.
 */
@VintfStability
parcelable LockReply {
    /** Names this lock, and the grant it becomes. Positive, never used twice by a service. */
    long token;
    /**
     * GRANTED: when the grant is taken away, in CLOCK_MONOTONIC nanoseconds; then three numbers for
     * each buffer of the group, in the order of their addition: its id, its generation, and bits of
     * EventRecord.FLAG_*, as in a BUFFER record. All buffers are held and coherent; the reply says
     * all there is, and no event follows.
     *
     * QUEUED: empty, as no grant is. The lock is accepted, but other holders have to let go first, a
     * fence has to signal before the CPU may go on, or cache maintenance has to be finished. The grant
     * arrives as EventType.GRANTED on the event pipe; LOCK_FAILED, TIMED_OUT or WOUNDED end the lock
     * without one.
     *
     * Plain numbers, since an array is marshalled as one block, a parcelable field by field, and every
     * lock has them.
     */
    long[] grant;
    /**
     * GRANTED: a sync_file to be waited for before the devices begin, all buffers' fences merged
     * (SYNC_IOC_MERGE); null if nothing is pending. ISyncGroup.getAcquireFence() tells buffer by
     * buffer. If it signals an error, what is in the buffers is not what it should be. QUEUED: null.
     */
    @nullable ParcelFileDescriptor acquireFence;
}

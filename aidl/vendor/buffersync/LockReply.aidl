// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.LockStatus;

/**
 * Answer of ISyncGroup.lock() and ISyncGroup.tryLock().
 */
@VintfStability
parcelable LockReply {
    LockStatus status = LockStatus.QUEUED;
    /** Names this lock, and the grant it becomes. Positive, never used twice by a service. */
    long token;
    /** GRANTED: when the grant is taken away, in CLOCK_MONOTONIC nanoseconds. QUEUED: 0. */
    long deadlineNs;
    /**
     * GRANTED: three numbers for each buffer of the group, in the order of their addition: its id,
     * its generation, and bits of EventRecord.FLAG_*, as in a BUFFER record. QUEUED: empty.
     *
     * Plain numbers, since they are marshalled as one block and parcelables field by field, and every
     * lock has them.
     */
    long[] buffers;
    /**
     * GRANTED: a sync_file to be waited for before the devices begin, all buffers' fences merged
     * (SYNC_IOC_MERGE); null if nothing is pending. ISyncGroup.getAcquireFence() tells buffer by
     * buffer. If it signals an error, what is in the buffers is not what it should be. QUEUED: null.
     */
    @nullable ParcelFileDescriptor acquireFence;
}

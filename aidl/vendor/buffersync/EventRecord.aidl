// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.EventType;

/**
 * One record of a group's event pipe: 32 bytes, the fields in this order without padding, in the
 * byte order of the machine. A read() of whole multiples of 32 bytes returns whole records.
 *
 * Records of types that a client does not know are to be skipped.
 */
@VintfStability
@FixedSize
parcelable EventRecord {
    /**
     * Of a buffer of a grant: somebody who held the buffer and was evicted, or died, may still be at
     * work on it (as EOWNERDEAD of a robust mutex). The mark begins with each eviction of a holder: at
     * its deadline, by its death, or by a release fence that failed or did not signal in time. Every
     * grant of the buffer has the mark until one that began after the eviction has ended in order,
     * with all its release fences signalled. Any grant ends it, a reader's too.
     */
    const int FLAG_EVICTED = 0x1;
    /**
     * Of an EVICTED record: the release fence given to unlockWithFences() was what did not end. Of a
     * LOCK_FAILED record: the lock failed because of an implicit fence, not of cache maintenance.
     */
    const int FLAG_FENCE = 0x2;
    /**
     * Of a buffer of a grant: other devices may still be at work on it: wait for the grant's acquire
     * fence (LockReply.acquireFence, ISyncGroup.getAcquireFence()) before touching it. Never for the
     * CPU's accesses, which are granted when the work is done.
     */
    const int FLAG_FENCED = 0x4;
    /**
     * Of a buffer of a grant: the content may be half written. The mark begins when a holder with
     * WRITE or DMA_WRITE is evicted or dies, or when its release fence fails or does not signal in
     * time. Every grant of the buffer has the mark until one with WRITE or DMA_WRITE that began
     * afterwards has ended in order, with all its release fences signalled. A reader does not end it.
     */
    const int FLAG_TORN = 0x8;

    EventType type = EventType.GRANTED;
    /** Bits FLAG_*. */
    int flags;
    /** The lock that the record is about, as LockReply named it. */
    long token;
    /** See EventType. */
    long value0;
    /** See EventType. */
    long value1;
}

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
     * Of a buffer of a grant: its previous holder did not let go in order: it was evicted or it died.
     * Its content may be half written and, if the holder still lives, may still be changing (as
     * EOWNERDEAD of a robust mutex). So every grant says until one that began after the eviction has
     * ended in order.
     */
    const int FLAG_EVICTED = 0x1;
    /** Of an EVICTED record: the release fence given to unlockWithFences() was what did not end. */
    const int FLAG_FENCE = 0x2;
    /**
     * Of a buffer of a grant: other devices may still be at work on it: wait for the grant's acquire
     * fence (LockReply.acquireFence, ISyncGroup.getAcquireFence()) before touching it. Never for the
     * CPU's accesses, which are granted when the work is done.
     */
    const int FLAG_FENCED = 0x4;

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

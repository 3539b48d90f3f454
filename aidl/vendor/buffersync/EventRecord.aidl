// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.EventType;

/**
 * One record of a group's event channel: 32 bytes, the fields in this order without padding, in the
 * byte order of the machine. Each read() returns one message: a record, or a GRANTED record with
 * its BUFFER records. A read() of fewer bytes than the message has loses the rest of it, so read
 * with a buffer of MAX_MESSAGE_BYTES.
 *
 * Clients skip records of types that they do not know.
 */
@VintfStability
@FixedSize
parcelable EventRecord {
    /** The longest message of an event channel, in bytes. */
    const int MAX_MESSAGE_BYTES = 4096;
    /**
     * On a buffer of a grant: a former holder was evicted or died, and may still work on the buffer
     * (like EOWNERDEAD of a robust mutex). Each eviction of a holder sets the mark: at its
     * deadline, by its death, or by a release fence that failed or did not signal in time. Every
     * grant of the buffer has the mark until a grant that began after the eviction has ended in
     * order and all its release fences have signalled. Any such grant clears the mark, a reader's
     * too.
     *
     * A service that has restarted does not know who held what before. So in the time of one
     * Capabilities.maxHoldMs after its start, a buffer that is older than the service has the
     * mark, and TORN, when it is added.
     */
    const int FLAG_EVICTED = 0x1;
    /**
     * On an EVICTED record: a release fence given with an unlock failed or did not signal in
     * time. On a LOCK_FAILED record: the lock failed because of an implicit fence, not because of
     * cache maintenance.
     */
    const int FLAG_FENCE = 0x2;
    /**
     * On a buffer of a grant: other devices may still work on it, so wait for the grant's acquire
     * fence (LockReply.acquireFence, ISyncGroup.getAcquireFence()) before you touch it. Never set
     * for CPU accesses, which are granted when that work is done.
     */
    const int FLAG_FENCED = 0x4;
    /**
     * On a buffer of a grant: the content may be half written. The mark is set when a holder with
     * WRITE or DMA_WRITE is evicted or dies, or when its release fence fails or does not signal in
     * time. Every grant of the buffer has the mark until a later grant with WRITE or DMA_WRITE has
     * ended in order and all its release fences have signalled. A reader does not clear it.
     */
    const int FLAG_TORN = 0x8;

    EventType type = EventType.GRANTED;
    /** Bits FLAG_*. */
    int flags;
    /** The number of the lock that the record is about. */
    long lock;
    /** See EventType. */
    long value0;
    /** See EventType. */
    long value1;
}

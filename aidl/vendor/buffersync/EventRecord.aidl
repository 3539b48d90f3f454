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
    /** Of a BUFFER record: the buffer's previous holder was evicted; see GrantedBuffer.evicted. */
    const int FLAG_EVICTED = 0x1;
    /** Of an EVICTED record: the release fence given to unlock() was what did not end. */
    const int FLAG_FENCE = 0x2;
    /** Of a BUFFER record: ISyncGroup.getAcquireFence() has a fence to wait for; GrantedBuffer.fenced. */
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

// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.Capabilities;
import vendor.buffersync.GroupOptions;
import vendor.buffersync.OpenedGroup;

/**
 * Arbitrates dma-bufs that processes share: it decides who may use a buffer and when, does the
 * cache maintenance between one holder and the next, and limits the time of every hold.
 *
 * A client opens a group, adds dma-bufs with the access it needs, locks them all at once, works,
 * and unlocks. Groups are served by the age of their lock (wound-wait), so no order of locking can
 * deadlock.
 *
 * Errors: bad arguments are EX_ILLEGAL_ARGUMENT; everything else is EX_SERVICE_SPECIFIC with one of
 * the ERROR_* constants. A call that fails has changed nothing, but see ERROR_DEADLOCK. Every
 * method returns at once, whatever other clients, fences or devices do. All methods may be called
 * from any thread.
 *
 * getInterfaceVersion() and getInterfaceHash() tell which version of these files a service speaks;
 * the hash of a version that is not frozen is "notfrozen". dump() writes text: buffers, holders,
 * waiters and what happened last, bounded in length. With the argument "counters" it is one line of
 * KEY=VALUE pairs, among them groups, buffers and grants.
 */
@VintfStability
interface IBufferSync {
    /** None of the handle's file descriptors is a dma-buf. */
    const int ERROR_NOT_DMABUF = 1;
    /** One of the limits in Capabilities is reached for this uid or group. */
    const int ERROR_QUOTA = 2;
    /** The group has no buffer of that id. */
    const int ERROR_UNKNOWN_BUFFER = 3;
    /** The group waits for a lock, so its buffers can't be changed, or it holds the buffer. */
    const int ERROR_BUSY = 4;
    /** The group has no buffers. */
    const int ERROR_EMPTY_GROUP = 5;
    /** The group already holds its buffers (kernel: -EALREADY), or already waits for them. */
    const int ERROR_ALREADY_LOCKED = 6;
    /** tryLock(): somebody holds one of the buffers, or already waits for it. */
    const int ERROR_WOULD_BLOCK = 7;
    /** cancel(): no lock is waiting. It may have been granted meanwhile: see the event channel. */
    const int ERROR_NOT_QUEUED = 8;
    /** The token names no grant of this group. */
    const int ERROR_BAD_TOKEN = 9;
    /**
     * The token named a grant that was taken away: work done after that may be lost. A group
     * remembers the tokens of its last 16 such grants; an older one is ERROR_BAD_TOKEN.
     */
    const int ERROR_EVICTED = 10;
    /** The group is closed. */
    const int ERROR_CLOSED = 11;
    /** A release fence is not a sync_file. */
    const int ERROR_BAD_FENCE = 12;
    /** The event channel has too many unread records for a new lock or fence: read them first. */
    const int ERROR_EVENTS_UNREAD = 13;
    /** The buffer is in the group for the CPU and was added for DMA, or the other way round. */
    const int ERROR_ACCESS_CONFLICT = 14;
    /** The service has too few file descriptors or too little memory. */
    const int ERROR_NO_RESOURCES = 15;
    /**
     * lock() of a group that holds: an older lock waits for a buffer that the group holds, so
     * waiting for more could deadlock (kernel: -EDEADLK). Or the life of the group's ticket is
     * over, and the lock would pass a conflicting lock that already waits for a buffer (see
     * ISyncGroup). unlock() the grant and lock() again: the new lock includes the added buffers,
     * and has the old ticket while that lives. Until then the group gets no more buffers.
     */
    const int ERROR_DEADLOCK = 16;
    /** The kernel cannot do what the call asks for: see Capabilities.features. */
    const int ERROR_UNSUPPORTED = 17;

    /** The longest name of a group, in bytes of UTF-8. */
    const int MAX_NAME_BYTES = 64;

    /** Returns the features and the limits of this service. */
    Capabilities getCapabilities();

    /**
     * Opens a group that has no buffers yet.
     *
     * @param name shown in dumps and logs: 1 to MAX_NAME_BYTES bytes of UTF-8, no control
     *         characters. It need not be unique.
     * @param options see GroupOptions.
     * @return the group and its event channel.
     * @throws EX_ILLEGAL_ARGUMENT for a bad name, a negative hold limit or an unknown HoldFrom.
     * @throws ERROR_UNSUPPORTED for an option without its feature.
     * @throws ERROR_QUOTA if the uid has Capabilities.maxGroupsPerUid groups open.
     * @throws ERROR_NO_RESOURCES if no channel could be made.
     */
    OpenedGroup openGroup(in @utf8InCpp String name, in GroupOptions options);
}

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
 * A client opens a group, adds dma-bufs with the access it needs, locks some of them or all at
 * once, works, and unlocks. Locks are served by age (wound-wait), so no order of buffers can
 * deadlock. Only the buffers of one lock are taken together: a client that keeps one lock while it
 * waits for another can wait for a client that does the same, until a deadline. To avoid that,
 * it asks for all of them in one lock, or grows the one that it has.
 *
 * Errors: bad arguments are EX_ILLEGAL_ARGUMENT; everything else is EX_SERVICE_SPECIFIC with one of
 * the ERROR_* constants. A call that fails has changed nothing, but see ERROR_DEADLOCK. Every
 * method returns at once, whatever other clients, fences or devices do. All methods may be called
 * from any thread.
 *
 * getInterfaceVersion() and getInterfaceHash() tell which version of these files a service speaks;
 * the hash of a version that is not frozen is "notfrozen". dump() writes text: buffers, holders,
 * waiters and what happened last, bounded in length. With the argument "counters" it is one line of
 * KEY=VALUE pairs, among them groups and buffers. Root, the system and the shell see everything; any
 * other caller sees what its own uid has.
 */
@VintfStability
interface IBufferSync {
    /** None of the handle's file descriptors is a dma-buf or a memfd. */
    const int ERROR_NOT_DMABUF = 1;
    /**
     * One of the limits in Capabilities is reached for this uid or group, or the uid's share of
     * descriptors or memory: the text says which.
     */
    const int ERROR_QUOTA = 2;
    /** The group, or the grant, has no buffer of that id. */
    const int ERROR_UNKNOWN_BUFFER = 3;
    /**
     * The lock waits or grows, so the call can't be done now; or a lock of the group has the
     * buffer.
     */
    const int ERROR_BUSY = 4;
    /** The group has no buffers. */
    const int ERROR_EMPTY_GROUP = 5;
    /**
     * Another lock of this group has a buffer, or waits for it, with a conflicting access; or the
     * grant has everything that it asks for (kernel: -EALREADY).
     */
    const int ERROR_ALREADY_LOCKED = 6;
    /** ISyncGroup.TRY: somebody holds one of the buffers, or already waits for it. */
    const int ERROR_WOULD_BLOCK = 7;
    /** cancel(): the lock does not wait. It was granted meanwhile: see the event channel. */
    const int ERROR_NOT_QUEUED = 8;
    /**
     * lock(): the number is not greater than all numbers of this group before. Other calls: no lock
     * was accepted with this number.
     */
    const int ERROR_BAD_LOCK = 9;
    /**
     * The grant was taken away, or a release fence of it failed: its work may be lost. A group
     * remembers the numbers of its last 16 such grants; an older one is ERROR_ENDED.
     */
    const int ERROR_EVICTED = 10;
    /** The group is closed. */
    const int ERROR_CLOSED = 11;
    /** A release fence is not a sync_file. */
    const int ERROR_BAD_FENCE = 12;
    /**
     * The event channel has too many unread records for a new lock or fence: read them first.
     * The unread records of all groups of a uid are limited together, too. Then a group is refused
     * although its own channel is empty: read the others.
     */
    const int ERROR_EVENTS_UNREAD = 13;
    /** A buffer would be in the group, or in one lock, for the CPU and for DMA at once. */
    const int ERROR_ACCESS_CONFLICT = 14;
    /** The service has too few file descriptors or too little memory. */
    const int ERROR_NO_RESOURCES = 15;
    /**
     * grow(): an older lock waits for a buffer that the grant has, so waiting for more could
     * deadlock (kernel: -EDEADLK). Or the life of its ticket is over, and it would pass a
     * conflicting lock that already waits for a buffer (see ISyncGroup). unlock() the grant and
     * lock() everything: the new lock has the old ticket while that lives. Until then the grant
     * gets no more buffers.
     */
    const int ERROR_DEADLOCK = 16;
    /** The kernel cannot do what the call asks for: see Capabilities.features. */
    const int ERROR_UNSUPPORTED = 17;
    /**
     * The lock has ended: the client unlocked or cancelled it, it ended without a grant, or the
     * group has passed its number over.
     */
    const int ERROR_ENDED = 18;

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

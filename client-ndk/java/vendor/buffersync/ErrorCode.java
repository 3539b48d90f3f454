/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/** The reason of a failed call. A failed call has changed nothing unless its comment says otherwise. */
public enum ErrorCode {
    /** A value is out of range. */
    INVALID_ARGUMENT(-1),
    /** The group or the connection was closed. */
    CLOSED(-2),
    /** A descriptor is not open. */
    BAD_FD(-3),
    /** None of the descriptors is a dma-buf or a memfd. */
    NOT_DMABUF(-4),
    /** A release fence is not a sync_file. */
    BAD_FENCE(-5),
    /** The group, or the grant, has no such buffer. */
    UNKNOWN_BUFFER(-6),
    /** A buffer would be in the group, or in one lock, for the CPU and for DMA at once. */
    ACCESS_CONFLICT(-7),
    /** A quota of this uid or a limit of the group is reached. */
    QUOTA(-8),
    /**
     * The service or this process is short of descriptors or memory. The message says if the service's
     * answer could not be delivered; then the method says what has become of its lock. Close descriptors
     * and try again.
     */
    NO_RESOURCES(-9),
    /** The group has no buffers. */
    EMPTY_GROUP(-10),
    /** The lock waits or grows, or a lock of the group has the buffer. */
    BUSY(-11),
    /** A lock of this group already has the buffers, or waits for them. */
    ALREADY_LOCKED(-12),
    /** Somebody holds one of the buffers or waits for it. */
    WOULD_BLOCK(-14),
    /** The lock does not wait. */
    NOT_QUEUED(-15),
    /**
     * The lock was not granted in time. If it would grow a grant, that goes on as it was. The message
     * says which lock is in the way, or that the service does not answer.
     */
    TIMED_OUT(-16),
    /** Another thread took the lock back. */
    CANCELLED(-17),
    /**
     * An older lock waits for a buffer that this grant has (the kernel's EDEADLK): unlock, and lock
     * again. The new lock keeps the old place in line for {@link Capabilities#getMaxHold} from the first
     * request. After that time, a growth that would pass another lock that already waits for a buffer
     * also ends with this error.
     */
    DEADLOCK(-18),
    /** The grant was taken away at its deadline: work done after it may be lost. */
    EVICTED(-19),
    /**
     * An implicit fence of a buffer did not signal in time, or its cache maintenance failed: the
     * message says which.
     */
    LOCK_FAILED(-20),
    /**
     * Too many unread events of the group, or of all groups of this uid: call {@link
     * SyncGroup#pollEvent} until there are none.
     */
    EVENTS_UNREAD(-21),
    /** The service, its kernel or this platform can't do that. */
    UNSUPPORTED(-22),
    /** The binder driver can't be opened. */
    NO_BINDER(-23),
    /** The service is not registered, or this process may not find it. */
    NO_SERVICE(-24),
    /**
     * The service is gone, and every group and lock with it. Open the groups anew: the connection finds
     * the service when it is back.
     */
    SERVICE_DIED(-25),
    /** This process is a fork of the one that connected. */
    FORKED(-26),
    /** Binder failed, or the service broke its rules. */
    INTERNAL(-27),
    /** The number names no lock of this group. */
    BAD_LOCK(-28),
    /** The lock has ended: it was unlocked or cancelled, or it ended without a grant. */
    ENDED(-29);

    private final int number;

    ErrorCode(int number) {
        this.number = number;
    }

    static ErrorCode of(int number) {
        for (ErrorCode code : values()) {
            if (code.number == number) {
                return code;
            }
        }
        return INTERNAL;
    }
}

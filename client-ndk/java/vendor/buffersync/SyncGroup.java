/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.Objects;

/**
 * A set of dma-bufs that are locked and unlocked together. It has one lock at a time: threads that
 * lock independently open a group each.
 *
 * <p>Calls take turns; none waits for another client, except {@link #lock} and {@link #tryLock},
 * which let other threads' calls in meanwhile.
 */
public final class SyncGroup implements AutoCloseable {
    private final long handle;
    private final Cleaner.Cleanable cleanable;
    private volatile boolean closed;

    SyncGroup(long handle) {
        this.handle = handle;
        this.cleanable = Cleaners.register(this, () -> Native.closeGroup(handle));
    }

    /** Null is as long as it takes: -1. */
    static long nanos(Duration duration) {
        if (duration == null) {
            return -1;
        }
        if (duration.isNegative()) {
            throw new IllegalArgumentException("a negative duration");
        }
        try {
            return duration.toNanos();
        } catch (ArithmeticException tooLong) {
            return Long.MAX_VALUE;
        }
    }

    /** For the other classes of the package, which keep the group reachable. */
    long handle() {
        return handle;
    }

    /**
     * Adds the dma-bufs of a source. One that the group has already takes the stronger access.
     * Nothing of the source is kept. A group that holds may add buffers, or a stronger access:
     * {@link Grant#grow} gets them.
     *
     * @param source whoever has the descriptors
     * @param access what the group does with the buffers
     * @return the buffers' ids, in the order of their first descriptor
     * @throws BufferSyncException {@link ErrorCode#NOT_DMABUF}, {@link ErrorCode#BAD_FD},
     *     {@link ErrorCode#BUSY}, {@link ErrorCode#QUOTA}, {@link ErrorCode#ACCESS_CONFLICT},
     *     {@link ErrorCode#NO_RESOURCES}
     */
    public long[] add(BufferSource source, Access access) throws BufferSyncException {
        long[] ids = Native.add(handle, Objects.requireNonNull(source.fds()), access.number);
        java.lang.ref.Reference.reachabilityFence(source);
        java.lang.ref.Reference.reachabilityFence(this);
        return ids;
    }

    /**
     * Adds a dma-buf for the CPU, and maps it into this process. The mapping goes when nothing refers
     * to it or to a buffer of it any more.
     *
     * @param source of one descriptor, a dma-buf's
     * @param access {@link Access#READ} or {@link Access#WRITE}
     * @return the mapping
     * @throws BufferSyncException as {@link #add}; {@link ErrorCode#INTERNAL} if it can't be mapped,
     *     though it has been added
     */
    public MappedBuffer map(BufferSource source, Access access) throws BufferSyncException {
        int[] fds = source.fds();
        if (fds.length != 1 || !access.isCpu()) {
            throw new IllegalArgumentException("one descriptor, to be accessed by the CPU");
        }
        long[] ids = Native.add(handle, fds, access.number);
        MappedBuffer mapped = MappedBuffer.map(this, ids[0], fds[0], access);
        java.lang.ref.Reference.reachabilityFence(source);
        return mapped;
    }

    /**
     * Takes one buffer out that the group does not hold.
     *
     * @param buffer its id
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#BUSY}
     */
    public void remove(long buffer) throws BufferSyncException {
        Native.remove(handle, buffer);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Takes all buffers out.
     *
     * @throws BufferSyncException {@link ErrorCode#BUSY} if the group waits or holds
     */
    public void removeAll() throws BufferSyncException {
        Native.removeAll(handle);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Locks every buffer of the group, all or nothing, and blocks until that is done.
     *
     * @param timeout how long to wait at most; null: as long as it takes, which other holders'
     *     deadlines bound
     * @return the grant, to be closed
     * @throws BufferSyncException {@link ErrorCode#TIMED_OUT}, {@link ErrorCode#CANCELLED},
     *     {@link ErrorCode#LOCK_FAILED}, {@link ErrorCode#EMPTY_GROUP},
     *     {@link ErrorCode#ALREADY_LOCKED}, {@link ErrorCode#CLOSED}, {@link ErrorCode#QUOTA},
     *     {@link ErrorCode#EVENTS_UNREAD}, {@link ErrorCode#SERVICE_DIED}
     */
    public Grant lock(Duration timeout) throws BufferSyncException {
        refuseIfHeld();
        Native.lock(handle, nanos(timeout));
        return grant();
    }

    /**
     * As {@link #lock}, but waits for no other client: at most for cache maintenance.
     *
     * @return the grant, to be closed
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and those of {@link #lock}
     */
    public Grant tryLock() throws BufferSyncException {
        refuseIfHeld();
        Native.tryLock(handle);
        return grant();
    }

    /**
     * Asks for the lock and returns at once; its place in line is taken. If it is not granted with
     * that, {@link #pollEvent} reports how it ends.
     *
     * @param timeout as in {@link #lock}
     * @return the grant, or null: it is queued
     * @throws BufferSyncException those of {@link #lock}
     */
    public Grant startLock(Duration timeout) throws BufferSyncException {
        refuseIfHeld();
        return Native.startLock(handle, nanos(timeout)) ? grant() : null;
    }

    /** In the native half a lock of a group that holds is a growth: here that is the grant's. */
    void refuseIfHeld() throws BufferSyncException {
        try {
            Native.grant(handle);
        } catch (BufferSyncException e) {
            if (e.code() == ErrorCode.NOT_LOCKED) {
                return;
            }
            throw e;
        }
        throw new BufferSyncException(ErrorCode.ALREADY_LOCKED, "the group has a grant");
    }

    /**
     * Takes a waiting lock back, also one that another thread waits for.
     *
     * @throws BufferSyncException {@link ErrorCode#NOT_QUEUED} if none waits; it may have been
     *     granted meanwhile
     */
    public void cancel() throws BufferSyncException {
        Native.cancel(handle);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * The group's event descriptor, for {@code MessageQueue.addOnFileDescriptorEventListener} or
     * another poll loop: readable when {@link #pollEvent} has something. Lent until the group is
     * closed; not to be read or closed.
     *
     * @return a file descriptor, by number
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public int eventFd() throws BufferSyncException {
        int fd = Native.eventFd(handle);
        java.lang.ref.Reference.reachabilityFence(this);
        return fd;
    }

    /**
     * The next event. Never blocks. While a thread waits for a lock the events are its own.
     *
     * @return null if there is none now
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public Event pollEvent() throws BufferSyncException {
        long[] values = Native.event(handle);
        java.lang.ref.Reference.reachabilityFence(this);
        return values == null ? null : new Event(values);
    }

    /**
     * What the group holds: after {@link Event.Type#GRANTED}, or if the {@link Grant} was lost.
     *
     * @return the grant, to be closed
     * @throws BufferSyncException {@link ErrorCode#NOT_LOCKED}
     */
    public Grant grant() throws BufferSyncException {
        return new Grant(this, Native.grant(handle));
    }

    /**
     * How long a grant lasts at most.
     *
     * @return the limit
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public Duration holdLimit() throws BufferSyncException {
        Duration limit = Duration.ofNanos(Native.holdLimit(handle));
        java.lang.ref.Reference.reachabilityFence(this);
        return limit;
    }

    /**
     * Ends the group. A lock that waits is taken back: its thread gets {@link ErrorCode#CLOSED}. A
     * grant ends as an eviction, since nobody said that the work was finished: close that first.
     */
    @Override
    public void close() {
        closed = true;
        cleanable.clean();
    }

    @Override
    public String toString() {
        return "SyncGroup[" + (closed ? "closed" : "open") + "]";
    }
}

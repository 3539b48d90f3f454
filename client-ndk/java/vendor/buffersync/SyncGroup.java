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
 * <p>Calls take turns. Only {@link #lock} and {@link #tryLock} wait for other clients, and other threads
 * can call on the group meanwhile.
 */
public final class SyncGroup implements AutoCloseable {
    private final long handle;
    private final Cleaner.Cleanable cleanable;
    private volatile boolean closed;

    SyncGroup(long handle) {
        this.handle = handle;
        this.cleanable = Cleaners.register(this, () -> Native.closeGroup(handle));
    }

    /** Null means no time-out, which is -1 here. */
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

    /** For the other classes of this package. They must keep the group reachable during the call. */
    long handle() {
        return handle;
    }

    /**
     * Adds the dma-bufs of a source. If the group has one already, the stronger of both accesses
     * applies. The group does not keep the source. A group that holds its buffers may add more, or a
     * stronger access to one of them: {@link Grant#grow} gets them.
     *
     * @param source gives the descriptors
     * @param access how the group uses the buffers
     * @return the ids of the buffers, in the order of their first descriptor
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
     * Adds a dma-buf for the CPU, and maps it into this process. It is unmapped when nothing refers to
     * the mapping or to one of its byte buffers any more.
     *
     * @param source gives one descriptor, a dma-buf
     * @param access {@link Access#READ} or {@link Access#WRITE}
     * @return the mapping
     * @throws BufferSyncException the errors of {@link #add}; {@link ErrorCode#INTERNAL} if the buffer
     *     can't be mapped: then it has been added all the same
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
     * Removes one buffer from the group. The group must not hold it.
     *
     * @param buffer its id
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#BUSY}
     */
    public void remove(long buffer) throws BufferSyncException {
        Native.remove(handle, buffer);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Removes all buffers from the group.
     *
     * @throws BufferSyncException {@link ErrorCode#BUSY} if the group waits or holds
     */
    public void removeAll() throws BufferSyncException {
        Native.removeAll(handle);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Locks every buffer of the group, all or nothing. Blocks until the lock is granted or has ended.
     *
     * @param timeout the longest time to wait; null for no time-out. The deadlines of other holders
     *     bound the wait in any case
     * @return the grant, which the caller must close
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
     * Like {@link #lock}, but waits for cache maintenance only, not for other clients.
     *
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link #lock}
     */
    public Grant tryLock() throws BufferSyncException {
        refuseIfHeld();
        Native.tryLock(handle);
        return grant();
    }

    /**
     * Asks for the lock and returns at once. If the lock is not granted at once, it has its place in
     * line now, and {@link #pollEvent} reports how it ends.
     *
     * @param timeout as for {@link #lock}
     * @return the grant; null if the lock is queued
     * @throws BufferSyncException the errors of {@link #lock}
     */
    public Grant startLock(Duration timeout) throws BufferSyncException {
        refuseIfHeld();
        return Native.startLock(handle, nanos(timeout)) ? grant() : null;
    }

    /** The native lock of a group that holds would grow the grant; Java has Grant.grow for that. */
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
     * Cancels a waiting lock, also one that another thread waits for.
     *
     * @throws BufferSyncException {@link ErrorCode#NOT_QUEUED} if no lock waits; it may have been
     *     granted meanwhile
     */
    public void cancel() throws BufferSyncException {
        Native.cancel(handle);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * The group's event descriptor, for {@code MessageQueue.addOnFileDescriptorEventListener} or
     * another poll loop. It is readable when {@link #pollEvent} has an event, and may be readable when it
     * has none. It is valid until the group is closed. Do not read or close it.
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
     * Gets the next event. Never blocks. While a thread waits for a lock, that thread consumes the
     * events.
     *
     * @return the event; null if there is none now
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public Event pollEvent() throws BufferSyncException {
        long[] values = Native.event(handle);
        java.lang.ref.Reference.reachabilityFence(this);
        return values == null ? null : new Event(values);
    }

    /**
     * Gets the grant of a group that holds: after {@link Event.Type#GRANTED}, or if the {@link Grant}
     * object was lost.
     *
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#NOT_LOCKED}
     */
    public Grant grant() throws BufferSyncException {
        return new Grant(this, Native.grant(handle));
    }

    /**
     * The hold limit of the group: its grants are taken away after this time.
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
     * Closes the group. A waiting lock is cancelled, and its thread gets {@link ErrorCode#CLOSED}. Close
     * the grant first: a grant that is still held ends as an eviction, because nobody said that the work
     * was finished.
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

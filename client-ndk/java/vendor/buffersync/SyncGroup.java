/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.FileDescriptor;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A client's buffers, and its locks of them. A lock takes all buffers of the group or some, and a group
 * can have many at once: of different buffers, or with accesses that share.
 *
 * <p>Any thread may call at any time. A call that waits for other clients does not keep other threads
 * from calling, and ends when its thread is interrupted.
 */
public final class SyncGroup implements AutoCloseable {
    /** The native methods take no buffer for all buffers of the group. */
    static final long[] ALL_BUFFERS = {};

    static final int[] ALL_ACCESSES = {};

    private final long handle;
    private final String name;
    private final Cleaner.Cleanable cleanable;
    private volatile boolean closed;
    private @Nullable FileDescriptor eventDescriptor;

    SyncGroup(long handle, String name) {
        this.handle = handle;
        this.name = name;
        this.cleanable = Cleaners.register(this, () -> Native.closeGroup(handle));
    }

    /** A native method of the group. */
    @FunctionalInterface
    interface Call<T> {
        T run(long handle) throws BufferSyncException;
    }

    /** A native method of the group without a result. */
    @FunctionalInterface
    interface Action {
        void run(long handle) throws BufferSyncException;
    }

    /** Calls a native method. The group is reachable meanwhile, so the cleaner does not close it. */
    <T> T call(Call<T> call) throws BufferSyncException {
        try {
            return call.run(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Like {@link #call}. */
    void run(Action action) throws BufferSyncException {
        try {
            action.run(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /** Null means no time-out, which is -1 here. */
    static long nanos(@Nullable Duration duration) {
        if (duration == null) {
            return -1;
        }
        if (duration.isNegative()) {
            throw new IllegalArgumentException("a negative duration: " + duration);
        }
        try {
            return duration.toNanos();
        } catch (ArithmeticException tooLong) {
            return Long.MAX_VALUE;
        }
    }

    /** A reading of a clock. The native methods return 0 for none. */
    static @Nullable Duration moment(long nanos) {
        return nanos == 0 ? null : Duration.ofNanos(nanos);
    }

    /** For the other classes of this package. */
    long handle() {
        return handle;
    }

    /**
     * Adds the buffers of a source: its dma-bufs, or without a dma-buf its memfds. If the group has one
     * already, the stronger of both accesses applies. The locks that the group has stay as they are:
     * {@link Grant#grow} gets what was added.
     *
     * <p>The service keeps a descriptor of its own of each buffer, and so the memory, until the buffer
     * is removed or the group is closed.
     *
     * @param source gives the descriptors
     * @param access how the group uses the buffers
     * @return the ids of the buffers, in the order of their first descriptor
     * @throws BufferSyncException {@link ErrorCode#NOT_DMABUF}, {@link ErrorCode#BAD_FD}, {@link
     *     ErrorCode#QUOTA}, {@link ErrorCode#ACCESS_CONFLICT}, {@link ErrorCode#NO_RESOURCES}. If the
     *     answer of the service was lost, the group may have the buffers: add them again to learn their
     *     ids
     */
    public List<Long> add(BufferSource source, Access access) throws BufferSyncException {
        int number = access.number;
        int[] fds = source.rawFds();
        long[] ids = call(group -> Native.add(group, fds, number));
        Reference.reachabilityFence(source);
        List<Long> list = new ArrayList<>();
        for (long id : ids) {
            list.add(id);
        }
        return Collections.unmodifiableList(list);
    }

    /**
     * Adds the buffers of a source for the CPU, like {@link #add}, and maps them into this process. A
     * buffer is unmapped when nothing refers to the mapping or to one of its byte buffers any more.
     *
     * @param source gives the descriptors
     * @param access {@link Access#READ} or {@link Access#WRITE}
     * @return the mappings, in the order of {@link #add}
     * @throws BufferSyncException the errors of {@link #add}; {@link ErrorCode#INTERNAL} if a buffer
     *     can't be mapped: then none is added. {@link ErrorCode#INVALID_ARGUMENT} for a buffer of 2^31
     *     bytes or more
     */
    public List<MappedBuffer> map(BufferSource source, Access access) throws BufferSyncException {
        if (!access.isCpu()) {
            throw new IllegalArgumentException("a mapping is for the CPU, not for " + access);
        }
        int[] fds = source.rawFds();
        long[] values = call(group -> Native.map(group, fds, access.number));
        Reference.reachabilityFence(source);
        return MappedBuffer.listOf(this, values, access);
    }

    /**
     * Removes one buffer from the group. No lock of the group may have it or wait for it.
     *
     * @param buffer its id
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#BUSY}
     */
    public void remove(long buffer) throws BufferSyncException {
        run(group -> Native.remove(group, buffer));
    }

    /**
     * Removes all buffers from the group.
     *
     * @throws BufferSyncException {@link ErrorCode#BUSY} if a lock of the group has one
     *     or waits for it
     */
    public void removeAll() throws BufferSyncException {
        run(Native::removeAll);
    }

    /**
     * Locks all buffers of the group with the accesses of {@link #add}, all or nothing. Blocks until
     * the lock is granted or has ended.
     *
     * @param timeout the longest time to wait; null for no time-out. The deadlines of other holders
     *     bound the wait in any case
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#TIMED_OUT}, {@link ErrorCode#LOCK_FAILED}, {@link
     *     ErrorCode#EMPTY_GROUP}, {@link ErrorCode#CLOSED}, {@link ErrorCode#QUOTA}, {@link
     *     ErrorCode#EVENTS_UNREAD}, {@link ErrorCode#SERVICE_DIED}. {@link ErrorCode#ALREADY_LOCKED} if
     *     another lock of this group has one of the buffers with a conflicting access, or waits for it.
     *     After {@link ErrorCode#NO_RESOURCES} nothing is locked
     * @throws InterruptedException if the thread is interrupted: then nothing is locked. If the lock is
     *     granted at the same time, this method returns the grant, and the thread is still interrupted
     */
    public Grant lock(@Nullable Duration timeout) throws BufferSyncException, InterruptedException {
        return lock(ALL_BUFFERS, ALL_ACCESSES, timeout);
    }

    /**
     * Locks some buffers of the group, each with an access. Otherwise like {@link #lock(Duration)}.
     *
     * @param wants at least one
     * @param timeout the longest time to wait; null for no time-out
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#ACCESS_CONFLICT},
     *     and the errors of {@link #lock(Duration)}
     * @throws InterruptedException as {@link #lock(Duration)}
     */
    public Grant lock(List<Want> wants, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        return lock(Want.buffers(wants), Want.accesses(wants), timeout);
    }

    private Grant lock(long[] buffers, int[] accesses, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
        return finish(start(buffers, accesses, timeout));
    }

    private long[] start(long[] buffers, int[] accesses, @Nullable Duration timeout)
            throws BufferSyncException {
        long nanos = nanos(timeout);
        return call(group -> Native.startLock(group, buffers, accesses, nanos));
    }

    /** Waits for a lock that a native method has started, unless it is granted already. */
    Grant finish(long[] started) throws BufferSyncException, InterruptedException {
        long lock = started[0];
        boolean granted = started[1] != 0;
        if (!granted) {
            awaitLock(lock);
        }
        return grantOf(lock);
    }

    private Grant grantOf(long lock) throws BufferSyncException {
        try {
            return new Grant(this, lock);
        } catch (BufferSyncException e) {
            // It was taken away meanwhile. The caller gets no grant that it could close.
            run(group -> Native.dropLock(group, lock));
            throw e;
        }
    }

    /** Waits until a lock is granted. If it is not, nothing is left of it. */
    void awaitLock(long lock) throws BufferSyncException, InterruptedException {
        try {
            new LockWait(lock).run();
        } catch (InterruptedException | BufferSyncException e) {
            run(group -> Native.dropLock(group, lock));
            throw e;
        }
    }

    /** Waits until a grant has grown. An interruption ends the growth. */
    void awaitGrowth(long lock) throws BufferSyncException, InterruptedException {
        try {
            new LockWait(lock).run();
        } catch (InterruptedException e) {
            run(group -> Native.abandon(group, lock));
            throw e;
        }
    }

    /** A wait for what a lock has asked for. */
    private final class LockWait extends Wait {
        private final long lock;

        LockWait(long lock) {
            this.lock = lock;
        }

        @Override
        void block() throws BufferSyncException {
            SyncGroup.this.run(group -> Native.awaitLock(group, lock));
        }

        @Override
        void wake() {
            try {
                SyncGroup.this.run(group -> Native.interrupt(group, lock));
            } catch (BufferSyncException closed) {
                // A group that is closed has woken the thread already.
                return;
            }
        }
    }

    /**
     * Like {@link #lock(Duration)}, but waits for cache maintenance only, not for other clients.
     *
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link
     *     #lock(Duration)}
     */
    public Grant tryLock() throws BufferSyncException {
        return tryLock(ALL_BUFFERS, ALL_ACCESSES);
    }

    /**
     * Like {@link #lock(List, Duration)}, but waits for cache maintenance only, not for other clients.
     *
     * @param wants at least one
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link #lock(List,
     *     Duration)}
     */
    public Grant tryLock(List<Want> wants) throws BufferSyncException {
        return tryLock(Want.buffers(wants), Want.accesses(wants));
    }

    private Grant tryLock(long[] buffers, int[] accesses) throws BufferSyncException {
        return grantOf(call(group -> Native.tryLock(group, buffers, accesses)));
    }

    /**
     * Asks for all buffers of the group and returns at once, for threads that wait for many things. If
     * the lock is not granted at once, it has its place in line now, and {@link #pollEvent} reports how
     * it ends.
     *
     * @param timeout as for {@link #lock(Duration)}
     * @return the lock, which the caller must await or close
     * @throws BufferSyncException the errors of {@link #lock(Duration)}
     */
    public PendingLock startLock(@Nullable Duration timeout) throws BufferSyncException {
        return new PendingLock(this, start(ALL_BUFFERS, ALL_ACCESSES, timeout)[0]);
    }

    /**
     * Like {@link #startLock(Duration)}, for some buffers of the group.
     *
     * @param wants at least one
     * @param timeout as for {@link #lock(Duration)}
     * @return the lock, which the caller must await or close
     * @throws BufferSyncException the errors of {@link #lock(List, Duration)}
     */
    public PendingLock startLock(List<Want> wants, @Nullable Duration timeout)
            throws BufferSyncException {
        return new PendingLock(this, start(Want.buffers(wants), Want.accesses(wants), timeout)[0]);
    }

    /**
     * The group's event descriptor, for {@code MessageQueue.addOnFileDescriptorEventListener} or another
     * poll loop. It is readable when there is an event that no method has read, and may be readable when
     * {@link #pollEvent} has none. It is valid until the group is closed. Do not read or close it.
     *
     * @return the descriptor; the same object each time
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public synchronized FileDescriptor getEventDescriptor() throws BufferSyncException {
        int fd = call(Native::eventFd);
        FileDescriptor descriptor = eventDescriptor;
        if (descriptor == null) {
            descriptor = new FileDescriptor();
            Native.setFd(descriptor, fd);
            eventDescriptor = descriptor;
        }
        return descriptor;
    }

    /**
     * Gets the next event. Never blocks. While a thread waits for a lock of the group, that thread
     * consumes the events. Other methods may read events too, even if they do not wait: those that
     * lock, unlock or cancel, and those that ask for a lock's state. They keep the events of other locks
     * for this method: call it until it returns null, before you poll.
     *
     * @return the event; null if there is none now
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public @Nullable Event pollEvent() throws BufferSyncException {
        long[] values = eventValues();
        return values == null ? null : new Event(values);
    }

    private long @Nullable [] eventValues() throws BufferSyncException {
        try {
            return Native.event(handle);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Asks the service for the group's locks. What is not here has ended or never was.
     *
     * @return the locks, the oldest number first
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public List<LockStatus> locks() throws BufferSyncException {
        return LockStatus.listOf(call(Native::locks));
    }

    /**
     * The hold limit of the group: its grants are taken away after this time.
     *
     * @return the limit
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public Duration getHoldLimit() throws BufferSyncException {
        return Duration.ofNanos(call(Native::holdLimit));
    }

    /**
     * The number of evictions of this group's grants that were reported so far.
     *
     * @return the number
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public long getEvictions() throws BufferSyncException {
        return call(Native::evictions);
    }

    /**
     * The name of a group of the service, for example of {@link LockInTheWay#getGroup}.
     *
     * @param group the number that the service has given the group
     * @return null if it is not open, or if this process may not know it: it may know the groups of its
     *     own uid, and root and the system all
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public @Nullable String getNameOf(long group) throws BufferSyncException {
        try {
            return Native.nameOf(handle, group);
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    /**
     * Closes the group. Waiting locks are cancelled, and their threads get {@link ErrorCode#CLOSED}. End
     * the grants first: one that is still held ends as an eviction, because nobody said that the work
     * was finished.
     */
    @Override
    public void close() {
        closed = true;
        synchronized (this) {
            if (eventDescriptor != null) {
                try {
                    // Its number may soon be that of another file.
                    Native.setFd(eventDescriptor, -1);
                } catch (BufferSyncException impossible) {
                    throw new IllegalStateException(impossible);
                }
            }
        }
        cleanable.clean();
    }

    @Override
    public String toString() {
        return "SyncGroup[" + name + (closed ? ", closed" : "") + "]";
    }
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * A set of dma-bufs that are locked for one use after the other. {@link #lock} locks all of them: this
 * is the group's main lock, and it has one at a time. {@link #lockBuffers} locks some of them, and a group
 * can have many such locks at once.
 *
 * <p>Calls take turns. Only the calls that lock or grow wait for other clients, and other threads can call
 * on the group meanwhile.
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
     * Adds the dma-bufs of a source; without a dma-buf among its descriptors, the memfds. If the group
     * has one already, the stronger of both accesses applies. The group does not keep the source. The
     * locks that the group has stay as they are: {@link Grant#grow} gets what was added.
     *
     * @param source gives the descriptors
     * @param access how the group uses the buffers
     * @return the ids of the buffers, in the order of their first descriptor
     * @throws BufferSyncException {@link ErrorCode#NOT_DMABUF}, {@link ErrorCode#BAD_FD},
     *     {@link ErrorCode#QUOTA}, {@link ErrorCode#ACCESS_CONFLICT}, {@link
     *     ErrorCode#NO_RESOURCES}. If the answer of the service was lost, the group may have the
     *     buffers: add them again to learn their ids
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
     * Removes one buffer from the group. No lock of the group may have it or wait for it.
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
     * @throws BufferSyncException {@link ErrorCode#BUSY} if a lock of the group has one
     *     or waits for it
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
     *     {@link ErrorCode#EVENTS_UNREAD}, {@link ErrorCode#SERVICE_DIED}. After {@link
     *     ErrorCode#NO_RESOURCES} nothing is locked
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

    /** The native lock of a group with a grant would grow it; Java has Grant.grow for that. */
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
     * Cancels the main lock if it waits, or the growth of its grant, also if another thread waits for
     * it.
     *
     * @throws BufferSyncException {@link ErrorCode#NOT_QUEUED} if it does not wait; it may have been
     *     granted meanwhile
     */
    public void cancel() throws BufferSyncException {
        Native.cancel(handle);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * The group's event descriptor, for {@code MessageQueue.addOnFileDescriptorEventListener} or
     * another poll loop. It is readable when there is an event that no method has read, and may be readable
     * when {@link #pollEvent} has none. It is valid until the group is closed. Do not read or close it.
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
     * events. Other methods may read events too, even if they do not wait: those that lock, unlock or
     * cancel, {@link #lockStatus} and {@link Grant#isEvicted}. They keep the events of other locks for
     * this method: call it until it returns null, before you poll.
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
     * Gets the grant of the main lock: after {@link Event.Type#GRANTED}, or if the {@link Grant}
     * object was lost.
     *
     * @return the grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#NOT_LOCKED}
     */
    public Grant grant() throws BufferSyncException {
        return new Grant(this, Native.grant(handle));
    }

    /**
     * Locks some buffers of the group, each with an access. Blocks until the lock is granted or has
     * ended. The group can have other locks meanwhile, of other buffers or with shared accesses. The
     * lock lasts until {@link #unlockBuffers}, or until its deadline.
     *
     * @param wants the access for each buffer, by id; empty for all buffers with the accesses of {@link
     *     #add}
     * @param timeout as for {@link #lock}
     * @return the number of the lock
     * @throws BufferSyncException {@link ErrorCode#ALREADY_LOCKED} if another lock of this group has one
     *     of the buffers with a conflicting access, or waits for it. {@link ErrorCode#UNKNOWN_BUFFER},
     *     {@link ErrorCode#ACCESS_CONFLICT}, and the errors of {@link #lock}
     */
    public long lockBuffers(Map<Long, Access> wants, Duration timeout) throws BufferSyncException {
        long lock = Native.lockBuffers(handle, ids(wants), accesses(wants), nanos(timeout));
        java.lang.ref.Reference.reachabilityFence(this);
        return lock;
    }

    /**
     * Like {@link #lockBuffers}, but waits for cache maintenance only, not for other clients.
     *
     * @param wants as for {@link #lockBuffers}
     * @return the number of the lock
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link #lockBuffers}
     */
    public long tryLockBuffers(Map<Long, Access> wants) throws BufferSyncException {
        long lock = Native.tryLockBuffers(handle, ids(wants), accesses(wants));
        java.lang.ref.Reference.reachabilityFence(this);
        return lock;
    }

    /**
     * Asks for a lock of some buffers and returns at once. {@link #lockStatus} tells if it is granted
     * already. If not, {@link #pollEvent} reports how it ends.
     *
     * @param wants as for {@link #lockBuffers}
     * @param timeout as for {@link #lock}
     * @return the number of the lock
     * @throws BufferSyncException the errors of {@link #lockBuffers}
     */
    public long startLockBuffers(Map<Long, Access> wants, Duration timeout)
            throws BufferSyncException {
        long lock = Native.startLockBuffers(handle, ids(wants), accesses(wants), nanos(timeout));
        java.lang.ref.Reference.reachabilityFence(this);
        return lock;
    }

    /**
     * Adds buffers, or stronger accesses, to a grant. Blocks like {@link #lockBuffers}. The deadline
     * stays the same, and the grant keeps what it has even if this call fails.
     *
     * @param lock the number of the lock
     * @param wants as for {@link #lockBuffers}
     * @param timeout as for {@link #lock}
     * @throws BufferSyncException {@link ErrorCode#DEADLOCK}, {@link ErrorCode#EVICTED}, {@link
     *     ErrorCode#ENDED}, {@link ErrorCode#BUSY} if the lock waits, {@link ErrorCode#ALREADY_LOCKED}
     *     if it has all of this, and the errors of {@link #lockBuffers}
     */
    public void growBuffers(long lock, Map<Long, Access> wants, Duration timeout)
            throws BufferSyncException {
        Native.growBuffers(handle, lock, ids(wants), accesses(wants), nanos(timeout));
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Takes back what waits, also if another thread waits for it: a lock ends, or a growth ends and its
     * grant goes on as it was.
     *
     * @param lock the number of the lock
     * @throws BufferSyncException {@link ErrorCode#NOT_QUEUED} if the lock does not wait
     */
    public void cancelLock(long lock) throws BufferSyncException {
        Native.cancelLock(handle, lock);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Describes a lock, after the pending events were read.
     *
     * @param lock the number of the lock
     * @return the lock
     * @throws BufferSyncException {@link ErrorCode#EVICTED} if its grant was taken away: call {@link
     *     #unlockBuffers} to acknowledge it. {@link ErrorCode#ENDED}
     */
    public LockStatus lockStatus(long lock) throws BufferSyncException {
        long[] values = Native.lockStatus(handle, lock);
        java.lang.ref.Reference.reachabilityFence(this);
        return LockStatus.listOf(values).get(0);
    }

    /**
     * Gets the release fences of earlier holders, merged into one fence. Devices must wait for it
     * before they begin.
     *
     * @param lock the number of the lock
     * @param buffer one buffer of its grant; 0 for all of them
     * @return the fence; null if none is pending
     * @throws BufferSyncException {@link ErrorCode#NOT_LOCKED} if the lock has no grant, {@link
     *     ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#EVICTED}, {@link ErrorCode#NO_RESOURCES}
     */
    public Fence acquireFence(long lock, long buffer) throws BufferSyncException {
        int fd = Native.lockAcquireFence(handle, lock, buffer);
        java.lang.ref.Reference.reachabilityFence(this);
        return fd < 0 ? null : Fence.adoptFd(fd);
    }

    /**
     * Ends a part of a grant, or a lock. The work on the buffers is finished, or ends when their fences
     * signal. After a part the grant goes on for the rest. If the service can't take a fence, this call
     * waits for it, until the deadline.
     *
     * @param lock the number of the lock
     * @param buffers the buffers; none: ends the lock, whatever it is, a waiting one too
     * @param fences by buffer; 0 stands for all of these buffers without a fence of their own. This call
     *     closes the fences in any case
     * @throws BufferSyncException {@link ErrorCode#EVICTED} if the grant had been taken away; without
     *     named buffers the lock has ended now. {@link ErrorCode#ENDED}. {@link ErrorCode#BAD_FENCE},
     *     {@link ErrorCode#UNKNOWN_BUFFER}, {@link ErrorCode#BUSY}: the lock goes on as it was
     */
    public void unlockBuffers(long lock, long[] buffers, Map<Long, Fence> fences)
            throws BufferSyncException {
        Objects.requireNonNull(buffers);
        long[] fenced = new long[fences.size()];
        Native.unlockBuffers(handle, lock, buffers, fenced, Fence.detach(fences, fenced));
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Makes exclusive accesses of a grant shared, when the writes are finished. Readers that wait are
     * then granted.
     *
     * @param lock the number of the lock
     * @param buffers the buffers; none: all of the grant
     * @throws BufferSyncException {@link ErrorCode#EVICTED}, {@link ErrorCode#ENDED}, {@link
     *     ErrorCode#UNKNOWN_BUFFER}; {@link ErrorCode#BUSY} if the lock waits
     */
    public void downgrade(long lock, long... buffers) throws BufferSyncException {
        Native.downgrade(handle, lock, buffers);
        java.lang.ref.Reference.reachabilityFence(this);
    }

    /**
     * Ends a grant and locks buffers in one call of the service. Both happen, or neither. Blocks like
     * {@link #lockBuffers}.
     *
     * @param done the number of the lock that ends
     * @param fences as for {@link #unlockBuffers}
     * @param wants as for {@link #lockBuffers}
     * @param timeout as for {@link #lock}
     * @return the number of the new lock
     * @throws BufferSyncException the errors of {@link #unlockBuffers} and {@link #lockBuffers}. After
     *     {@link ErrorCode#EVICTED}, {@link ErrorCode#TIMED_OUT} and {@link ErrorCode#LOCK_FAILED} the
     *     old grant has ended, and if the answer of the service was lost ({@link
     *     ErrorCode#NO_RESOURCES}), both have ended. After any other error the old grant goes on
     */
    public long unlockAndLockBuffers(
            long done, Map<Long, Fence> fences, Map<Long, Access> wants, Duration timeout)
            throws BufferSyncException {
        // These may throw, so they come before the fences are taken.
        long[] buffers = ids(wants);
        int[] accesses = accesses(wants);
        long nanos = nanos(timeout);
        long[] fenced = new long[fences.size()];
        int[] fds = Fence.detach(fences, fenced);
        long lock =
                Native.unlockAndLockBuffers(handle, done, fenced, fds, buffers, accesses, nanos);
        java.lang.ref.Reference.reachabilityFence(this);
        return lock;
    }

    /**
     * Asks the service for the group's locks. What is not here has ended or never was.
     *
     * @return the locks, the oldest number first
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public List<LockStatus> locks() throws BufferSyncException {
        long[] values = Native.locks(handle);
        java.lang.ref.Reference.reachabilityFence(this);
        return LockStatus.listOf(values);
    }

    private static long[] ids(Map<Long, Access> wants) {
        return wants.keySet().stream().mapToLong(Long::longValue).toArray();
    }

    /** In the order of {@link #ids}. */
    private static int[] accesses(Map<Long, Access> wants) {
        return wants.values().stream().mapToInt(access -> access.number).toArray();
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
     * Closes the group. Waiting locks are cancelled, and their threads get {@link ErrorCode#CLOSED}. Unlock
     * first: a grant that is still held ends as an eviction, because nobody said that the work
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

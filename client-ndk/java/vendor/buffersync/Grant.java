/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The grant of a lock: the holder has the buffers, and they are coherent, until it ends the grant or
 * until the deadline. At the deadline the service takes the grant away, and {@link #close} throws {@link
 * ErrorCode#EVICTED}.
 *
 * <p>A group can have several grants at once: of different buffers, or with accesses that share.
 *
 * <p>A grant that is lost without being closed lasts until its deadline, because nobody said that the
 * work was finished.
 */
public final class Grant implements AutoCloseable {
    private final SyncGroup group;
    private final long lock;
    private volatile List<BufferState> buffers;
    private volatile boolean ended;

    Grant(SyncGroup group, long lock) throws BufferSyncException {
        this.group = group;
        this.lock = lock;
        this.buffers = granted();
    }

    private List<BufferState> granted() throws BufferSyncException {
        long[] values = group.call(handle -> Native.granted(handle, lock));
        return BufferState.listOf(values, 0, values.length);
    }

    private synchronized void refresh() throws BufferSyncException {
        buffers = granted();
    }

    SyncGroup group() {
        return group;
    }

    /**
     * The number of the lock. A group uses no number twice.
     *
     * @return the same as in {@link Event#getLock} and {@link LockStatus#getLock}
     */
    public long getLock() {
        return lock;
    }

    /**
     * The buffers that the grant has, as they were when they were granted: in the order in which the
     * lock named them, or in which they were added to the group if it named none.
     *
     * @return the buffers
     */
    public List<BufferState> getBuffers() {
        return buffers;
    }

    /**
     * One buffer of the grant.
     *
     * @param buffer its id
     * @return the buffer as it was when it was granted; null if the grant does not have it
     */
    public @Nullable BufferState getBuffer(long buffer) {
        for (BufferState state : buffers) {
            if (state.getId() == buffer) {
                return state;
            }
        }
        return null;
    }

    /**
     * The time that is left until the grant is taken away.
     *
     * @return zero when the deadline has passed or the grant has ended; null while it has no deadline
     *     ({@link HoldFrom#CONFLICT})
     * @throws BufferSyncException {@link ErrorCode#CLOSED}
     */
    public @Nullable Duration getTimeLeft() throws BufferSyncException {
        long nanos = group.call(handle -> Native.timeLeft(handle, lock));
        return nanos < 0 ? null : Duration.ofNanos(nanos);
    }

    /**
     * Tells if the grant was taken away. Never blocks. Reads the events that are there.
     *
     * @return true if it was
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}, {@link
     *     ErrorCode#ENDED}
     */
    public boolean isEvicted() throws BufferSyncException {
        try {
            group.call(handle -> Native.granted(handle, lock));
            return false;
        } catch (BufferSyncException e) {
            switch (e.getCode()) {
                case EVICTED:
                    return true;
                case BUSY:
                    // It grows, so it is there.
                    return false;
                default:
                    throw e;
            }
        }
    }

    /**
     * Gets the release fences of earlier holders, merged into one fence. Devices must wait for it
     * before they begin.
     *
     * @return the fence, which the caller must close; null if no fence is pending
     * @throws BufferSyncException {@link ErrorCode#EVICTED}, {@link ErrorCode#ENDED}, {@link
     *     ErrorCode#NO_RESOURCES}
     */
    public @Nullable Fence acquireFence() throws BufferSyncException {
        return fence(0);
    }

    /**
     * Like {@link #acquireFence()}, for one buffer.
     *
     * @param buffer its id
     * @return the fence, which the caller must close; null if no fence is pending
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, and the errors of {@link
     *     #acquireFence()}
     */
    public @Nullable Fence acquireFence(long buffer) throws BufferSyncException {
        if (buffer == 0) {
            throw new BufferSyncException(ErrorCode.UNKNOWN_BUFFER, "no buffer has the id 0");
        }
        return fence(buffer);
    }

    private @Nullable Fence fence(long buffer) throws BufferSyncException {
        int fd = group.call(handle -> Native.acquireFence(handle, lock, buffer));
        return fd < 0 ? null : Fence.adoptRawFd(fd);
    }

    /**
     * Adds to the grant what the group has and the grant lacks. Blocks. The deadline stays the same, and
     * the grant keeps what it has even if this call fails.
     *
     * @param timeout the longest time to wait; null for no time-out
     * @throws BufferSyncException {@link ErrorCode#DEADLOCK}: unlock, and lock all buffers again. {@link
     *     ErrorCode#ALREADY_LOCKED} if there is nothing to add. {@link ErrorCode#EVICTED}, {@link
     *     ErrorCode#ENDED}, {@link ErrorCode#TIMED_OUT}, and the other errors of {@link SyncGroup#lock}
     * @throws InterruptedException if the thread is interrupted: then the grant does not grow
     */
    public void grow(@Nullable Duration timeout) throws BufferSyncException, InterruptedException {
        grow(SyncGroup.ALL_BUFFERS, SyncGroup.ALL_ACCESSES, timeout);
    }

    /**
     * Adds buffers, or stronger accesses, to the grant, like {@link #grow(Duration)}.
     *
     * @param wants at least one
     * @param timeout the longest time to wait; null for no time-out
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, and the errors of {@link
     *     #grow(Duration)}
     * @throws InterruptedException if the thread is interrupted: then the grant does not grow
     */
    public void grow(List<Want> wants, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        grow(Want.buffers(wants), Want.accesses(wants), timeout);
    }

    private void grow(long[] ids, int[] accesses, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
        long nanos = SyncGroup.nanos(timeout);
        if (!group.call(handle -> Native.startGrow(handle, lock, ids, accesses, nanos))) {
            group.awaitGrowth(lock);
        }
        refresh();
    }

    /**
     * Like {@link #grow(Duration)}, but waits for cache maintenance only, not for other clients.
     *
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link
     *     #grow(Duration)}
     */
    public void tryGrow() throws BufferSyncException {
        tryGrow(SyncGroup.ALL_BUFFERS, SyncGroup.ALL_ACCESSES);
    }

    /**
     * Like {@link #grow(List, Duration)}, but waits for cache maintenance only, not for other clients.
     *
     * @param wants at least one
     * @throws BufferSyncException {@link ErrorCode#WOULD_BLOCK}, and the errors of {@link #grow(List,
     *     Duration)}
     */
    public void tryGrow(List<Want> wants) throws BufferSyncException {
        tryGrow(Want.buffers(wants), Want.accesses(wants));
    }

    private void tryGrow(long[] ids, int[] accesses) throws BufferSyncException {
        group.run(handle -> Native.tryGrow(handle, lock, ids, accesses));
        refresh();
    }

    /**
     * Makes all exclusive accesses of the grant shared, when the writes are finished. Readers that wait
     * are then granted. {@link #grow(List, Duration)} can make an access exclusive again.
     *
     * @throws BufferSyncException {@link ErrorCode#EVICTED}, {@link ErrorCode#ENDED}; {@link
     *     ErrorCode#BUSY} while the grant grows
     */
    public void downgrade() throws BufferSyncException {
        group.run(handle -> Native.downgrade(handle, lock, SyncGroup.ALL_BUFFERS));
    }

    /**
     * Like {@link #downgrade()}, for some buffers.
     *
     * @param buffers their ids, at least one
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, and the errors of {@link
     *     #downgrade()}
     */
    public void downgrade(Collection<Long> buffers) throws BufferSyncException {
        long[] ids = some(buffers);
        group.run(handle -> Native.downgrade(handle, lock, ids));
    }

    /**
     * Ends a part of the grant. The grant goes on for the rest, with the same deadline; without a rest
     * it has ended. If the service can't take a fence, this call waits for it, until the deadline.
     *
     * @param buffers the ids of the buffers, at least one
     * @param fences tell when the work on these buffers ends. This call closes them in any case
     * @throws BufferSyncException {@link ErrorCode#BAD_FENCE}, {@link ErrorCode#UNKNOWN_BUFFER}, {@link
     *     ErrorCode#BUSY} while the grant grows: the grant goes on as it was. {@link
     *     ErrorCode#EVICTED}: close the grant to acknowledge that. {@link ErrorCode#ENDED}. If the
     *     answer of the service was lost ({@link ErrorCode#NO_RESOURCES}), call again, and {@link
     *     ErrorCode#UNKNOWN_BUFFER} means that it was done
     */
    public void unlockBuffers(Collection<Long> buffers, ReleaseFences fences)
            throws BufferSyncException {
        long[] ids = some(buffers);
        long[] fenced = fences.buffers();
        int[] fds = fences.take();
        group.run(handle -> Native.unlockBuffers(handle, lock, ids, fenced, fds));
        forget(buffers);
    }

    private synchronized void forget(Collection<Long> unlocked) {
        List<BufferState> rest = new ArrayList<>(buffers);
        rest.removeIf(buffer -> unlocked.contains(buffer.getId()));
        buffers = Collections.unmodifiableList(rest);
        if (rest.isEmpty()) {
            ended = true;
        }
    }

    private static long[] some(Collection<Long> buffers) {
        if (buffers.isEmpty()) {
            throw new IllegalArgumentException("no buffer is named");
        }
        return buffers.stream().mapToLong(Long::longValue).toArray();
    }

    /**
     * Ends the grant. The work on the buffers ends when their fences have signalled. If the service
     * can't take a fence, this call waits for it, until the deadline. {@link #close} is for work that is
     * finished.
     *
     * @param fences this call closes them in any case
     * @throws BufferSyncException {@link ErrorCode#BAD_FENCE}, {@link ErrorCode#UNKNOWN_BUFFER}, {@link
     *     ErrorCode#BUSY} while the grant grows: the grant goes on as it was. {@link
     *     ErrorCode#EVICTED}: it had been taken away, and has ended now. {@link ErrorCode#ENDED}, {@link
     *     ErrorCode#SERVICE_DIED}
     */
    public synchronized void unlock(ReleaseFences fences) throws BufferSyncException {
        long[] fenced = fences.buffers();
        int[] fds = fences.take();
        try {
            group.run(handle -> Native.unlock(handle, lock, fenced, fds));
            ended = true;
        } catch (BufferSyncException e) {
            ended = hasEnded();
            throw e;
        }
    }

    private boolean hasEnded() throws BufferSyncException {
        return group.call(handle -> Native.hasEnded(handle, lock));
    }

    /**
     * Ends the grant and locks all buffers of the group, in one call of the service. Both happen, or
     * neither. Others that wait for the buffers come first. Blocks like {@link SyncGroup#lock}.
     *
     * @param fences as for {@link #unlock}
     * @param timeout the longest time to wait; null for no time-out
     * @return the new grant, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#EVICTED}: this grant had been taken away, and nothing
     *     is locked. {@link ErrorCode#TIMED_OUT}, {@link ErrorCode#LOCK_FAILED}: this grant has ended.
     *     If the answer of the service was lost ({@link ErrorCode#NO_RESOURCES}), both have ended.
     *     After another error of {@link #unlock} or {@link SyncGroup#lock} this grant goes on
     * @throws InterruptedException if the thread is interrupted: this grant has ended, and nothing is
     *     locked
     */
    public Grant unlockAndLock(ReleaseFences fences, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        return exchange(fences, SyncGroup.ALL_BUFFERS, SyncGroup.ALL_ACCESSES, timeout);
    }

    /**
     * Like {@link #unlockAndLock(ReleaseFences, Duration)}, but locks some buffers: the same or others.
     *
     * @param fences as for {@link #unlock}
     * @param wants at least one
     * @param timeout the longest time to wait; null for no time-out
     * @return the new grant, which the caller must close
     * @throws BufferSyncException the errors of {@link #unlockAndLock(ReleaseFences, Duration)}
     * @throws InterruptedException if the thread is interrupted: this grant has ended, and nothing is
     *     locked
     */
    public Grant unlockAndLock(ReleaseFences fences, List<Want> wants, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        return exchange(fences, Want.buffers(wants), Want.accesses(wants), timeout);
    }

    private Grant exchange(
            ReleaseFences fences, long[] ids, int[] accesses, @Nullable Duration timeout)
            throws BufferSyncException, InterruptedException {
        // These may throw, so they come before the fences are taken.
        long nanos = SyncGroup.nanos(timeout);
        long[] fenced = fences.buffers();
        int[] fds = fences.take();
        long[] started;
        synchronized (this) {
            try {
                started =
                        group.call(
                                handle ->
                                        Native.startUnlockAndLock(
                                                handle, lock, fenced, fds, ids, accesses, nanos));
                ended = true;
            } catch (BufferSyncException e) {
                ended = hasEnded();
                throw e;
            }
        }
        return group.finish(started);
    }

    /**
     * Ends the grant: the work on the buffers is finished. Does nothing if the grant has ended before.
     *
     * @throws BufferSyncException {@link ErrorCode#EVICTED} if it had been taken away: data that was
     *     read may be torn, and data that was written may be lost. {@link ErrorCode#SERVICE_DIED}
     */
    @Override
    public synchronized void close() throws BufferSyncException {
        if (!ended) {
            unlock(ReleaseFences.NONE);
        }
    }

    @Override
    public String toString() {
        return "Grant[lock " + lock + (ended ? ", ended" : ", " + buffers) + "]";
    }
}

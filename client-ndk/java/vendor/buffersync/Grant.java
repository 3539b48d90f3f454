/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/**
 * The grant of a group's main lock: the lock holds the buffers, and they are coherent, until this is
 * closed or until the deadline. At the deadline the service takes the grant away, and {@link #close}
 * throws {@link ErrorCode#EVICTED}.
 *
 * <p>A grant that is lost without being closed lasts until its deadline, because nobody said that the
 * work was finished. {@link SyncGroup#grant} gets it back.
 */
public final class Grant implements AutoCloseable {
    private static final int HEADER = 2;
    private static final int PER_BUFFER = 3;

    private final SyncGroup group;
    private final long id;
    private final long deadlineNanos;
    private List<BufferState> buffers;
    private boolean ended;

    Grant(SyncGroup group, long[] values) {
        this.group = group;
        this.id = values[0];
        this.deadlineNanos = values[1];
        this.buffers = buffersOf(values);
    }

    private static List<BufferState> buffersOf(long[] values) {
        return buffersOf(values, HEADER, values.length);
    }

    /** The buffers in a part of an array: three numbers each. */
    static List<BufferState> buffersOf(long[] values, int from, int to) {
        List<BufferState> buffers = new ArrayList<>();
        for (int at = from; at + PER_BUFFER <= to; at += PER_BUFFER) {
            buffers.add(new BufferState(values[at], values[at + 1], values[at + 2]));
        }
        return Collections.unmodifiableList(buffers);
    }

    SyncGroup group() {
        return group;
    }

    /**
     * The number of the lock. A group uses no number twice.
     *
     * @return the same as in {@link Event#grant}
     */
    public long id() {
        return id;
    }

    /**
     * The time at which the grant is taken away.
     *
     * @return a reading of {@code CLOCK_MONOTONIC} in nanoseconds; on Linux and Android {@link
     *     System#nanoTime} reads the same clock
     */
    public long deadlineNanos() {
        return deadlineNanos;
    }

    /**
     * The time that is left until the deadline.
     *
     * @return zero when the deadline has passed
     */
    public Duration timeLeft() {
        return Duration.ofNanos(Math.max(0, deadlineNanos - System.nanoTime()));
    }

    /**
     * The buffers, in the order in which they were added.
     *
     * @return the buffers as they were when they were granted
     */
    public synchronized List<BufferState> buffers() {
        return buffers;
    }

    /**
     * One buffer of the grant.
     *
     * @param buffer its id
     * @return the buffer as it was when it was granted; null if the grant does not have it
     */
    public BufferState buffer(long buffer) {
        for (BufferState state : buffers()) {
            if (state.id() == buffer) {
                return state;
            }
        }
        return null;
    }

    /**
     * Tells if the grant was taken away. Never blocks.
     *
     * @return true if it was
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED},
     *     {@link ErrorCode#NOT_LOCKED} after {@link #close}
     */
    public synchronized boolean isEvicted() throws BufferSyncException {
        refuseIfEnded();
        return Native.evicted(group.handle());
    }

    /**
     * Gets the release fences of earlier holders, merged into one fence. Devices must wait for it
     * before they begin.
     *
     * @return the fence, which the caller must close; null if no fence is pending
     * @throws BufferSyncException {@link ErrorCode#EVICTED}, {@link ErrorCode#NO_RESOURCES}
     */
    public Fence acquireFence() throws BufferSyncException {
        return acquireFence(0);
    }

    /**
     * Like {@link #acquireFence()}, for one buffer.
     *
     * @param buffer its id; 0 for all buffers
     * @return the fence, which the caller must close; null if no fence is pending
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}, and the errors of
     *     {@link #acquireFence()}
     */
    public synchronized Fence acquireFence(long buffer) throws BufferSyncException {
        refuseIfEnded();
        int fd = Native.acquireFence(group.handle(), buffer);
        return fd < 0 ? null : Fence.adoptFd(fd);
    }

    /**
     * Gets the buffers that were added to the group since the grant. The deadline stays the same, and
     * the grant keeps what it has even if this call fails.
     *
     * @param timeout the longest time to wait; null for no time-out
     * @throws BufferSyncException {@link ErrorCode#DEADLOCK}, {@link ErrorCode#EVICTED},
     *     {@link ErrorCode#ALREADY_LOCKED} if nothing was added, {@link ErrorCode#TIMED_OUT}, and
     *     the errors of {@link SyncGroup#lock}
     */
    public void grow(Duration timeout) throws BufferSyncException {
        synchronized (this) {
            refuseIfEnded();
        }
        Native.lock(group.handle(), SyncGroup.nanos(timeout));
        long[] values = Native.grant(group.handle());
        synchronized (this) {
            buffers = buffersOf(values);
        }
    }

    /**
     * Ends the grant. The work on the buffers ends when the fence signals. A device that is next gets
     * the buffers at once and waits for the fence itself; the CPU gets them when the fence has
     * signalled.
     *
     * @param fence this call closes it in any case
     * @throws BufferSyncException {@link ErrorCode#BAD_FENCE}: the grant goes on.
     *     {@link ErrorCode#EVICTED}: it had been taken away. {@link ErrorCode#NOT_LOCKED}
     */
    public void unlock(Fence fence) throws BufferSyncException {
        end(new long[] {0}, new int[] {fence.detachFd()});
    }

    /**
     * Like {@link #unlock(Fence)}, with fences for single buffers.
     *
     * @param fences by buffer; 0 stands for all buffers without a fence of their own. The work on a
     *     buffer with no fence is finished. This call closes the fences in any case
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER}: the grant goes on; and the errors
     *     of {@link #unlock(Fence)}
     */
    public void unlock(Map<Long, Fence> fences) throws BufferSyncException {
        long[] buffers = new long[fences.size()];
        end(buffers, Fence.detach(fences, buffers));
    }

    /**
     * Ends the grant and locks the group again in one call of the service. Others that wait for the
     * buffers come first. Blocks like {@link SyncGroup#lock}.
     *
     * @param fence as for {@link #unlock(Fence)}; null if the work is finished
     * @param timeout as for {@link SyncGroup#lock}
     * @return the new grant, which the caller must close
     * @throws BufferSyncException the errors of {@link #unlock(Fence)} and {@link SyncGroup#lock}; if
     *     the new lock did not begin, this grant goes on. If the answer of the service was lost ({@link
     *     ErrorCode#NO_RESOURCES}), both have ended
     */
    public Grant unlockAndLock(Fence fence, Duration timeout) throws BufferSyncException {
        // This may throw, so it comes before the fence is taken.
        long nanos = SyncGroup.nanos(timeout);
        int fd = fence == null ? -1 : fence.detachFd();
        synchronized (this) {
            if (ended && fd >= 0) {
                Native.closeFd(fd);
            }
            refuseIfEnded();
            try {
                Native.unlockAndLock(group.handle(), fd, nanos);
                ended = true;
            } catch (BufferSyncException e) {
                ended = !isHeld();
                throw e;
            }
        }
        return group.grant();
    }

    private boolean isHeld() {
        try {
            return Native.grant(group.handle())[0] == id;
        } catch (BufferSyncException e) {
            return false;
        }
    }

    private synchronized void end(long[] buffers, int[] fences) throws BufferSyncException {
        if (ended) {
            for (int fd : fences) {
                Native.closeFd(fd);
            }
            refuseIfEnded();
        }
        try {
            Native.unlock(group.handle(), buffers, fences);
            ended = true;
        } catch (BufferSyncException e) {
            ended = !isHeld();
            throw e;
        }
    }

    void refuseIfEnded() throws BufferSyncException {
        if (ended) {
            throw new BufferSyncException(ErrorCode.NOT_LOCKED, "the grant has ended");
        }
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
            end(new long[0], new int[0]);
        }
    }
}

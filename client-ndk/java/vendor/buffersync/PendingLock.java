/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;
import org.jspecify.annotations.Nullable;

/**
 * A lock that {@link SyncGroup#startLock} has asked for. It is granted already, or it waits in line and
 * an event of the group tells how it ends.
 *
 * <p>Close it when you don't want the lock any more. After {@link #await} has returned the grant, the
 * grant has the lock, and to close this does nothing.
 */
public final class PendingLock implements AutoCloseable {
    private final SyncGroup group;
    private final long lock;
    private final Unclaimed unclaimed;
    private final Cleaner.Cleanable cleanable;
    private @Nullable Grant grant;

    /** A lock that no grant has. The cleaner must not refer to the object that is lost. */
    private static final class Unclaimed {
        private final long group;
        private final long lock;
        private volatile boolean claimed;

        Unclaimed(long group, long lock) {
            this.group = group;
            this.lock = lock;
        }

        void end() throws BufferSyncException {
            if (!claimed) {
                Native.dropLock(group, lock);
            }
        }
    }

    PendingLock(SyncGroup group, long lock) {
        Unclaimed unclaimed = new Unclaimed(group.handle(), lock);
        this.group = group;
        this.lock = lock;
        this.unclaimed = unclaimed;
        this.cleanable = Cleaners.register(this, unclaimed::end);
    }

    /**
     * The number of the lock. A group uses no number twice.
     *
     * @return the same as in {@link Event#getLock}
     */
    public long getLock() {
        return lock;
    }

    /**
     * Tells if the lock is granted. Never blocks. Reads the events that are there.
     *
     * @return true if it is granted, false if it waits
     * @throws BufferSyncException if it has ended: {@link ErrorCode#TIMED_OUT}, {@link
     *     ErrorCode#LOCK_FAILED}, {@link ErrorCode#EVICTED}, {@link ErrorCode#ENDED}; {@link
     *     ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public boolean isGranted() throws BufferSyncException {
        return group.call(handle -> Native.isGranted(handle, lock));
    }

    /**
     * Waits until the lock is granted. Returns at once if it is: after {@link Event.Type#GRANTED}, and
     * after {@link #isGranted} was true.
     *
     * @return the grant, which the caller must close; the same object each time
     * @throws BufferSyncException if it has ended, see {@link #isGranted}; {@link ErrorCode#CANCELLED}
     *     after {@link #cancel} by another thread; {@link ErrorCode#BUSY} if another thread waits for it
     * @throws InterruptedException if the thread is interrupted: then the lock has ended
     */
    public Grant await() throws BufferSyncException, InterruptedException {
        synchronized (this) {
            if (grant != null) {
                return grant;
            }
        }
        if (Thread.interrupted()) {
            close();
            throw new InterruptedException();
        }
        group.awaitLock(lock);
        return claim();
    }

    private synchronized Grant claim() throws BufferSyncException {
        Grant claimed = grant;
        if (claimed == null) {
            claimed = new Grant(group, lock);
            unclaimed.claimed = true;
            grant = claimed;
        }
        return claimed;
    }

    /**
     * Takes the lock back if it waits, also if another thread is in {@link #await}.
     *
     * @return true if it has ended; false if it does not wait any more: it is granted, or an event tells
     *     how it ended
     * @throws BufferSyncException {@link ErrorCode#SERVICE_DIED}, {@link ErrorCode#CLOSED}
     */
    public boolean cancel() throws BufferSyncException {
        try {
            group.call(
                    handle -> {
                        Native.cancel(handle, lock);
                        return true;
                    });
            return true;
        } catch (BufferSyncException e) {
            if (e.getCode() == ErrorCode.NOT_QUEUED) {
                return false;
            }
            throw e;
        }
    }

    /** Ends the lock, also if it was granted meanwhile, unless {@link #await} has returned the grant. */
    @Override
    public void close() {
        cleanable.clean();
    }

    @Override
    public synchronized String toString() {
        return "PendingLock[lock " + lock + (grant == null ? "" : ", granted") + "]";
    }
}

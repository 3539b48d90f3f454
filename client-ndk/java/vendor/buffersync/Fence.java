/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.Map;

/** A sync_file: it signals when a device has finished. Owns its descriptor. */
public final class Fence implements AutoCloseable {
    private final Owned owned;
    private final Cleaner.Cleanable cleanable;

    /** The descriptor. An object of its own, because the cleaner must not refer to the fence. */
    private static final class Owned {
        private int fd;

        Owned(int fd) {
            this.fd = fd;
        }

        synchronized int take() {
            int taken = fd;
            fd = -1;
            return taken;
        }

        void close() throws BufferSyncException {
            int taken = take();
            if (taken >= 0) {
                Native.closeFd(taken);
            }
        }
    }

    private Fence(int fd) {
        Owned owned = new Owned(fd);
        this.owned = owned;
        this.cleanable = Cleaners.register(this, owned::close);
    }

    /**
     * Makes a fence that takes over a descriptor.
     *
     * @param fd a sync_file, which the fence owns from now on
     * @return the fence
     */
    public static Fence adoptFd(int fd) {
        if (fd < 0) {
            throw new IllegalArgumentException("no descriptor: " + fd);
        }
        return new Fence(fd);
    }

    /**
     * Makes a fence from a copy of a descriptor.
     *
     * @param fd a sync_file, which the caller keeps
     * @return the fence
     * @throws BufferSyncException {@link ErrorCode#BAD_FD}
     */
    public static Fence ofFd(int fd) throws BufferSyncException {
        return new Fence(Native.duplicate(fd));
    }

    /**
     * Gives the descriptor away, for example to a driver, and closes the fence.
     *
     * @return the descriptor, which the caller must close
     */
    public int detachFd() {
        int fd = owned.take();
        if (fd < 0) {
            throw new IllegalStateException("the fence is closed");
        }
        return fd;
    }

    /** Takes the descriptors of fences, and tells the buffer of each. */
    static int[] detach(Map<Long, Fence> fences, long[] buffers) {
        int[] fds = new int[fences.size()];
        int at = 0;
        for (Map.Entry<Long, Fence> entry : fences.entrySet()) {
            buffers[at] = entry.getKey();
            fds[at++] = entry.getValue().detachFd();
        }
        return fds;
    }

    /**
     * Waits until the fence has signalled. Does not tell if it signalled an error.
     *
     * @param timeout the longest time to wait; null for no time-out
     * @throws BufferSyncException {@link ErrorCode#TIMED_OUT}
     */
    public void await(Duration timeout) throws BufferSyncException {
        // A copy: another thread may close the fence meanwhile.
        int copy;
        synchronized (owned) {
            copy = Native.duplicate(owned.fd);
        }
        try {
            Native.waitFence(copy, SyncGroup.nanos(timeout));
        } finally {
            Native.closeFd(copy);
        }
    }

    @Override
    public void close() {
        cleanable.clean();
    }
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.FileDescriptor;
import java.lang.ref.Cleaner;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * A sync_file: it signals when a device has finished. Owns its descriptor.
 *
 * <p>On Android, {@code AndroidBuffers} converts it from and to a {@code ParcelFileDescriptor}.
 */
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

        /** A copy, because another thread may close the fence. */
        synchronized int copy() throws BufferSyncException {
            return Native.duplicate(fd);
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
     * Makes a fence from a copy of a descriptor.
     *
     * @param descriptor a sync_file, which the caller keeps
     * @return the fence, which the caller must close
     * @throws BufferSyncException {@link ErrorCode#BAD_FD}, {@link ErrorCode#NO_RESOURCES}
     */
    public static Fence of(FileDescriptor descriptor) throws BufferSyncException {
        Fence fence = new Fence(Native.duplicate(Native.getFd(descriptor)));
        java.lang.ref.Reference.reachabilityFence(descriptor);
        return fence;
    }

    /**
     * Makes a fence that takes over a descriptor which is a number, as native code has it.
     *
     * @param fd a sync_file, which the fence owns from now on
     * @return the fence, which the caller must close
     */
    public static Fence adoptRawFd(int fd) {
        if (fd < 0) {
            throw new IllegalArgumentException("no descriptor: " + fd);
        }
        return new Fence(fd);
    }

    /**
     * Gives the descriptor away as a number, for example to native code, and closes the fence.
     *
     * @return the descriptor, which the caller must close
     */
    public int detachRawFd() {
        int fd = owned.take();
        if (fd < 0) {
            throw new IllegalStateException("the fence is closed");
        }
        return fd;
    }

    /**
     * Waits until the fence has signalled. Does not tell if it signalled an error.
     *
     * @param timeout the longest time to wait; null for no time-out
     * @throws BufferSyncException {@link ErrorCode#TIMED_OUT}; {@link ErrorCode#BAD_FD} if the fence is
     *     closed; {@link ErrorCode#NO_RESOURCES}
     * @throws InterruptedException if the thread is interrupted
     */
    public void await(@Nullable Duration timeout) throws BufferSyncException, InterruptedException {
        if (Thread.interrupted()) {
            throw new InterruptedException();
        }
        long nanos = SyncGroup.nanos(timeout);
        int copy = owned.copy();
        try {
            Signal signal = new Signal(copy, nanos);
            try {
                signal.run();
            } finally {
                signal.release();
            }
        } finally {
            Native.closeFd(copy);
        }
    }

    /** A wait for a sync_file. */
    private static final class Signal extends Wait {
        private final int fd;
        private final long nanos;
        private int waker;

        Signal(int fd, long nanos) throws BufferSyncException {
            this.fd = fd;
            this.nanos = nanos;
            this.waker = Native.openWaker();
        }

        @Override
        void block() throws BufferSyncException {
            if (!Native.waitFence(fd, waker, nanos)) {
                throw new BufferSyncException(ErrorCode.CANCELLED, "the wait was interrupted");
            }
        }

        @Override
        synchronized void wake() {
            try {
                if (waker >= 0) {
                    Native.wake(waker);
                }
            } catch (BufferSyncException impossible) {
                throw new IllegalStateException(impossible);
            }
        }

        synchronized void release() throws BufferSyncException {
            int closed = waker;
            waker = -1;
            Native.closeFd(closed);
        }
    }

    @Override
    public void close() {
        cleanable.clean();
    }

    @Override
    public String toString() {
        synchronized (owned) {
            return owned.fd < 0 ? "Fence[closed]" : "Fence[descriptor " + owned.fd + "]";
        }
    }
}

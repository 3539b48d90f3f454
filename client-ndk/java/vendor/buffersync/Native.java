/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/** The native methods. Handles are names, not addresses: a stale one is refused. */
final class Native {
    static {
        System.loadLibrary("buffersync_jni");
    }

    private Native() {}

    static native long connect(String device, String instance) throws BufferSyncException;

    static native void disconnect(long sync) throws BufferSyncException;

    static native long[] capabilities(long sync) throws BufferSyncException;

    static native String dump(long sync) throws BufferSyncException;

    static native long openGroup(
            long sync, String name, long holdNanos, boolean fromConflict, boolean implicit)
            throws BufferSyncException;

    static native void closeGroup(long group) throws BufferSyncException;

    static native long holdLimit(long group) throws BufferSyncException;

    static native long evictions(long group) throws BufferSyncException;

    static native @Nullable String nameOf(long group, long other) throws BufferSyncException;

    static native long[] add(long group, int[] fds, int access) throws BufferSyncException;

    static native void remove(long group, long buffer) throws BufferSyncException;

    static native void removeAll(long group) throws BufferSyncException;

    static native int eventFd(long group) throws BufferSyncException;

    static native long @Nullable [] event(long group) throws BufferSyncException;

    static native long[] startLock(long group, long[] buffers, int[] accesses, long timeout)
            throws BufferSyncException;

    static native long tryLock(long group, long[] buffers, int[] accesses)
            throws BufferSyncException;

    static native void awaitLock(long group, long lock) throws BufferSyncException;

    static native boolean isGranted(long group, long lock) throws BufferSyncException;

    static native void interrupt(long group, long lock) throws BufferSyncException;

    static native void cancel(long group, long lock) throws BufferSyncException;

    static native void abandon(long group, long lock) throws BufferSyncException;

    static native void dropLock(long group, long lock) throws BufferSyncException;

    static native long[] granted(long group, long lock) throws BufferSyncException;

    static native boolean hasEnded(long group, long lock) throws BufferSyncException;

    static native long timeLeft(long group, long lock) throws BufferSyncException;

    static native void checkHeld(long group, long lock, long buffer, int access)
            throws BufferSyncException;

    static native int acquireFence(long group, long lock, long buffer) throws BufferSyncException;

    static native void unlock(long group, long lock, long[] fenced, int[] fences)
            throws BufferSyncException;

    static native void unlockBuffers(
            long group, long lock, long[] buffers, long[] fenced, int[] fences)
            throws BufferSyncException;

    static native boolean startGrow(
            long group, long lock, long[] buffers, int[] accesses, long timeout)
            throws BufferSyncException;

    static native void tryGrow(long group, long lock, long[] buffers, int[] accesses)
            throws BufferSyncException;

    static native void downgrade(long group, long lock, long[] buffers) throws BufferSyncException;

    static native long[] startUnlockAndLock(
            long group,
            long done,
            long[] fenced,
            int[] fences,
            long[] buffers,
            int[] accesses,
            long timeout)
            throws BufferSyncException;

    static native long[] locks(long group) throws BufferSyncException;

    static native long[] map(long group, int[] fds, int access) throws BufferSyncException;

    static native ByteBuffer view(long address, long size) throws BufferSyncException;

    static native void unmap(long address, long size) throws BufferSyncException;

    static native boolean waitFence(int fd, int waker, long timeout) throws BufferSyncException;

    static native int openWaker() throws BufferSyncException;

    static native void wake(int waker) throws BufferSyncException;

    static native int duplicate(int fd) throws BufferSyncException;

    static native void closeFd(int fd) throws BufferSyncException;

    static native int getFd(FileDescriptor descriptor) throws BufferSyncException;

    static native void setFd(FileDescriptor descriptor, int fd) throws BufferSyncException;

    static native int[] hardwareBufferFds(Object buffer) throws BufferSyncException;
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.nio.ByteBuffer;

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

    static native long openGroup(long sync, String name, long holdNanos, boolean implicit)
            throws BufferSyncException;

    static native void closeGroup(long group) throws BufferSyncException;

    static native long holdLimit(long group) throws BufferSyncException;

    static native long[] add(long group, int[] fds, int access) throws BufferSyncException;

    static native void remove(long group, long buffer) throws BufferSyncException;

    static native void removeAll(long group) throws BufferSyncException;

    static native void lock(long group, long timeout) throws BufferSyncException;

    static native void tryLock(long group) throws BufferSyncException;

    static native boolean startLock(long group, long timeout) throws BufferSyncException;

    static native void cancel(long group) throws BufferSyncException;

    static native int eventFd(long group) throws BufferSyncException;

    static native long[] event(long group) throws BufferSyncException;

    static native long[] grant(long group) throws BufferSyncException;

    static native boolean evicted(long group) throws BufferSyncException;

    static native int acquireFence(long group, long buffer) throws BufferSyncException;

    static native void unlock(long group, long[] buffers, int[] fences) throws BufferSyncException;

    static native void unlockAndLock(long group, int fence, long timeout)
            throws BufferSyncException;

    static native long lockBuffers(long group, long[] buffers, int[] accesses, long timeout)
            throws BufferSyncException;

    static native long tryLockBuffers(long group, long[] buffers, int[] accesses)
            throws BufferSyncException;

    static native long startLockBuffers(long group, long[] buffers, int[] accesses, long timeout)
            throws BufferSyncException;

    static native void growBuffers(
            long group, long lock, long[] buffers, int[] accesses, long timeout)
            throws BufferSyncException;

    static native void cancelLock(long group, long lock) throws BufferSyncException;

    static native long[] lockStatus(long group, long lock) throws BufferSyncException;

    static native int lockAcquireFence(long group, long lock, long buffer)
            throws BufferSyncException;

    static native void unlockBuffers(
            long group, long lock, long[] buffers, long[] fenced, int[] fences)
            throws BufferSyncException;

    static native void downgrade(long group, long lock, long[] buffers) throws BufferSyncException;

    static native long unlockAndLockBuffers(
            long group,
            long done,
            long[] fenced,
            int[] fences,
            long[] buffers,
            int[] accesses,
            long timeout)
            throws BufferSyncException;

    static native long[] locks(long group) throws BufferSyncException;

    static native long[] map(int fd, boolean writable) throws BufferSyncException;

    static native ByteBuffer view(long address, long size) throws BufferSyncException;

    static native void unmap(long address, long size) throws BufferSyncException;

    static native void waitFence(int fd, long timeout) throws BufferSyncException;

    static native int duplicate(int fd) throws BufferSyncException;

    static native void closeFd(int fd) throws BufferSyncException;

    static native int[] hardwareBufferFds(Object buffer) throws BufferSyncException;
}

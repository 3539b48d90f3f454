/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/**
 * Locks on dma-bufs that processes share. A lock decides who may use a buffer, and the service does the
 * cache maintenance between one holder and the next.
 *
 * <pre>{@code
 * BufferSync sync = BufferSync.connect();
 * try (SyncGroup group = sync.openGroup("preview/frames")) {
 *     MappedBuffer frame = group.map(BufferSource.ofFd(fd), Access.READ);
 *     try (Grant grant = group.lock(Duration.ofSeconds(1))) {
 *         show(frame.bytes(grant));
 *     } // unlocks; throws if the grant had been taken away
 * }
 * }</pre>
 *
 * <p>All classes may be used from any thread. An object that is not closed is closed when nothing refers
 * to it any more. An argument may be null only if its comment says so; otherwise null throws a
 * {@link java.lang.NullPointerException}.
 *
 * <p>The native half is {@code libbuffersync_jni.so}. A JVM finds it in {@code java.library.path}; on
 * Android it is a vendor public library.
 */
package vendor.buffersync;

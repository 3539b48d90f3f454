/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

/**
 * Locks on dma-bufs that processes share: who may use which buffer when, with the cache maintenance
 * that a change of hands needs.
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
 * <p>All classes may be used from any thread. What is not closed is closed when nothing refers to it
 * any more. Nothing here may be null unless that is said; what is null all the same is a
 * {@link java.lang.NullPointerException}.
 *
 * <p>The native half is {@code libbuffersync_jni.so}: {@code java.library.path}, or a vendor public
 * library on Android.
 */
package vendor.buffersync;

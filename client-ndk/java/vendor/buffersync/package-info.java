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
 *     MappedBuffer frame = group.map(BufferSource.of(file.getFD()), Access.READ).get(0);
 *     try (Grant grant = group.lock(Duration.ofSeconds(1))) {
 *         show(frame.bytes(grant));
 *     } // unlocks; throws if the grant had been taken away
 * }
 * }</pre>
 *
 * <p>All classes may be used from any thread. A method that waits for other clients ends when its thread
 * is interrupted, so an executor or a coroutine can stop it. An object that is not closed is closed when nothing refers
 * to it any more, except a {@link vendor.buffersync.Grant}: nobody has said that its work is finished.
 *
 * <p>An argument or a result may be null only if its type says {@code @Nullable}. Otherwise null throws
 * a {@link java.lang.NullPointerException}. The annotations are those of JSpecify, so Kotlin knows
 * them. A program does not need their classes.
 *
 * <p>The native half is {@code libbuffersync_jni.so}. A JVM finds it in {@code java.library.path}; on
 * Android it is a vendor public library.
 */
@NullMarked
package vendor.buffersync;

import org.jspecify.annotations.NullMarked;

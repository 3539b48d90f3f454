/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import android.hardware.HardwareBuffer;
import android.os.ParcelFileDescriptor;
import java.util.Objects;

/**
 * Converts Android's own classes to the classes of this package.
 *
 * <p>There is nothing here for {@code android.hardware.SyncFence}: the SDK lets nobody make one from a
 * descriptor, or get a descriptor out of one. An app that has one waits for it with {@code
 * SyncFence.awaitForever} before it closes its grant. Or it gets the fence in native code, where it is a
 * descriptor (for example {@code eglDupNativeFenceFDANDROID}), and uses {@link Fence#adoptRawFd}. Code
 * that is built with the platform, as system services are, can call the hidden methods: {@code
 * SyncFence.create} takes the result of {@link #toParcelFileDescriptor}, and {@link #fence} takes that
 * of {@code SyncFence.getFdDup}.
 */
public final class AndroidBuffers {
    private AndroidBuffers() {}

    /**
     * The dma-bufs of a hardware buffer, for example from an {@code ImageReader} or a codec.
     *
     * @param buffer must be open when the source is used; the caller keeps it
     * @return a source that refers to the object. It throws {@link ErrorCode#UNSUPPORTED} where the
     *     platform does not let this process see the descriptors
     */
    public static BufferSource of(HardwareBuffer buffer) {
        Objects.requireNonNull(buffer);
        return new BufferSource() {
            @Override
            int[] rawFds() throws BufferSyncException {
                if (buffer.isClosed()) {
                    throw new BufferSyncException(ErrorCode.BAD_FD, "the HardwareBuffer is closed");
                }
                return Native.hardwareBufferFds(buffer);
            }
        };
    }

    /**
     * The dma-buf of a descriptor, or those of a native handle.
     *
     * @param descriptors must be open when the source is used; the caller keeps them
     * @return a source that refers to the objects
     */
    public static BufferSource of(ParcelFileDescriptor... descriptors) {
        ParcelFileDescriptor[] copy = descriptors.clone();
        for (ParcelFileDescriptor descriptor : copy) {
            Objects.requireNonNull(descriptor);
        }
        return new BufferSource() {
            @Override
            int[] rawFds() throws BufferSyncException {
                int[] fds = new int[copy.length];
                for (int at = 0; at < copy.length; at++) {
                    try {
                        fds[at] = copy[at].getFd();
                    } catch (IllegalStateException closed) {
                        String why = "a ParcelFileDescriptor is closed";
                        throw new BufferSyncException(ErrorCode.BAD_FD, why);
                    }
                }
                return fds;
            }
        };
    }

    /**
     * Makes a fence from a sync_file.
     *
     * @param descriptor this call takes it over and closes the object
     * @return the fence, which the caller must close
     */
    public static Fence fence(ParcelFileDescriptor descriptor) {
        return Fence.adoptRawFd(descriptor.detachFd());
    }

    /**
     * Makes a descriptor from a fence, to send it to another process.
     *
     * @param fence this call takes it over and closes the object
     * @return the descriptor, which the caller must close
     */
    public static ParcelFileDescriptor toParcelFileDescriptor(Fence fence) {
        return ParcelFileDescriptor.adoptFd(fence.detachRawFd());
    }
}

/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import android.hardware.HardwareBuffer;
import android.os.ParcelFileDescriptor;
import java.util.Objects;

/** Converts Android's own classes to the classes of this package. */
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
        return () -> {
            if (buffer.isClosed()) {
                throw new BufferSyncException(ErrorCode.BAD_FD, "the HardwareBuffer is closed");
            }
            return Native.hardwareBufferFds(buffer);
        };
    }

    /**
     * The dma-buf of a descriptor.
     *
     * @param fd must be open when the source is used; the caller keeps it
     * @return a source that refers to the object
     */
    public static BufferSource of(ParcelFileDescriptor fd) {
        Objects.requireNonNull(fd);
        return () -> new int[] {fd.getFd()};
    }

    /**
     * Makes a fence from a sync_file.
     *
     * @param fd this call takes it over and closes the object
     * @return the fence
     */
    public static Fence fence(ParcelFileDescriptor fd) {
        return Fence.adoptFd(fd.detachFd());
    }

    /**
     * Makes a descriptor from a fence, to send it to another process.
     *
     * @param fence this call takes it over and closes the object
     * @return the descriptor, which the caller must close
     */
    public static ParcelFileDescriptor toParcelFileDescriptor(Fence fence) {
        return ParcelFileDescriptor.adoptFd(fence.detachFd());
    }
}
